/**
 * The shaders of every kernel that multiplies matrices of subgroups: of each size of matrices, format of
 * the cache, and tile that heuristics choose, and of one size each format of weights.
 *
 * @module
 */

import { type AttrsOf, PACKED_FORMATS } from "../../graph/mod.ts";
import { cachedAttention } from "../../kernels/attention/cached_attention.ts";
import { mlaAttention } from "../../kernels/attention/mla/mla.ts";
import type { Dispatch, LoweringContext, MatrixShape } from "../../kernels/kernel.ts";
import { gatedMlp } from "../../kernels/linear/gated_mlp.ts";
import { fusedLinear } from "../../kernels/linear/linear.ts";
import { gemmHeuristic } from "../../kernels/moe/tuning/heuristic.ts";
import { moeSpecOf } from "../../kernels/moe/spec.ts";
import { GPU_PROFILE } from "./gpu_profile.ts";
import { latentAttrs, latentInputs } from "./latent_cases.ts";
import { MATRIX_CONFIGS, MATRIX_SHAPES, withMatrices } from "./matrix_configs.ts";
import { type LayerOptions, lowerWith, moeLayer } from "./moe_layer.ts";
import { buildNode, type OpCase, type OpInput, randomWeight } from "./op_case.ts";
import { packedInputs } from "./packed_inputs.ts";
import { run } from "./paged_steps.ts";
import { packedLayer } from "./packed_layer.ts";

/** Dispatches of one layer. */
export interface MatrixShaders {
  readonly name: string;
  readonly dispatches: readonly Dispatch[];
}

const NONE = new Float32Array(0);

function rows(columns: number): OpInput {
  return { dtype: "f32", shape: ["T", columns], data: NONE };
}

function contextFor(shape: MatrixShape, max: number): LoweringContext {
  return {
    ...{ profile: withMatrices(GPU_PROFILE, shape), tokens: { min: 1, max }, operands: "auto" },
    ...{ maxRows: 1, pageSize: 16, cacheDtype: () => "f16", note() {} },
  };
}

/** All of them. */
export function* matrixShaders(): Generator<MatrixShaders> {
  for (const shape of MATRIX_SHAPES) {
    const size = `${shape.m}x${shape.n}x${shape.k}`;
    const formats = shape === MATRIX_SHAPES[0] ? packed(shape) : [];
    const attends = [...attention(shape), ...latentAttention(shape)];
    const layers = [...formats, ...experts(shape), ...dense(shape), ...attends];
    for (const { name, dispatches } of layers) {
      yield { name: `${size} ${name}`, dispatches };
    }
  }
}

function moe(
  given: OpCase<"fused_moe">,
  algorithm: keyof typeof MATRIX_CONFIGS,
  shape: MatrixShape,
): readonly Dispatch[] {
  return lowerWith(MATRIX_CONFIGS[algorithm])(buildNode(given).node, contextFor(shape, 64));
}

function linear(
  attrs: AttrsOf<"fused_linear">,
  inputs: OpCase<"fused_linear">["inputs"],
  context: LoweringContext,
): readonly Dispatch[] {
  return fusedLinear.lower(buildNode({ op: "fused_linear", attrs, inputs }).node, context);
}

function* packed(shape: MatrixShape): Generator<MatrixShaders> {
  for (const format of PACKED_FORMATS) {
    const layer = packedLayer({ format, hidden: 64, intermediate: 32, operands: "f16" });
    yield { name: `experts in ${format}`, dispatches: moe(layer, "grouped", shape) };
    const inputs = { x: rows(96), ...packedInputs(format, 40, 96, undefined) };
    const dispatches = linear({ format }, inputs, contextFor(shape, 64));
    yield { name: `dense in ${format}`, dispatches };
  }
}

const LAYERS: readonly LayerOptions[] = [
  { bias: true, residual: true, activation: "swiglu_oai" },
  { hidden: 37, intermediate: 19, dtype: "f32", mlp: "plain", activation: "relu2" },
  { dtype: "f16", applyRoutingOnInput: true },
];

function* experts(shape: MatrixShape): Generator<MatrixShaders> {
  for (const options of LAYERS) {
    const layer = moeLayer({ ...options, operands: "auto" });
    for (const algorithm of ["grouped", "permuted"] as const) {
      const name = `experts ${JSON.stringify(options)}`;
      yield { name, dispatches: moe(layer, algorithm, shape) };
    }
  }
  const { node } = buildNode(moeLayer({ hidden: 256, intermediate: 128, operands: "auto" }));
  for (const max of [18, 48, 144, 288]) {
    const context = contextFor(shape, max);
    const config = gemmHeuristic({ ...moeSpecOf(node, context), ...context }, "grouped");
    yield { name: `experts, ${max} tokens`, dispatches: lowerWith(config)(node, context) };
  }
}

function* dense(shape: MatrixShape): Generator<MatrixShaders> {
  for (const [N, max] of [[70, 64], [2048, 256], [4096, 512], [6144, 4096]]) {
    const inputs = {
      ...{ x: rows(72), residual: rows(N), norm_weight: randomWeight("f32", [72], 1) },
      ...{ w: { ...randomWeight("bf16", [1], 2), shape: [N, 72] } },
      bias: randomWeight("f32", [N], 3),
    };
    const dispatches = linear({ normEps: 1e-6 }, inputs, contextFor(shape, max));
    yield { name: `dense ${N}, ${max} tokens`, dispatches };
  }
  const [up, down] = [randomWeight("bf16", [56, 40], 1), randomWeight("bf16", [40, 56], 2)];
  const { node } = buildNode({
    ...{ op: "gated_mlp", attrs: { activation: "silu" } },
    inputs: { x: rows(40), w_gate: up, w_up: up, w_down: down, residual: rows(40) },
  });
  yield { name: "dense MLP", dispatches: gatedMlp.lower(node, contextFor(shape, 64)) };
}

/** DeepSeek-V2-Lite's: keys are wider than values. */
function* latentAttention(shape: MatrixShape): Generator<MatrixShaders> {
  const lite = { heads: 16, nopeDim: 128, ropeDim: 64, valueDim: 128, latentDim: 512 };
  const glm = { heads: 20, nopeDim: 192, ropeDim: 64, valueDim: 256, latentDim: 512 };
  for (const [model, cacheDtype] of [[lite, "f16"], [lite, "f8_e4m3"], [glm, "f16"]] as const) {
    const given = { op: "cached_mla_attention", attrs: latentAttrs(model) } as const;
    const { node } = buildNode({ ...given, inputs: latentInputs(model, run(0, 0, 1)) });
    const dispatches = mlaAttention.lower(node, {
      ...{ ...contextFor(shape, 512), cacheDtype: () => cacheDtype },
      ...{ maxSequences: 8, maxSequenceTokens: 8192 },
    });
    yield { name: `latent attention ${model.valueDim}, ${cacheDtype}`, dispatches };
  }
}

function* attention(shape: MatrixShape): Generator<MatrixShaders> {
  const integers = (dims: OpInput["shape"]): OpInput => ({
    ...{ dtype: "i32", shape: dims, data: new Int32Array(0) },
  });
  const f16 = [64, 128, 192, 256].map((headDim) => [headDim, "f16"] as const);
  for (const [headDim, cacheDtype] of [...f16, [128, "f8_e4m3"], [256, "f8_e4m3"]] as const) {
    const attrs: AttrsOf<"cached_attention"> = {
      ...{ heads: 4, kvHeads: 2, headDim, window: 100, cache: "layer", scale: 1 },
      ...{ rope: undefined, qkNorm: undefined, clip: undefined },
    };
    const { node } = buildNode({
      ...{ op: "cached_attention", attrs },
      inputs: {
        ...{ qkv: rows(8 * headDim), positions: integers(["T"]), sequence_ids: integers(["T"]) },
        ...{ block_table: integers(["S", "P"]), sinks: randomWeight("f32", [4], 1) },
      },
    });
    const context = { ...contextFor(shape, 512), cacheDtype: () => cacheDtype };
    const dispatches = cachedAttention.lower(node, context);
    yield { name: `attention ${headDim}, ${cacheDtype}`, dispatches };
  }
}
