import assert from "node:assert/strict";
import { leftOut, readCounts } from "./run.ts";

Deno.test("readCounts() reads deno test's last line when tests pass, fail and are ignored", () => {
  const output = "a ... ok (1ms)\n\nFAILED | 12 passed (3 steps) | 2 failed | 4 ignored (5s)\n\n";
  assert.deepEqual(readCounts(output), { passed: 12, failed: 2, skipped: 4 });
});

Deno.test("readCounts() gives zeros when the run stopped before its first test", () => {
  assert.deepEqual(readCounts("error: Type checking failed."), {
    passed: 0,
    failed: 0,
    skipped: 0,
  });
});

Deno.test("leftOut() counts tests by the reason in their names", () => {
  const output = [
    "fusedMoe() is right [left out: no WebGPU adapter] ... ignored (0ms)",
    "engine.generate() is right [left out: no WebGPU adapter] ... ignored (0ms)",
    "a slow one [left out: MIXLINE_SLOW is not set] ... ignored (0ms)",
    "another ... ignored (0ms)",
  ].join("\n");
  assert.deepEqual([...leftOut(output)], [
    ["no WebGPU adapter", 2],
    ["MIXLINE_SLOW is not set", 1],
  ]);
});
