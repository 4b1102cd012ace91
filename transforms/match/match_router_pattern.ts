/**
 * `match_router_pattern`: the choice of experts becomes one op.
 *
 * Before (DeepSeek scales, Mixtral and Qwen3 renormalise, OLMoE does neither; gpt-oss takes the
 * softmax after the choice):
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
  GraphBuilder,
  input,
  isOp,
  type MoeRouterAttrs,
  type Node,
  optionalInput,
  type Probe,
  replaceNode,
  scalarOperand,
  type Value,
} from "../../graph/mod.ts";
import { plainWeight } from "./moe_expert.ts";
import { definePattern } from "./pattern.ts";

/** A term this small in the renormalising sum makes no difference in f32. */
const NEGLIGIBLE = 1e-12;

interface Router {
  readonly topk: Node<"topk">;
  /** The routing weights. */
  readonly weights: Value;
  readonly linear: Node<"linear">;
  readonly attrs: MoeRouterAttrs;
}

/** See the module's documentation. */
export const matchRouterPattern = definePattern({
  key: "match_router_pattern",
  summary: "Replace the scoring and choice of experts by `moe_router`",
  root: "topk",
  match: matchRouter,
  rewrite(graph, { topk, weights, linear, attrs }) {
    const b = new GraphBuilder(graph, { scope: linear.scope, before: graph.current(topk) });
    const current = graph.current(linear);
    const { outputs: [selected, routing] } = b.node("moe_router", {
      x: input(current, "x"),
      w: input(current, "w"),
      bias: optionalInput(current, "bias"),
    }, attrs);
    const last = graph.producer(weights);
    if (last && last.id !== topk.id) replaceNode(graph, last, routing);
    else graph.replaceAllUses(weights, routing);
    graph.replaceAllUses(topk.outputs[1], selected);
  },
});

function matchRouter(probe: Probe, topk: Node<"topk">): Router {
  const scored = probe.graph.producer(input(topk, "x"));
  const logits = scored?.op === "softmax" || scored?.op === "sigmoid"
    ? input(scored, "x")
    : input(topk, "x");
  const linear = probe.maybe(logits, "linear");
  if (!linear) probe.fail(topk, "its scores do not come from a linear layer");
  probe.recognised();
  plainWeight(probe, linear);
  probe.check(input(linear, "x").shape.length === 2, linear, "its input is not a matrix");
  if (isOp(scored, "softmax")) checkLastDim(probe, scored);
  const scoring = scored?.op === "sigmoid" ? "sigmoid" : "softmax";
  const chosen = topk.outputs[0];
  if (scored?.op === "softmax" || scored?.op === "sigmoid") {
    const { weights, renormalize } = matchRenormalization(probe, topk);
    const { value, scale } = matchScale(probe, weights);
    const attrs = { topK: topk.attrs.k, scoring, softmaxOver: "all", renormalize, scale } as const;
    return { topk, weights: value, linear, attrs };
  }
  const softmax = probe.onlyUser(chosen, topk);
  if (!isOp(softmax, "softmax")) {
    return probe.fail(topk, `its scores are raw and go to ${softmax.op}, not to softmax`);
  }
  checkLastDim(probe, softmax);
  const { value, scale } = matchScale(probe, softmax.outputs[0]);
  const attrs = {
    topK: topk.attrs.k,
    scoring: "softmax",
    softmaxOver: "selected",
    renormalize: false,
    scale,
  } as const;
  return { topk, weights: value, linear, attrs };
}

function checkLastDim(probe: Probe, softmax: Node<"softmax">): void {
  const { dim } = softmax.attrs;
  const last = softmax.outputs[0].shape.length - 1;
  probe.check(dim === -1 || dim === last, softmax, "it is not over the experts");
}

/** `v / (sum(v) + tiny)` where v are the chosen scores; otherwise the scores themselves. */
function matchRenormalization(probe: Probe, topk: Node): { weights: Value; renormalize: boolean } {
  const chosen = topk.outputs[0];
  const users = probe.graph.users(chosen);
  const total = users.find((user) => isOp(user, "sum"));
  if (!total || !isOp(total, "sum")) return { weights: chosen, renormalize: false };
  const last = chosen.shape.length - 1;
  const overSlots = (total.attrs.dim === -1 || total.attrs.dim === last) && total.attrs.keepdim;
  probe.check(overSlots, total, "it is not a sum over the chosen experts that keeps the dimension");
  let divisor = total.outputs[0];
  const [next] = probe.graph.users(divisor);
  const padded = isOp(next, "add") ? scalarOperand(next) : undefined;
  if (next && padded) {
    probe.check(
      padded.scalar <= NEGLIGIBLE,
      next,
      `it adds ${padded.scalar}, which may change the result`,
    );
    divisor = next.outputs[0];
  }
  const division = users.find((user) => isOp(user, "div"));
  const divides = division !== undefined && input(division, "a").id === chosen.id &&
    input(division, "b").id === divisor.id;
  if (!divides) return probe.fail(topk, "its values are summed but not divided by their sum");
  probe.check(users.length === 2, topk, "its values before the division have another reader");
  return { weights: division.outputs[0], renormalize: true };
}

function matchScale(probe: Probe, value: Value): { value: Value; scale: number } {
  const users = probe.graph.users(value);
  const factor = users.length === 1 && isOp(users[0], "mul") ? scalarOperand(users[0]) : undefined;
  if (!factor || probe.graph.isOutput(value)) return { value, scale: 1 };
  return { value: users[0].outputs[0], scale: factor.scalar };
}
