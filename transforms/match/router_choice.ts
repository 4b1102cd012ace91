/**
 * What a router ranks its experts by: scores, a correction that is added for the choice alone, and
 * groups of experts of which the best are kept.
 *
 * @module
 */

import {
  type ExpertGroups,
  input,
  isOp,
  type Node,
  type Probe,
  scalarOperand,
  type Value,
} from "../../graph/mod.ts";

/** How a `topk` chooses. */
export interface Choice {
  /** What makes the scores of logits before the choice; undefined when the logits are chosen from. */
  readonly scored: Node<"softmax"> | Node<"sigmoid"> | undefined;
  /** [T, E] */
  readonly scores: Value;
  readonly correction: Value | undefined;
  readonly groups: ExpertGroups | undefined;
  /** [T, K] scores of the chosen experts, without the correction. */
  readonly chosen: Value;
  /** The node that makes them. */
  readonly at: Node;
}

/** Follows what a `topk` ranks back to scores or logits. */
export function matchChoice(probe: Probe, topk: Node<"topk">): Choice {
  const ranked = input(topk, "x");
  const grouped = matchGroups(probe, ranked);
  const corrected = grouped?.scores ?? ranked;
  const added = probe.maybe(corrected, "add");
  const bias = added && weightOperand(added);
  const scores = bias?.value ?? corrected;
  const maker = probe.graph.producer(scores);
  const scored = isOp(maker, "softmax") || isOp(maker, "sigmoid") ? maker : undefined;
  const choice = { scored, scores, correction: bias?.weight, groups: grouped?.groups };
  if (!bias && !grouped) return { ...choice, chosen: topk.outputs[0], at: topk };
  const taken = probe.graph.users(topk.outputs[1]).find((user) => isOp(user, "take_along"));
  if (!taken || input(taken, "x").id !== scores.id) {
    return probe.fail(topk, "the weights of its experts are not taken from the scores");
  }
  return { ...choice, chosen: taken.outputs[0], at: taken };
}

/** A node that adds a vector of weights. */
function weightOperand(add: Node): { value: Value; weight: Value } | undefined {
  const [a, b] = [input(add, "a"), input(add, "b")];
  for (const [value, weight] of [[a, b], [b, a]]) {
    if (weight.kind === "weight" && weight.shape.length === 1) return { value, weight };
  }
}

/** Lower than this no score of an expert outside of the kept groups may be. */
const FAR = 1e20;

/** `scores + (mask - 1) · far`, with a mask of the experts in the best groups. */
function matchGroups(
  probe: Probe,
  ranked: Value,
): { scores: Value; groups: ExpertGroups } | undefined {
  const lowered = probe.maybe(ranked, "add");
  const penalty = lowered && probe.maybe(input(lowered, "b"), "mul");
  const far = penalty && scalarOperand(penalty);
  const inverse = far && far.scalar >= FAR ? probe.maybe(far.value, "sub") : undefined;
  const one = inverse && scalarOperand(inverse);
  const mask = one?.scalar === 1 ? probe.maybe(one.value, "reshape") : undefined;
  if (!lowered || !mask) return undefined;
  const wide = probe.from(mask, "x", "expand");
  const column = probe.from(wide, "x", "unsqueeze");
  const hits = probe.from(column, "x", "sum");
  const oneHot = probe.from(probe.from(hits, "x", "cast"), "x", "one_hot");
  const best = probe.from(oneHot, "ids", "topk");
  const ranks = probe.from(best, "x", "sum");
  const within = probe.from(ranks, "x", "topk");
  const grouped = probe.from(within, "x", "reshape");
  const scores = input(lowered, "a");
  const { k } = within.attrs;
  probe.check(input(grouped, "x").id === scores.id, grouped, "it ranks groups by other scores");
  probe.check(k === 1 || k === 2, within, `it ranks groups by ${k} experts`);
  const count = Number(grouped.outputs[0].shape[1]);
  return { scores, groups: { count, kept: best.attrs.k, by: k === 1 ? "best" : "two_best" } };
}

/** `weights · table[selected]` with one factor for each expert. */
export function matchExpertScale(
  probe: Probe,
  weights: Value,
  selected: Value,
): { weights: Value; scale: Value } | undefined {
  const [product, ...others] = probe.graph.users(weights);
  if (!isOp(product, "mul") || others.length > 0) return undefined;
  const other = input(product, "a").id === weights.id ? input(product, "b") : input(product, "a");
  const flat = probe.maybe(other, "reshape");
  const picked = flat && probe.maybe(input(flat, "x"), "embedding");
  const column = picked && probe.maybe(input(picked, "w"), "unsqueeze");
  if (!picked || !column || input(picked, "ids").id !== selected.id) return undefined;
  const scale = input(column, "x");
  return scale.kind === "weight" ? { weights: product.outputs[0], scale } : undefined;
}
