/**
 * The shaders whose texts are on record (`tests/golden/wgsl`): dense layers of Qwen3-30B-A3B's sizes in
 * decoding and in prefill, and small MoE layers of every algorithm.
 *
 * @module
 */

import assert from "node:assert/strict";
import { type AttrsOf, Graph, type OpName } from "../../graph/mod.ts";
import { scaleOrder } from "../../kernels/access/order.ts";
import { reorderDispatches } from "../../kernels/access/reorder.ts";
import type { Dispatch, LoweringContext } from "../../kernels/kernel.ts";
import { KERNELS } from "../../kernels/registry.ts";
import { lowerDrawDetails } from "../../kernels/sampling/draw_details.ts";
import { lowerSampling } from "../../kernels/sampling/sample.ts";
import { GPU_PROFILE } from "./gpu_profile.ts";
import { CONFIGS } from "./moe_configs.ts";
import { type LayerOptions, lowerWith, moeLayer } from "./moe_layer.ts";
import { buildNode, type OpInput } from "./op_case.ts";
import { packedLayer, type PackedOptions } from "./packed_layer.ts";
import { lowerRouted, type RoutedCase, routedLayer } from "./routed_layer.ts";

/** Another device than a data centre GPU whose subgroups are right. */
export type Device = Partial<Pick<LoweringContext, "profile" | "handOff">>;

/** Lowers one layer anew. */
export type Lower = (device?: Device) => readonly Dispatch[];

const EMPTY = new Float32Array(0);

function value(shape: OpInput["shape"]): OpInput {
  return { dtype: "f32", shape, data: EMPTY };
}

function weight(dtype: "f32" | "bf16" | "f16", shape: readonly number[]): OpInput {
  return { dtype, shape, data: EMPTY, weight: true };
}

function integers(shape: OpInput["shape"]): OpInput {
  return { dtype: "i32", shape, data: new Int32Array(0) };
}

/** The dispatches of one op for steps of up to so many tokens. */
function lower<Op extends OpName>(
  op: Op,
  attrs: AttrsOf<Op>,
  inputs: Readonly<Record<string, OpInput | readonly OpInput[] | undefined>>,
  max: number,
  device: Device = {},
): readonly Dispatch[] {
  const { node } = buildNode({ op, attrs, inputs });
  const context: LoweringContext = {
    profile: GPU_PROFILE,
    tokens: { min: 1, max },
    maxRows: Math.min(max, 8),
    ...{ pageSize: 16, maxSequences: 2, maxSequenceTokens: 512 },
    cacheDtype: () => "f16",
    note() {},
    ...device,
  };
  const kernel = KERNELS.find((each) => each.op === op);
  assert.ok(kernel && kernel.refuse(node, context) === undefined, `${op} is refused`);
  return kernel.lower(node, context);
}

function projection(max: number, device?: Device): readonly Dispatch[] {
  return lower(
    "fused_linear",
    { normEps: 1e-6 },
    {
      x: value(["T", 2048]),
      w: weight("bf16", [5120, 2048]),
      bias: weight("f32", [5120]),
      norm_weight: weight("f32", [2048]),
      residual: value(["T", 5120]),
    },
    max,
    device,
  );
}

function router(max: number, device?: Device): readonly Dispatch[] {
  const attrs = {
    topK: 8,
    scoring: "softmax",
    softmaxOver: "all",
    renormalize: true,
    scale: 1,
    normEps: 1e-6,
  } as const;
  return lower(
    "moe_router",
    attrs,
    {
      x: value(["T", 2048]),
      w: weight("bf16", [128, 2048]),
      norm_weight: weight("f32", [2048]),
    },
    max,
    device,
  );
}

function attention(max: number, device?: Device): readonly Dispatch[] {
  const attrs = {
    heads: 32,
    kvHeads: 4,
    headDim: 128,
    cache: "layers.0",
    scale: 128 ** -0.5,
    rope: { layout: "half", rotaryDim: 128, attentionScaling: 1 },
    qkNorm: { eps: 1e-6, over: "head" },
  } as const;
  return lower(
    "cached_attention",
    attrs,
    {
      qkv: value(["T", 5120]),
      positions: integers(["T"]),
      sequence_ids: integers(["T"]),
      block_table: integers(["S", "P"]),
      inv_freq: weight("f32", [64]),
      q_norm: weight("f32", [128]),
      k_norm: weight("f32", [128]),
    },
    max,
    device,
  );
}

/** GLM-4.7-Flash's attention over latents, which makes queries of latents too. */
function latentAttention(max: number, device?: Device): readonly Dispatch[] {
  const joined = value(["T", 768 + 576]);
  return lower(
    "cached_mla_attention",
    {
      ...{ heads: 20, nopeDim: 192, ropeDim: 64, valueDim: 256, latentDim: 512, scale: 1 / 16 },
      ...{ cache: "layers.0", eps: 1e-6, qEps: 1e-6, kvFirst: 768 },
      rope: { layout: "interleaved", rotaryDim: 64, attentionScaling: 1 },
    },
    {
      ...{ q: joined, kv: joined, q_norm: weight("f32", [768]), kv_norm: weight("f32", [512]) },
      q_w: weight("bf16", [5120, 768]),
      w: weight("bf16", [8960, 512]),
      positions: integers(["T"]),
      sequence_ids: integers(["T"]),
      block_table: integers(["S", "P"]),
      inv_freq: weight("f32", [32]),
    },
    max,
    device,
  );
}

function sampling(device?: Device): readonly Dispatch[] {
  const graph = new Graph("sampling");
  return lowerSampling({
    vocabulary: 151936,
    logits: graph.addInput("logits", { dtype: "f32", shape: ["R", 151936] }),
    logitsRows: graph.addInput("logits_rows", { dtype: "i32", shape: ["R"] }),
    tokenIds: graph.addInput("token_ids", { dtype: "i32", shape: ["T"] }),
    positions: graph.addInput("positions", { dtype: "i32", shape: ["T"] }),
  }, { profile: GPU_PROFILE, maxRows: 8, ...device });
}

function drawDetails(): readonly Dispatch[] {
  const logits = new Graph("details").addInput("logits", { dtype: "f32", shape: ["R", 151936] });
  const { before, after } = lowerDrawDetails({ vocabulary: 151936, logits, maxRows: 8 });
  return [before, after];
}

/** A router and its layer of experts, which choose from its logits where the device has subgroups. */
function routed(more: Partial<RoutedCase>, device: Device = {}): readonly Dispatch[] {
  const sizes = { E: 128, K: 8, H: 256, I: 8, normEps: 1e-6, dtype: "bf16" } as const;
  const layer = routedLayer({ ...sizes, ...more });
  return lowerRouted(layer, device.profile ?? GPU_PROFILE, 1, device.handOff).dispatches;
}

const LAYERS: Readonly<Record<string, Lower>> = {
  projection_1: (device) => projection(1, device),
  projection_8: (device) => projection(8, device),
  projection_64: (device) => projection(64, device),
  projection_2048: (device) => projection(2048, device),
  router_1: (device) => router(1, device),
  router_512: (device) => router(512, device),
  routed_experts_1: (device) => routed({}, device),
  routed_shared_1: (device) =>
    routed({ E: 64, K: 4, shared: 1, scoring: "sigmoid", correction: 1 }, device),
  attention_1: (device) => attention(1, device),
  attention_8: (device) => attention(8, device),
  attention_512: (device) => attention(512, device),
  latent_attention_1: (device) => latentAttention(1, device),
  latent_attention_64: (device) => latentAttention(64, device),
  latent_attention_512: (device) => latentAttention(512, device),
  post_norm: (device) =>
    lower(
      "post_norm",
      { eps: 1e-6, nextEps: 1e-6 },
      {
        ...{ x: value(["T", 2816]), w: weight("f32", [2816]), residual: value(["T", 2816]) },
        ...{ x_2: value(["T", 2816]), w_2: weight("f32", [2816]), w_sum: weight("f32", [2816]) },
        scale: weight("f32", [1]),
        next: [weight("f32", [2816]), weight("f32", [2816])],
      },
      1,
      device,
    ),
  sampling: (device) => sampling(device),
  draw_details: () => drawDetails(),
  embedding: (device) =>
    lower("embedding", {}, { ids: integers(["T"]), w: weight("bf16", [151936, 2048]) }, 8, device),
  interleaving: () => reorderDispatches(90 * 16, scaleOrder(90, 4, 1), GPU_PROFILE),
  shared_expert_1: (device) =>
    lower(
      "gated_mlp",
      { activation: "silu" },
      {
        x: value(["T", 2048]),
        w_gate: weight("bf16", [768, 2048]),
        w_up: weight("bf16", [768, 2048]),
        w_down: weight("bf16", [2048, 768]),
        residual: value(["T", 2048]),
      },
      1,
      device,
    ),
};

type ConfigName = keyof typeof CONFIGS;

/** One layer for every algorithm, and one for each further thing that changes a shader's text. */
const MOE_LAYERS: readonly (readonly [string, ConfigName, LayerOptions | PackedOptions])[] = [
  ["slots", "slots", { bias: true, residual: true }],
  ["slots_plain_f32_routing_on_input", "slots", {
    ...{ mlp: "plain", activation: "relu2", dtype: "f32", applyRoutingOnInput: true },
  }],
  ["slots_mxfp4_interleaved", "slots", { format: "mxfp4", hidden: 544, intermediate: 160 }],
  ["slots_odd_f16", "slots", { hidden: 37, intermediate: 19, dtype: "f16", activation: "gelu" }],
  ["experts", "experts", { bias: true, residual: true, activation: "swiglu_oai" }],
  ["grouped", "grouped", { bias: true, residual: true }],
  ["grouped_f16_operands", "grouped", { activation: "gelu_tanh", operands: "f16" }],
  ["skinny", "skinny", { bias: true, activation: "swiglu_oai" }],
  ["direct", "direct", { activation: "gelu_tanh" }],
  ["permuted", "permuted", { residual: true, applyRoutingOnInput: true }],
];

/** The shaders of a layer, where nothing is said on a device with subgroups of 8. */
function lowerMoe(
  config: ConfigName,
  options: LayerOptions | PackedOptions,
  device?: Device,
): readonly Dispatch[] {
  const { node } = buildNode("format" in options ? packedLayer(options) : moeLayer(options));
  return lowerWith(CONFIGS[config])(node, {
    profile: { ...GPU_PROFILE, subgroupSize: 8 },
    tokens: { min: 1, max: 16 },
    maxRows: 1,
    pageSize: 16,
    cacheDtype: () => "f32",
    note() {},
    ...device,
  });
}

/** Every shader on record by the name of its layer; lowered anew with each call. */
export const RECORDED: ReadonlyMap<string, Lower> = new Map([
  ...Object.entries(LAYERS),
  ...MOE_LAYERS.map(([name, config, options]): [string, Lower] => [
    `moe_${name}`,
    (device) => lowerMoe(config, options, device),
  ]),
]);
