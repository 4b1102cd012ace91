import assert from "node:assert/strict";
import type { Binding } from "../../../kernels/mod.ts";
import { orderByLevel } from "../../../runtime/webgpu/plan/levels.ts";

/** A dispatch that reads and writes memory of these names. */
function dispatch(name: string, reads: readonly string[], writes: readonly string[]) {
  const binding = (access: Binding["access"]): Binding => ({ buffer: { kind: "step" }, access });
  return {
    name,
    dispatch: {
      bindings: [
        ...reads.map(() => binding("read")),
        ...writes.map(() => binding("read_write")),
      ],
    },
    resources: [...reads, ...writes].map((key) => ({ key })),
  };
}

Deno.test("orderByLevel() puts dispatches that wait for nothing of each other side by side", () => {
  const ordered = orderByLevel([
    dispatch("norm", ["h"], ["x"]),
    dispatch("dense up", ["x"], ["hidden"]),
    dispatch("dense down", ["hidden"], ["dense"]),
    dispatch("router", ["x"], ["choice"]),
    dispatch("experts up", ["x", "choice"], ["inner"]),
    dispatch("experts down", ["inner"], ["routed"]),
    dispatch("sum", ["dense", "routed"], ["h"]),
  ]);
  assert.deepEqual(ordered.map(({ name, level }) => `${level} ${name}`), [
    ...["0 norm", "1 dense up", "1 router", "2 dense down", "2 experts up", "3 experts down"],
    "4 sum",
  ]);
});

Deno.test("orderByLevel() keeps writes behind reads and writes of the same memory", () => {
  const ordered = orderByLevel([
    dispatch("write", [], ["a"]),
    dispatch("read", ["a"], ["b"]),
    dispatch("write again", [], ["a"]),
    dispatch("read again", ["a"], ["c"]),
  ]);
  assert.deepEqual(ordered.map(({ level }) => level), [0, 1, 2, 3]);
});
