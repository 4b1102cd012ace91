/**
 * Mixture-of-experts and dense MLP blocks of eager graphs.
 *
 * @module
 */

import type { GraphBuilder, Value, Weight } from "../graph/mod.ts";
import { linear } from "./blocks.ts";
import type { ExpertNames, ExpertSizes, ExpertWeights, ModelWeights } from "./model_weights.ts";

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

/** Adds the nodes of an MLP block to its normed input [T, H]. */
export type MlpBuilder = (b: GraphBuilder, x: Value) => Value;

/** A sparse MLP with a softmax router, as Mixtral, Qwen3 and OLMoE have it. */
export interface SparseMlpSpec extends ExpertSizes {
  /** Modules that may hold `gate` and `experts`; exporters differ. */
  readonly modules: readonly string[];
  readonly names: ExpertNames;
  readonly topK: number;
  readonly renormalize: boolean;
}

/** Reads the weights of a sparse MLP; the result builds it. */
export function sparseMlp(weights: ModelWeights, spec: SparseMlpSpec): MlpBuilder {
  const module = weights.findModule(spec.modules, "gate.weight");
  const router = {
    weight: weights.matrix(`${module}.gate`, spec.experts, spec.hidden),
    topK: spec.topK,
    renormalize: spec.renormalize,
  };
  const experts = weights.experts(module, spec.names, spec);
  return (b, x) =>
    expertLoop(
      b,
      x,
      softmaxRouter(b, x, router),
      spec.experts,
      (b, rows, expert) => gatedMlp(b, rows, experts[expert]),
    );
}

/** Reads the weights of a dense MLP; the result builds it. */
export function denseMlp(
  weights: ModelWeights,
  module: string,
  { hidden, intermediate }: Omit<ExpertSizes, "experts">,
): MlpBuilder {
  const mlp = {
    w1: weights.matrix(`${module}.gate_proj`, intermediate, hidden),
    w2: weights.matrix(`${module}.down_proj`, hidden, intermediate),
    w3: weights.matrix(`${module}.up_proj`, intermediate, hidden),
  };
  return (b, x) => gatedMlp(b, x, mlp);
}
