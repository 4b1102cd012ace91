import assert from "node:assert/strict";
import { type AttrsOf, Graph, type OpName } from "../../graph/mod.ts";
import { lowerSampling } from "../../kernels/sampling/sample.ts";
import type { DeviceProfile, Dispatch, LoweringContext } from "../../kernels/kernel.ts";
import { KERNELS } from "../../kernels/registry.ts";
import { PipelineCache } from "../../runtime/webgpu/device/pipelines.ts";
import { webgpuTest } from "../support/adapter.ts";
import { buildNode, type OpInput } from "../support/op_case.ts";
import { withRunner } from "../support/run_dispatches.ts";
import { assertSnapshot } from "../support/snapshot.ts";

/** A data centre GPU: its kernels are the ones that are tuned. */
const PROFILE: DeviceProfile = {
  vendor: "nvidia",
  architecture: "hopper",
  description: "NVIDIA H100 80GB HBM3",
  key: "NVIDIA_H100_80GB_HBM3",
  software: false,
  subgroups: true,
  subgroupSize: 32,
  shaderF16: true,
  timestamps: true,
  maxWorkgroupStorageBytes: 49152,
  maxInvocations: 1024,
  maxWorkgroupsPerDimension: 65535,
  maxBindingBytes: 2147483644,
  maxBufferBytes: 4292870144,
  maxStorageBuffers: 32,
};

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
  inputs: Readonly<Record<string, OpInput | undefined>>,
  max: number,
  own: Partial<LoweringContext> = {},
): readonly Dispatch[] {
  const { node } = buildNode({ op, attrs, inputs });
  const context: LoweringContext = {
    profile: PROFILE,
    tokens: { min: 1, max },
    maxRows: Math.min(max, 8),
    pageSize: 16,
    cacheDtype: () => "f16",
    note() {},
    ...own,
  };
  const kernel = KERNELS.find((each) => each.op === op);
  assert.ok(kernel && kernel.refuse(node, context) === undefined, `${op} is refused`);
  return kernel.lower(node, context);
}

function projection(max: number): readonly Dispatch[] {
  return lower("fused_linear", { normEps: 1e-6 }, {
    x: value(["T", 2048]),
    w: weight("bf16", [5120, 2048]),
    bias: weight("f32", [5120]),
    norm_weight: weight("f32", [2048]),
    residual: value(["T", 5120]),
  }, max);
}

function router(max: number): readonly Dispatch[] {
  const attrs = {
    topK: 8,
    scoring: "softmax",
    softmaxOver: "all",
    renormalize: true,
    scale: 1,
    normEps: 1e-6,
  } as const;
  return lower("moe_router", attrs, {
    x: value(["T", 2048]),
    w: weight("bf16", [128, 2048]),
    norm_weight: weight("f32", [2048]),
  }, max);
}

function attention(max: number): readonly Dispatch[] {
  const attrs = {
    heads: 32,
    kvHeads: 4,
    headDim: 128,
    cache: "layers.0",
    scale: 128 ** -0.5,
    rope: { layout: "half", rotaryDim: 128, attentionScaling: 1 },
    qkNorm: { eps: 1e-6, over: "head" },
  } as const;
  return lower("cached_attention", attrs, {
    qkv: value(["T", 5120]),
    positions: integers(["T"]),
    sequence_ids: integers(["T"]),
    block_table: integers(["S", "P"]),
    inv_freq: weight("f32", [64]),
    q_norm: weight("f32", [128]),
    k_norm: weight("f32", [128]),
  }, max);
}

function sampling(): readonly Dispatch[] {
  const graph = new Graph("sampling");
  return lowerSampling({
    vocabulary: 151936,
    logits: graph.addInput("logits", { dtype: "f32", shape: ["R", 151936] }),
    logitsRows: graph.addInput("logits_rows", { dtype: "i32", shape: ["R"] }),
    tokenIds: graph.addInput("token_ids", { dtype: "i32", shape: ["T"] }),
    positions: graph.addInput("positions", { dtype: "i32", shape: ["T"] }),
  }, { profile: PROFILE, maxRows: 8 });
}

/** Qwen3-30B-A3B's sizes, in decoding and in prefill. */
const SPECIALIZATIONS: Readonly<Record<string, () => readonly Dispatch[]>> = {
  projection_1: () => projection(1),
  projection_8: () => projection(8),
  projection_64: () => projection(64),
  projection_2048: () => projection(2048),
  router_1: () => router(1),
  router_512: () => router(512),
  attention_1: () => attention(1),
  attention_8: () => attention(8),
  attention_512: () => attention(512),
  sampling: () => sampling(),
  embedding: () =>
    lower("embedding", {}, { ids: integers(["T"]), w: weight("bf16", [151936, 2048]) }, 8),
  shared_expert_1: () =>
    lower("gated_mlp", { activation: "silu" }, {
      x: value(["T", 2048]),
      w_gate: weight("bf16", [768, 2048]),
      w_up: weight("bf16", [768, 2048]),
      w_down: weight("bf16", [2048, 768]),
      residual: value(["T", 2048]),
    }, 1),
};

/** Dispatches of one token: what a layer of a model costs in decoding. */
Deno.test("a token of decoding costs one dispatch an op", () => {
  for (const name of ["projection_1", "projection_8", "router_1", "attention_1", "sampling"]) {
    assert.equal(SPECIALIZATIONS[name]().length, 1, name);
  }
});

for (const [name, make] of Object.entries(SPECIALIZATIONS)) {
  Deno.test(`the WGSL of ${name} is the one on record`, async () => {
    for (const [i, { kernel, wgsl }] of make().entries()) {
      const file = new URL(`../golden/wgsl/${name}.${i}.${kernel}.wgsl`, import.meta.url);
      await assertSnapshot(file, wgsl);
    }
  });
}

webgpuTest("every specialisation compiles", () =>
  withRunner(async (runner) => {
    const pipelines = new PipelineCache(runner.device);
    for (const [name, make] of Object.entries(SPECIALIZATIONS)) {
      for (const dispatch of make()) {
        // Devices with less shared memory than an H100 cannot make the pipeline, only read the text.
        const shared = await pipelines.get(dispatch).catch((error) => String(error));
        const short = typeof shared === "string" && /workgroup.*(storage|memory)/i.test(shared);
        assert.ok(typeof shared !== "string" || short, `${name}: ${shared}`);
      }
    }
  }));
