import assert from "node:assert/strict";
import { evaluate } from "../../support/host_tensors.ts";
import { eagerInputs, fusedAttrs, fusedInputs, readMoeCases } from "../../support/moe_cases.ts";
import { relativeError, TOLERANCES } from "../../support/tolerances.ts";

for (const given of await readMoeCases()) {
  Deno.test(`moe and fused_moe give PyTorch's result for ${given.title}`, async () => {
    const expected = given.tensor("expected")?.data as Float32Array;
    const [eager] = await evaluate("moe", eagerInputs(given), given.attrs);
    const [fused] = await evaluate("fused_moe", fusedInputs(given), fusedAttrs(given));
    assert.ok(relativeError(eager, expected) <= TOLERANCES.moeF32, "moe");
    assert.deepEqual(fused, eager, "fused_moe has the same bits");
  });
}
