import assert from "node:assert/strict";
import type { HostTensor } from "../../../graph/mod.ts";
import { webgpuTest } from "../../support/adapter.ts";
import { numbersOf, rounded } from "../../support/host_tensors.ts";
import { fusedAttrs, fusedInputs, type MoeCase, readMoeCases } from "../../support/moe_cases.ts";
import { type OpCase, runOp } from "../../support/op_case.ts";
import { DispatchRunner } from "../../support/run_dispatches.ts";
import { relativeError, TOLERANCES } from "../../support/tolerances.ts";

const cases = await readMoeCases();

for (const backend of ["triton", "trtllm", "auto"]) {
  for (const dtype of ["bf16", "f32", "f16"] as const) {
    webgpuTest(`${backend} gives PyTorch's results with ${dtype} weights`, async () => {
      const runner = await DispatchRunner.open();
      const tolerance = dtype === "f16" ? TOLERANCES.moeF16 : TOLERANCES.moeF32;
      // Widening to f32 changes no weight, so a few cases show what f16 and f32 loads do.
      const chosen = cases.filter((_, i) => dtype === "bf16" || i % 5 === 0);
      for (const given of chosen) {
        const { got } = await runOp(runner, goldenCase(given, backend, dtype));
        const expected = given.tensor("expected");
        assert(expected);
        const error = relativeError(numbersOf(got[0]), numbersOf(expected));
        assert(error <= tolerance, `${given.title}: relative error ${error}`);
      }
      runner.close();
    });
  }
}

/** A golden layer whose weights are kept, widened or rounded. */
function goldenCase(
  given: MoeCase,
  backend: string,
  dtype: "f32" | "f16" | "bf16",
): OpCase<"fused_moe"> {
  const inputs = Object.entries(fusedInputs(given)).map(([name, tensor]) => {
    const weight = !["x", "selected_experts", "routing_weights"].includes(name);
    const data = name.startsWith("w_") ? converted(tensor, dtype) : tensor;
    return [name, { ...data, weight, shape: weight ? data.shape : ["T", data.shape[1]] }] as const;
  });
  return {
    op: "fused_moe",
    attrs: { ...fusedAttrs(given, backend), format: dtype },
    inputs: Object.fromEntries(inputs),
    sizes: { T: given.facts.M },
  };
}

function converted(tensor: HostTensor, dtype: "f32" | "f16" | "bf16"): HostTensor {
  if (dtype === "bf16") return tensor;
  const bits = Uint32Array.from(tensor.data as Uint16Array, (half) => half << 16);
  return rounded(dtype, { ...tensor, data: new Float32Array(bits.buffer) });
}
