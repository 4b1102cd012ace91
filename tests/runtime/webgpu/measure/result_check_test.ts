import assert from "node:assert/strict";
import { ResultCheck } from "../../../../runtime/webgpu/measure/result_check.ts";

Deno.test("ResultCheck compares the first token with the CPU's and all with the first right result", () => {
  const check = new ResultCheck(Float32Array.of(1, -2), 1e-3);
  assert.match(
    String(check.refuse(Float32Array.of(1, 2, 5, 5), "a")),
    /^its first token is off by 2 of the largest number from the CPU's$/,
  );
  assert.equal(check.refuse(Float32Array.of(1, -2, 3, 4), "b"), undefined, "it is the first");
  assert.equal(check.refuse(Float32Array.of(1.001, -2, 3, 4.002), "c"), undefined);
  const reason = /^off by [\d.]+ of the largest number from b, whose first token is the CPU's$/;
  assert.match(String(check.refuse(Float32Array.of(1, -2, 3, 5), "d")), reason);
  const infinite = /^off by Infinity of the largest number from b/;
  assert.match(String(check.refuse(Float32Array.of(1, -2, 3, NaN), "e")), infinite);
  assert.match(String(check.refuse(Float32Array.of(1, -2), "f")), infinite, "too short");
});

Deno.test("ResultCheck refuses everything where the CPU's token is NaN, and takes zeros for zeros", () => {
  assert.match(
    String(new ResultCheck(Float32Array.of(NaN), 1).refuse(Float32Array.of(NaN), "a")),
    /Infinity/,
  );
  const zeros = new ResultCheck(Float32Array.of(0), 1e-3);
  assert.equal(zeros.refuse(Float32Array.of(0, 0), "a"), undefined);
  assert.match(String(zeros.refuse(Float32Array.of(0, 1e-9), "b")), /off by Infinity/);
});
