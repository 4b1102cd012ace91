import assert from "node:assert/strict";
import type { TextForm } from "../../models/mod.ts";
import { Grammars } from "../../server/engine/grammar.ts";

/** Tokens are the letters of ASCII. */
const texts = Array.from({ length: 128 }, (_, code) => String.fromCharCode(code));
const MODEL = {
  vocabulary: { texts, kind: "raw" as const, added: new Map<string, number>() },
  endTokens: [3],
};

/** An object with one property. */
function formOf(name: string): TextForm {
  const properties = { [name]: { type: "string" } };
  return { kind: "json", schema: { type: "object", properties, required: [name] } };
}

/** Makes a guide, and asks it whether an object may begin. */
async function ask(grammars: Grammars, form: TextForm): Promise<boolean> {
  using guide = await grammars.guide(form, "response_format");
  const mask = guide.allowedTokens([]);
  return mask !== undefined &&
    (mask["{".charCodeAt(0) >>> 5] >>> ("{".charCodeAt(0) & 31) & 1) === 1;
}

Deno.test("guide() beside a schema that ends the library is made all the same", async () => {
  const grammars = new Grammars(MODEL);
  const broken: TextForm = { kind: "json", schema: { type: "bogus" } };
  const asked = [formOf("a"), broken, formOf("b"), broken, formOf("c")];
  const results = await Promise.allSettled(asked.map((form) => grammars.guide(form, "tools")));
  assert.deepEqual(results.map(({ status }) => status), [
    ...["fulfilled", "rejected", "fulfilled", "rejected", "fulfilled"],
  ]);
});

Deno.test("guide() of a grammar that is forgotten at this moment is made all the same", async () => {
  const grammars = new Grammars(MODEL);
  for (let i = 0; i < 32; i++) await ask(grammars, formOf(`p${i}`));
  for (let turns = 0; turns < 40; turns++) {
    const other = ask(grammars, formOf(`q${turns}`));
    for (let i = 0; i < turns; i++) await Promise.resolve();
    // The oldest one that is left, which the other drives out.
    const oldest = turns < 32 ? `p${turns}` : `q${turns - 32}`;
    assert.deepEqual(await Promise.all([other, ask(grammars, formOf(oldest))]), [true, true]);
  }
});
