/**
 * Choices of experts in eager graphs.
 *
 * @module
 */

import type { ExpertGroups, GraphBuilder, Value, Weight } from "../../graph/mod.ts";
import { scaled, softCapped } from "./basic.ts";

/** The choice of experts. */
export interface RouterSpec {
  /** Name of the router's module; default `gate`. */
  readonly name?: string;
  /** What happens to x in front of the scores (Gemma 4). */
  readonly prepare?: (b: GraphBuilder, x: Value) => Value;
  /** [E, H] */
  readonly weight: Weight;
  /** [E] */
  readonly bias?: Weight;
  readonly topK: number;
  /**
   * Scores of the logits: over all experts before the choice; `softmax_chosen` and `sigmoid_chosen` over
   * the chosen ones after it; `sparse_mixer` is Phi-MoE's.
   */
  readonly scoring: "softmax" | "softmax_chosen" | "sigmoid" | "sigmoid_chosen" | "sparse_mixer";
  /** [E] added to the scores for the choice alone. */
  readonly correction?: Weight;
  /** Only experts of the best groups are chosen. */
  readonly groups?: ExpertGroups | undefined;
  /** The chosen weights are divided by their sum, plus `offset`, at least `floor`; or by their p-norm. */
  readonly renormalize?:
    | boolean
    | { readonly offset?: number; readonly floor?: number }
    | { readonly power: number };
  /** Factor on the weights. */
  readonly scale?: number;
  /** [E] factor on an expert's weight (Gemma 4). */
  readonly expertScale?: Weight;
  /** `sparse_mixer` only. */
  readonly jitter?: number;
  /** Logits l become cap · tanh(l / cap) (Laguna). */
  readonly logitCap?: number;
}

/** What the router decides, each [T, K]. */
export interface Routing {
  readonly selected: Value;
  readonly weights: Value;
}

/** Scores, choice and weights in plain operations. */
export function route(b: GraphBuilder, x: Value, spec: RouterSpec): Routing {
  return b.within(spec.name ?? "gate", () => {
    const { weight, bias, topK: k, prepare } = spec;
    const raw = b.op("linear", {
      x: prepare ? prepare(b, x) : x,
      w: b.weight("weight", weight),
      bias: bias && b.weight("bias", bias),
    });
    const logits = spec.logitCap === undefined ? raw : softCapped(b, raw, spec.logitCap);
    if (spec.scoring === "sparse_mixer") {
      const attrs = { topK: k, jitter: spec.jitter ?? 0 };
      const [selected, weights] = b.node("sparse_mixer", { x: logits }, attrs).outputs;
      return { selected, weights };
    }
    if (spec.scoring === "softmax_chosen" || spec.scoring === "sigmoid_chosen") {
      const [x, selected] = b.node("topk", { x: logits }, { k }).outputs;
      const scores = spec.scoring === "softmax_chosen"
        ? b.op("softmax", { x }, { dim: -1 })
        : b.op("sigmoid", { x });
      return { selected, weights: finish(b, scores, spec) };
    }
    const scores = spec.scoring === "sigmoid"
      ? b.op("sigmoid", { x: logits })
      : b.op("softmax", { x: logits }, { dim: -1 });
    const { chosen, selected } = choose(b, scores, spec);
    const weights = finish(b, chosen, spec);
    return { selected, weights: spec.expertScale ? times(b, weights, selected, spec) : weights };
  });
}

/** The k best by score and correction, within the best groups, and their scores. */
function choose(b: GraphBuilder, scores: Value, { topK: k, correction, groups }: RouterSpec) {
  if (!correction && !groups) {
    const [chosen, selected] = b.node("topk", { x: scores }, { k }).outputs;
    return { chosen, selected };
  }
  const corrected = correction
    ? b.op("add", { a: scores, b: b.weight("e_score_correction_bias", correction) })
    : scores;
  const kept = groups ? keepGroups(b, corrected, groups) : corrected;
  const [, selected] = b.node("topk", { x: kept }, { k }).outputs;
  return { chosen: b.op("take_along", { x: scores, indices: selected }), selected };
}

/** Below every score of an expert that may be chosen. */
const NEVER = 1e30;

/** Scores [T, E] with those outside of the best groups moved below all others. */
function keepGroups(b: GraphBuilder, scores: Value, { count, kept, by }: ExpertGroups): Value {
  const [tokens, experts] = scores.shape;
  const size = Number(experts) / count;
  const grouped = b.op("reshape", { x: scores }, { shape: [tokens, count, size] });
  const best = b.node("topk", { x: grouped }, { k: by === "best" ? 1 : Math.min(2, size) });
  const ranks = b.op("sum", { x: best.outputs[0] }, { dim: -1, keepdim: false });
  const [, groups] = b.node("topk", { x: ranks }, { k: kept }).outputs;
  const hits = b.op("cast", { x: b.op("one_hot", { ids: groups }, { classes: count }) }, {
    dtype: "f32",
  });
  const mask = b.op("sum", { x: hits }, { dim: 1, keepdim: false });
  const column = b.op("unsqueeze", { x: mask }, { dim: -1 });
  const wide = b.op("expand", { x: column }, { shape: [tokens, count, size] });
  const flat = b.op("reshape", { x: wide }, { shape: scores.shape });
  const lowered = b.op("mul", {
    a: b.op("sub", { a: flat, b: b.scalar(1) }),
    b: b.scalar(NEVER),
  });
  return b.op("add", { a: scores, b: lowered });
}

function finish(b: GraphBuilder, chosen: Value, { renormalize = false, scale = 1 }: RouterSpec) {
  if (renormalize === false) return scaled(b, chosen, scale);
  if (typeof renormalize === "object" && "power" in renormalize) {
    return scaled(b, b.op("div", { a: chosen, b: normOf(b, chosen, renormalize.power) }), scale);
  }
  const { offset, floor } = renormalize === true ? {} : renormalize;
  const sum = b.op("sum", { x: chosen }, { dim: -1, keepdim: true });
  const shifted = offset === undefined ? sum : b.op("add", { a: sum, b: b.scalar(offset) });
  const total = floor === undefined ? shifted : b.op("clamp", { x: shifted }, { min: floor });
  return scaled(b, b.op("div", { a: chosen, b: total }), scale);
}

/** The p-norm of each row, of positive numbers. */
function normOf(b: GraphBuilder, x: Value, power: number): Value {
  const powers = b.op("pow", { x }, { exponent: power });
  const sum = b.op("sum", { x: powers }, { dim: -1, keepdim: true });
  return b.op("pow", { x: sum }, { exponent: 1 / power });
}

/** Weights [T, K] times the scale of each chosen expert. */
function times(b: GraphBuilder, weights: Value, selected: Value, { expertScale }: RouterSpec) {
  if (!expertScale) return weights;
  const table = b.weight("per_expert_scale", expertScale);
  const column = b.op("unsqueeze", { x: table }, { dim: 1 });
  const picked = b.op("embedding", { ids: selected, w: column });
  const flat = b.op("reshape", { x: picked }, { shape: weights.shape });
  return b.op("mul", { a: weights, b: flat });
}
