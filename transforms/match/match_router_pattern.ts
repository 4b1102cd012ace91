/**
 * `match_router_pattern`: the choice of experts becomes one op.
 *
 * Before (DeepSeek scales, Mixtral and Qwen3 renormalise, OLMoE does neither; gpt-oss takes the
 * softmax after the choice, Llama 4 the sigmoid; a correction and groups of experts, which take part
 * in the choice alone, are in `router_choice.ts`):
 * ```text
 * %1 = linear(x: x, w: @gate)
 * %2 = softmax(%1) {dim: -1}
 * %3, %4 = topk(%2) {k: 2}
 * %5 = sum(%3) {dim: -1, keepdim: true}
 * %6 = div(a: %3, b: %5)
 * ```
 * After:
 * ```text
 * %1, %2 = moe_router(x: x, w: @gate)
 *          {topK: 2, scoring: softmax, softmaxOver: all, renormalize: true, scale: 1}
 * ```
 *
 * @module
 */

import {
  findMatches,
  GraphBuilder,
  input,
  isOp,
  type MoeRouterAttrs,
  type Node,
  optionalInput,
  type Probe,
  scalarOperand,
  type Value,
} from "../../graph/mod.ts";
import { plainWeight } from "./moe_expert.ts";
import { definePattern } from "./pattern.ts";
import { type Choice, matchChoice, matchExpertScale } from "./router_choice.ts";

/** A term this small in the renormalising sum makes no difference in f32. */
const NEGLIGIBLE = 1e-12;

interface Router {
  /** The node that the fused one stands in front of. */
  readonly choice: Node;
  /** The ids of the chosen experts. */
  readonly selected: Value;
  /** The routing weights. */
  readonly weights: Value;
  readonly linear: Node<"linear">;
  /** What the linear layer reads, without a constant factor. */
  readonly x: Value;
  readonly correction: Value | undefined;
  readonly expertScale: Value | undefined;
  readonly attrs: MoeRouterAttrs;
}

/** See the module's documentation. */
export const matchRouterPattern = definePattern({
  key: "match_router_pattern",
  summary: "Replace the scoring and choice of experts by `moe_router`",
  root: "topk",
  match: matchRouter,
  otherForms: (graph) => findMatches(graph, "sparse_mixer", matchSparseMixer),
  rewrite(graph, match) {
    const { choice, selected, weights, linear, attrs } = match;
    const b = new GraphBuilder(graph, { scope: linear.scope, before: graph.current(choice) });
    const current = graph.current(linear);
    const { outputs: [ids, routing] } = b.node("moe_router", {
      x: match.x,
      w: input(current, "w"),
      bias: optionalInput(current, "bias"),
      correction: match.correction,
      expert_scale: match.expertScale,
    }, attrs);
    graph.replaceAllUses(weights, routing);
    graph.replaceAllUses(selected, ids);
  },
});

/** The linear layer that makes logits, and the constant factor on what it reads. */
function matchLogits(probe: Probe, logits: Value, at: Node) {
  const linear = probe.maybe(logits, "linear");
  if (!linear) return probe.fail(at, "its scores do not come from a linear layer");
  probe.recognised();
  plainWeight(probe, linear);
  const x = input(linear, "x");
  probe.check(x.shape.length === 2, linear, "its input is not a matrix");
  const product = probe.maybe(x, "mul");
  const factor = product && scalarOperand(product);
  if (!factor || linear.inputs.bias) return { linear, x, logitScale: 1 };
  return { linear, x: factor.value, logitScale: factor.scalar };
}

function matchRouter(probe: Probe, topk: Node<"topk">): Router {
  const choice = matchChoice(probe, topk);
  const { scored, scores } = choice;
  const logits = scored ? input(scored, "x") : scores;
  const { linear, x, logitScale } = matchLogits(probe, logits, topk);
  if (isOp(scored, "softmax")) checkLastDim(probe, scored);
  const common = {
    ...{ choice: topk, selected: topk.outputs[1], linear, x },
    ...{ correction: choice.correction },
  };
  const attrs = {
    topK: topk.attrs.k,
    scoring: scored?.op === "sigmoid" ? "sigmoid" as const : "softmax" as const,
    ...(choice.groups && { groups: choice.groups }),
    ...(logitScale !== 1 && { logitScale }),
  };
  if (scored) {
    const { weights, ...renormalization } = matchRenormalization(probe, topk, choice);
    const { value, scale } = matchScale(probe, weights);
    const scaled = matchExpertScale(probe, value, topk.outputs[1]);
    return {
      ...common,
      weights: scaled?.weights ?? value,
      expertScale: scaled?.scale,
      attrs: { ...attrs, softmaxOver: "all", ...renormalization, scale },
    };
  }
  return { ...common, ...matchLate(probe, topk, attrs) };
}

/** Scores of the chosen logits alone. */
function matchLate(
  probe: Probe,
  topk: Node<"topk">,
  attrs: Pick<MoeRouterAttrs, "topK" | "scoring" | "groups" | "logitScale">,
) {
  const after = probe.onlyUser(topk.outputs[0], topk);
  if (!isOp(after, "softmax") && !isOp(after, "sigmoid")) {
    return probe.fail(topk, `its scores are raw and go to ${after.op}, not to softmax or sigmoid`);
  }
  if (isOp(after, "softmax")) checkLastDim(probe, after);
  const late = { chosen: after.outputs[0], at: after };
  const { weights, ...renormalization } = matchRenormalization(probe, topk, late);
  const { value, scale } = matchScale(probe, weights);
  return {
    weights: value,
    expertScale: undefined,
    attrs: {
      ...attrs,
      scoring: after.op === "sigmoid" ? "sigmoid" as const : "softmax" as const,
      softmaxOver: "selected" as const,
      ...renormalization,
      scale,
    },
  };
}

function matchSparseMixer(probe: Probe, mixer: Node<"sparse_mixer">): Router {
  const { linear, x, logitScale } = matchLogits(probe, input(mixer, "x"), mixer);
  const { topK, jitter } = mixer.attrs;
  const [selected, weights] = mixer.outputs;
  return {
    ...{ choice: mixer, selected, weights, linear, x },
    ...{ correction: undefined, expertScale: undefined },
    attrs: {
      topK,
      scoring: "sparse_mixer",
      softmaxOver: "all",
      renormalize: false,
      scale: 1,
      jitter,
      ...(logitScale !== 1 && { logitScale }),
    },
  };
}

function checkLastDim(probe: Probe, softmax: Node<"softmax">): void {
  const { dim } = softmax.attrs;
  const last = softmax.outputs[0].shape.length - 1;
  probe.check(dim === -1 || dim === last, softmax, "it is not over the experts");
}

/** `v / (sum(v) + tiny)` where v are the chosen scores, or DBRX's p-norm; otherwise the scores themselves. */
function matchRenormalization(
  probe: Probe,
  topk: Node,
  { chosen, at }: Pick<Choice, "chosen" | "at">,
) {
  const users = probe.graph.users(chosen);
  const power = users.find((user) => isOp(user, "pow"));
  const total = (power ? probe.graph.users(power.outputs[0]) : users)
    .find((user) => isOp(user, "sum"));
  if (!total || !isOp(total, "sum")) return { weights: chosen, renormalize: false };
  const last = chosen.shape.length - 1;
  const overSlots = (total.attrs.dim === -1 || total.attrs.dim === last) && total.attrs.keepdim;
  probe.check(overSlots, total, "it is not a sum over the chosen experts that keeps the dimension");
  const { divisor, ...bounds } = isOp(power, "pow")
    ? matchRoot(probe, total, power.attrs.exponent)
    : matchDivisor(probe, total.outputs[0]);
  const division = users.find((user) => isOp(user, "div"));
  const divides = division !== undefined && input(division, "a").id === chosen.id &&
    input(division, "b").id === divisor.id;
  if (!divides) return probe.fail(topk, "its values are summed but not divided by their sum");
  probe.check(users.length === 2, at, "its values before the division have another reader");
  return { weights: division.outputs[0], renormalize: true, ...bounds };
}

/** The root that makes a p-norm of a sum of powers. */
function matchRoot(probe: Probe, total: Node<"sum">, normPower: number) {
  const root = probe.onlyUser(total.outputs[0], total);
  const takes = isOp(root, "pow") && Math.fround(root.attrs.exponent * normPower) === 1;
  if (!takes) return probe.fail(total, "it is a sum of powers and no p-norm");
  return { divisor: root.outputs[0], normPower };
}

/** The sum with what is added to it and its lower bound, where these can be seen. */
function matchDivisor(probe: Probe, sum: Value) {
  let divisor = sum;
  const bounds: { sumOffset?: number; sumFloor?: number } = {};
  const [added] = probe.graph.users(divisor);
  const offset = isOp(added, "add") ? scalarOperand(added) : undefined;
  if (added && offset) {
    if (offset.scalar > NEGLIGIBLE) bounds.sumOffset = offset.scalar;
    divisor = added.outputs[0];
  }
  const [kept] = probe.graph.users(divisor);
  if (isOp(kept, "clamp") && kept.attrs.max === undefined) {
    const { min = 0 } = kept.attrs;
    if (min > NEGLIGIBLE) bounds.sumFloor = min;
    divisor = kept.outputs[0];
  }
  return { divisor, ...bounds };
}

function matchScale(probe: Probe, value: Value): { value: Value; scale: number } {
  const users = probe.graph.users(value);
  const factor = users.length === 1 && isOp(users[0], "mul") ? scalarOperand(users[0]) : undefined;
  if (!factor || probe.graph.isOutput(value)) return { value, scale: 1 };
  return { value: users[0].outputs[0], scale: factor.scalar };
}
