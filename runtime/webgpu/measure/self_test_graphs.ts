/**
 * The graphs of the start-up self-test: one MoE layer, and attention that continues a long context.
 *
 * @module
 */

import { cast, constant, Graph, GraphBuilder, type Weight } from "../../../graph/mod.ts";

/** Numbers of the inputs of one step. */
export type StepNumbers = Readonly<
  Record<string, Float32Array<ArrayBuffer> | Int32Array<ArrayBuffer>>
>;

/** A graph to run on the device and on the CPU. */
export interface SelfTestCase {
  /** What it computes, for the error. */
  readonly what: string;
  readonly graph: Graph;
  /** Tokens of the steps, in order; all results are compared. */
  readonly steps: readonly number[];
  /** Pages of the cache, if there is one. */
  readonly pages: number;
  inputs(tokens: number, step: number): StepNumbers;
}

const MOE = { hidden: 64, intermediate: 32, experts: 4, topK: 2 };
const ATTENTION = { heads: 4, kvHeads: 2, headDim: 64, pages: 16, pageSize: 16 };

/** One layer: router with its norm, experts, residual. One token takes other kernels than many. */
export function moeCase(): SelfTestCase {
  const { hidden, intermediate, experts, topK } = MOE;
  const b = new GraphBuilder(new Graph("self-test"), { scope: "self_test" });
  const x = b.input("x", { dtype: "f32", shape: ["T", hidden] });
  const { outputs: [selected, weights, normed] } = b.node("moe_router", {
    x,
    w: b.weight("gate", bf16([experts, hidden], 1)),
    norm_weight: b.weight("norm", constant(pseudoRandom(hidden, 2))),
  }, {
    topK,
    scoring: "softmax",
    softmaxOver: "all",
    renormalize: true,
    scale: 1,
    normEps: 1e-6,
  });
  const y = b.op("fused_moe", {
    x: normed,
    selected_experts: selected,
    routing_weights: weights,
    w_up: b.weight("w_up", bf16([experts, 2 * intermediate, hidden], 3)),
    w_down: b.weight("w_down", bf16([experts, hidden, intermediate], 4)),
    residual: x,
  }, {
    mlp: "gated",
    activation: "silu",
    applyRoutingOnInput: false,
    backend: "auto",
    experts,
    topK,
    hidden,
    intermediate,
    format: "bf16",
    activationQuant: "none",
  });
  b.graph.setOutput("y", y);
  return {
    what: "a MoE layer",
    graph: b.graph,
    steps: [1, 24],
    pages: 0,
    inputs: (tokens) => ({ x: pseudoRandom(tokens * hidden, tokens) }),
  };
}

/** A prompt of 200 tokens, then single ones: long enough for several workgroups to share a head. */
export function attentionCase(): SelfTestCase {
  const { heads, kvHeads, headDim, pages, pageSize } = ATTENTION;
  const width = (heads + 2 * kvHeads) * headDim;
  const b = new GraphBuilder(new Graph("self-test-attention"), { scope: "self_test" });
  const vector = (name: string) => b.input(name, { dtype: "i32", shape: ["T"] });
  const y = b.op("cached_attention", {
    qkv: b.input("qkv", { dtype: "f32", shape: ["T", width] }),
    positions: vector("positions"),
    sequence_ids: vector("sequence_ids"),
    block_table: b.input("block_table", { dtype: "i32", shape: ["S", "P"] }),
    inv_freq: b.weight("inv_freq", constant(inverseFrequencies(headDim))),
    q_norm: b.weight("q_norm", constant(pseudoRandom(headDim, 5))),
    k_norm: b.weight("k_norm", constant(pseudoRandom(headDim, 6))),
  }, {
    heads,
    kvHeads,
    headDim,
    scale: headDim ** -0.5,
    cache: "layer",
    rope: { layout: "half", rotaryDim: headDim, attentionScaling: 1 },
    qkNorm: { eps: 1e-6, over: "head" },
  });
  b.graph.setOutput("y", y);
  b.graph.addCache({ name: "layer", kvHeads, headDim, dtype: "f32", pageSize });
  const steps = [200, 1, 1, 1];
  return {
    what: "attention",
    graph: b.graph,
    steps,
    pages,
    inputs(tokens, step) {
      const first = steps.slice(0, step).reduce((sum, count) => sum + count, 0);
      return {
        qkv: pseudoRandom(tokens * width, 7 + step),
        positions: Int32Array.from({ length: tokens }, (_, i) => first + i),
        sequence_ids: new Int32Array(tokens),
        block_table: Int32Array.from({ length: pages }, (_, page) => page),
      };
    },
  };
}

function inverseFrequencies(headDim: number): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: headDim / 2 }, (_, i) => 10000 ** (-2 * i / headDim));
}

function bf16(shape: readonly number[], seed: number): Weight {
  const count = shape.reduce((product, size) => product * size, 1);
  return cast(constant(pseudoRandom(count, seed), shape), "bf16");
}

/** Numbers in [-1, 1) that are the same everywhere. */
function pseudoRandom(count: number, seed: number): Float32Array<ArrayBuffer> {
  let state = seed;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}
