/**
 * Mixture-of-experts and dense MLP blocks of eager graphs.
 *
 * @module
 */

import type { GraphBuilder, Value, Weight } from "../graph/mod.ts";
import { linear } from "./blocks.ts";
import type { ExpertWeights } from "./model_weights.ts";

/** `w2 · (silu(w1 · x) ⊙ (w3 · x))`. */
export function gatedMlp(b: GraphBuilder, x: Value, { w1, w2, w3 }: ExpertWeights): Value {
  const gate = b.op("silu", { x: linear(b, "gate_proj", x, w1) });
  const up = linear(b, "up_proj", x, w3);
  return linear(b, "down_proj", b.op("mul", { a: gate, b: up }), w2);
}

/** The choice of experts. */
export interface RouterSpec {
  /** [E, H] */
  readonly weight: Weight;
  readonly topK: number;
  /** The chosen weights are divided by their sum. */
  readonly renormalize: boolean;
}

/** What the router decides, each [T, K]. */
export interface Routing {
  readonly selected: Value;
  readonly weights: Value;
}

/** Softmax over all experts, the k best, and their weights renormalised where the model does so. */
export function softmaxRouter(b: GraphBuilder, x: Value, spec: RouterSpec): Routing {
  return b.within("gate", () => {
    const logits = b.op("linear", { x, w: b.weight("weight", spec.weight) });
    const scores = b.op("softmax", { x: logits }, { dim: -1 });
    const [chosen, selected] = b.node("topk", { x: scores }, { k: spec.topK }).outputs;
    if (!spec.renormalize) return { selected, weights: chosen };
    const total = b.op("sum", { x: chosen }, { dim: -1, keepdim: true });
    return { selected, weights: b.op("div", { a: chosen, b: total }) };
  });
}

/** The MLP of one expert: from its tokens [n, H] to their outputs [n, H]. */
export type ExpertMlp = (b: GraphBuilder, x: Value, expert: number) => Value;

/**
 * transformers' loop over experts: each finds its (slot, token) pairs, reads its tokens, and adds
 * its weighted outputs to their rows.
 */
export function expertLoop(
  b: GraphBuilder,
  x: Value,
  { selected, weights }: Routing,
  experts: number,
  mlp: ExpertMlp,
): Value {
  const oneHot = b.op("one_hot", { ids: selected }, { classes: experts });
  const mask = b.op("transpose", { x: oneHot }, { dims: [0, 2] }); // [E, K, T]
  let sum = b.op("zeros_like", { x });
  for (let expert = 0; expert < experts; expert++) {
    const own = b.op("select", { x: mask }, { dim: 0, index: expert });
    const symbol = `n_${b.scope}.${expert}`;
    const [slots, tokens] = b.node("where", { mask: own }, { symbol }).outputs;
    const rows = b.op("index", { x, rows: tokens });
    const output = b.within(`experts.${expert}`, () => mlp(b, rows, expert));
    const routing = b.op("index", { x: weights, rows: tokens, columns: slots });
    const column = b.op("unsqueeze", { x: routing }, { dim: -1 });
    const weighted = b.op("mul", { a: output, b: column });
    sum = b.op("index_add", { x: sum, rows: tokens, source: weighted });
  }
  return sum;
}
