/**
 * Linear layers with a norm in front and a residual behind, as the fused graph has them.
 *
 * @module
 */

import { tensor } from "../graph/mod.ts";
import { benchDevice } from "./bench_device.ts";
import { type OpBench, registerOps } from "./op_bench.ts";

const { software } = (await benchDevice()).profile;

/** Outputs and inputs: q, k and v of Qwen3-30B-A3B, its output projection, and a vocabulary. */
const SHAPES: readonly [string, number, number][] = software
  ? [["qkv", 640, 256], ["o", 256, 512], ["lm_head", 4096, 256]]
  : [["qkv", 5120, 2048], ["o", 2048, 4096], ["lm_head", 151936, 2048]];
const TOKENS = software ? [1, 16, 64] : [1, 16, 256, 1024];

function linear(
  [name, outputs, inputs]: readonly [string, number, number],
  dtype: "bf16" | "f16",
  tokens: number,
): OpBench {
  return {
    group: `linear ${name}, ${outputs} x ${inputs}, ${dtype}`,
    name: `${name} T=${tokens} ${dtype}`,
    flops: 2 * tokens * outputs * inputs,
    op: {
      sizes: { T: tokens, R: tokens, S: 1, P: 1 },
      build: (b) => {
        const residual = name === "o"
          ? b.input("residual", { dtype: "f32", shape: ["T", outputs] })
          : undefined;
        return b.op("fused_linear", {
          x: b.input("x", { dtype: "f32", shape: ["T", inputs] }),
          w: b.weight("w", tensor("w", dtype, [outputs, inputs])),
          ...(residual
            ? { residual }
            : { norm_weight: b.weight("norm", tensor("norm", "f32", [inputs])) }),
        }, residual ? {} : { normEps: 1e-6 });
      },
    },
  };
}

await registerOps(
  SHAPES.flatMap((shape) =>
    (["bf16", "f16"] as const).flatMap((dtype) =>
      TOKENS.filter((tokens) => shape[0] !== "lm_head" || tokens <= 16)
        .map((tokens) => linear(shape, dtype, tokens))
    )
  ),
);
