/**
 * One MoE layer with no model: for authors of kernels. Compares two backends with the reference.
 * Run with `deno run --allow-env --allow-read examples/03_fused_moe.ts`.
 *
 * @module
 */

import { fusedMoe, openExecutor } from "../mod.ts";

const layer = { tokens: 4, hidden: 64, intermediate: 32, experts: 8, topK: 2 };
const { tokens, hidden, intermediate, experts, topK } = layer;

/** Numbers in [-1, 1) that are the same on every machine. */
function values(count: number, seed: number): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: count }, (_, i) => Math.sin(seed + i * 12.9898) * 0.5);
}

const input = {
  ...layer,
  x: values(tokens * hidden, 1),
  selectedExperts: Int32Array.from({ length: tokens * topK }, (_, i) => (i * 3) % experts),
  routingWeights: new Float32Array(tokens * topK).fill(1 / topK),
  w1: values(experts * intermediate * hidden, 2), // gate, activated
  w3: values(experts * intermediate * hidden, 3), // up
  w2: values(experts * hidden * intermediate, 4), // down
  mlp: "gated",
  activation: "silu",
} as const;

const expected = await fusedMoe({ ...input, executor: "cpu" });
const scale = Math.max(...expected.map(Math.abs));

// WebGPU where there is an adapter, a software one too, which "auto" would leave alone. An open
// executor serves many calls.
const adapter = await navigator.gpu?.requestAdapter();
const { executor } = await openExecutor(adapter ? "webgpu" : "cpu");
console.error(executor.description);
for (const backend of ["triton", "trtllm"] as const) {
  const output = await fusedMoe({ ...input, executor, backend });
  const error = Math.max(...output.map((value, i) => Math.abs(value - expected[i]))) / scale;
  console.log(
    `${executor.kind} ${backend}: largest error ${error.toExponential(1)} of the largest value`,
  );
}
executor.dispose();
