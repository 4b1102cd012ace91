import assert from "node:assert/strict";
import { Screen } from "./screen.ts";

Deno.test("Screen shows what runs first as it comes, and the others behind it", () => {
  const shown: string[] = [];
  const screen = new Screen((text) => {
    if (text !== "") shown.push(text);
  });
  const [a, b, c] = [screen.begin(), screen.begin(), screen.begin()];
  screen.print(a, "a1 ");
  screen.print(b, "b1 ");
  screen.print(c, "c1 ");
  screen.end(b);
  screen.print(a, "a2 ");
  assert.deepEqual(shown.splice(0), ["a1 ", "a2 "]);
  screen.end(a);
  assert.deepEqual(shown.splice(0), ["b1 ", "c1 "]);
  screen.print(c, "c2 ");
  screen.end(c);
  assert.deepEqual(shown, ["c2 "]);
});
