import assert from "node:assert/strict";
import { KERNELS } from "../../../../kernels/mod.ts";
import { singleRanges, tokenRanges } from "../../../../runtime/webgpu/plan/buckets.ts";
import { compiledGraph } from "../../../../runtime/webgpu/plan/language_model.ts";
import { lowerGraph } from "../../../../runtime/webgpu/plan/lower.ts";
import { GPU_PROFILE } from "../../../support/gpu_profile.ts";
import { tinyLanguageModel } from "../../../support/tiny_language_model.ts";

Deno.test("lowerGraph() shares shaders between steps of all sizes where sizes do not matter", () => {
  const compiled = compiledGraph(tinyLanguageModel());
  const texts = new Map<string, Set<string>>();
  const ranges = [...tokenRanges(2048), ...singleRanges(64, undefined, 4)];
  for (const tokens of ranges) {
    const { dispatches, sampling } = lowerGraph(compiled, {
      ...{ kernels: KERNELS, profile: GPU_PROFILE, tokens },
      sizes: { T: tokens.max, R: Math.min(tokens.max, 64), S: 64, P: 256 },
      ...(compiled.language && { sampling: { ...compiled.language, maxRows: 64 } }),
    });
    for (const { dispatch: { kernel, wgsl } } of [...dispatches, ...sampling]) {
      texts.set(kernel, (texts.get(kernel) ?? new Set()).add(wgsl));
    }
  }
  const counts = Object.fromEntries([...texts].map(([kernel, { size }]) => [kernel, size]));
  for (const kernel of ["embedding", "gather_rows", "moe_reduce", "sample"]) {
    assert.equal(counts[kernel], 1, kernel);
  }
  const total = Object.values(counts).reduce((sum, count) => sum + count, 0);
  assert(total <= 60, `${total} shaders for ${ranges.length} ranges: ${JSON.stringify(counts)}`);
});
