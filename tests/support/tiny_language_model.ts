/**
 * A language model of one layer with random weights, as the transforms leave one: for tests of what
 * runs models. It is small enough to compile in a blink and has every part that steps depend on.
 *
 * @module
 */

import { cast, constant, Graph, GraphBuilder, type Weight } from "../../graph/mod.ts";

/** Sizes of the model. */
export const TINY = { vocab: 96, hidden: 64, heads: 4, kvHeads: 2, headDim: 16, experts: 4 };

/** How the model is built. */
export interface TinyOptions {
  /** False leaves the logits of every token, as without `gather_logits_before_lm_head`. */
  readonly gather?: boolean;
  /** A number put into the weights of the output layer. */
  readonly poison?: number;
  /** A token whose embedding is no number, and with it all that follows from it. */
  readonly poisonToken?: number;
  /** Tokens that attention looks back at, itself included. */
  readonly window?: number;
}

/** The model's fused graph with one cache of 16-token pages. */
export function tinyLanguageModel(
  { gather = true, poison, poisonToken, window }: TinyOptions = {},
): Graph {
  const { vocab, hidden, heads, kvHeads, headDim } = TINY;
  const b = new GraphBuilder(new Graph("tiny"));
  const indices = (name: string, ...shape: string[]) => b.input(name, { dtype: "i32", shape });
  const tokens = indices("token_ids", "T");
  const positions = indices("positions", "T");
  const sequences = indices("sequence_ids", "T");
  const pages = indices("block_table", "S", "P");
  const rows = gather ? indices("logits_rows", "R") : undefined;
  const table = random(vocab * hidden, 1);
  if (poisonToken !== undefined) {
    table.fill(NaN, poisonToken * hidden, (poisonToken + 1) * hidden);
  }
  const embedded = b.op("embedding", {
    ids: tokens,
    w: b.weight("embed", cast(constant(table, [vocab, hidden]), "bf16")),
  });
  const h = b.within("model.layers.0", () => {
    const qkv = b.op("fused_linear", {
      x: embedded,
      w: b.weight("qkv", bf16([(heads + 2 * kvHeads) * headDim, hidden], 2)),
      norm_weight: b.weight("norm", constant(new Float32Array(hidden).fill(1))),
    }, { normEps: 1e-6 });
    const attended = b.op("cached_attention", {
      qkv,
      positions,
      sequence_ids: sequences,
      block_table: pages,
      inv_freq: b.weight("inv_freq", constant(inverseFrequencies(headDim))),
    }, {
      heads,
      kvHeads,
      headDim,
      cache: "c",
      scale: headDim ** -0.5,
      ...(window !== undefined && { window }),
      rope: { layout: "half", rotaryDim: headDim, attentionScaling: 1 },
    });
    const w = b.weight("o", bf16([hidden, heads * headDim], 3));
    const mixed = b.op("fused_linear", { x: attended, w, residual: embedded }, {});
    return b.within("mlp", () => experts(b, mixed));
  });
  b.graph.addCache({ name: "c", kvHeads, headDim, dtype: "f32", pageSize: 16 });
  const head = random(vocab * hidden, 7);
  if (poison !== undefined) head[5] = poison;
  const logits = b.op("fused_linear", {
    x: rows ? b.op("gather_rows", { x: h, rows }) : h,
    w: b.weight("lm_head", constant(head, [vocab, hidden])),
    norm_weight: b.weight("final_norm", constant(new Float32Array(hidden).fill(3))),
  }, { normEps: 1e-6 });
  b.graph.setOutput("logits", logits);
  return b.graph;
}

function experts(b: GraphBuilder, x: ReturnType<GraphBuilder["op"]>) {
  const { hidden, experts } = TINY;
  const [topK, intermediate] = [2, 32];
  const { outputs: [selected, weights, normed] } = b.node("moe_router", {
    x,
    w: b.weight("gate", bf16([experts, hidden], 4)),
    norm_weight: b.weight("norm", constant(new Float32Array(hidden).fill(1))),
  }, {
    topK,
    scoring: "softmax",
    softmaxOver: "all",
    renormalize: true,
    scale: 1,
    normEps: 1e-6,
  });
  return b.op("fused_moe", {
    x: normed,
    selected_experts: selected,
    routing_weights: weights,
    w_up: b.weight("w_up", bf16([experts, 2 * intermediate, hidden], 5)),
    w_down: b.weight("w_down", bf16([experts, hidden, intermediate], 6)),
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
}

function bf16(shape: readonly number[], seed: number): Weight {
  const count = shape.reduce((product, size) => product * size, 1);
  return cast(constant(random(count, seed), shape), "bf16");
}

function inverseFrequencies(dim: number): Float32Array {
  return Float32Array.from({ length: dim / 2 }, (_, i) => 10000 ** (-2 * i / dim));
}

/** Numbers in [-0.25, 0.25) that are the same everywhere. */
function random(count: number, seed: number): Float32Array<ArrayBuffer> {
  let state = seed * 7919;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 33 - 0.25;
  });
}
