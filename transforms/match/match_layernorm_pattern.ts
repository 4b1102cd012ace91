/**
 * `match_layernorm_pattern`: LayerNorm becomes one op. It runs after `match_rmsnorm_pattern`, which
 * sees the norm of the centred value in it.
 *
 * Before:
 * ```text
 * %1 = mean(x) {dim: -1, keepdim: true}
 * %2 = sub(a: x, b: %1)
 * %3 = rms_norm(x: %2, w: @norm.weight) {eps: 1e-5}
 * %4 = add(a: %3, b: @norm.bias)
 * ```
 * After:
 * ```text
 * %1 = layer_norm(x: x, w: @norm.weight, bias: @norm.bias) {eps: 1e-5}
 * ```
 *
 * @module
 */

import { input, isOp, type Node, type Probe, type Value } from "../../graph/mod.ts";
import { definePattern, replaceByOp } from "./pattern.ts";

interface Norm {
  readonly result: Node;
  readonly x: Value;
  readonly weight: Value;
  readonly bias: Value | undefined;
  readonly eps: number;
}

/** See the module's documentation. */
export const matchLayernormPattern = definePattern({
  key: "match_layernorm_pattern",
  summary: "Replace RMSNorm of a centred value, and its bias, by `layer_norm`",
  base: { after: ["match_rmsnorm_pattern"] },
  root: "rms_norm",
  match: matchNorm,
  rewrite: (graph, { result, x, weight, bias, eps }) =>
    replaceByOp(graph, result, "layer_norm", { x, w: weight, bias }, { eps }),
});

function matchNorm(probe: Probe, norm: Node<"rms_norm">): Norm {
  const centred = probe.from(norm, "x", "sub");
  const mean = probe.from(centred, "b", "mean");
  const x = input(centred, "a");
  const last = x.shape.length - 1;
  const over = mean.attrs.dim === -1 || mean.attrs.dim === last;
  probe.check(input(mean, "x").id === x.id, centred, "it subtracts the mean of another value");
  probe.check(over && mean.attrs.keepdim, mean, "it is not a mean over the last dimension");
  const { weight, eps } = { weight: input(norm, "w"), eps: norm.attrs.eps };
  const [user, ...others] = probe.graph.users(norm.outputs[0]);
  const alone = others.length === 0 && !probe.graph.isOutput(norm.outputs[0]);
  if (isOp(user, "add") && alone) {
    const [a, b] = [input(user, "a"), input(user, "b")];
    const bias = a.id === norm.outputs[0].id ? b : a;
    const fits = bias.kind === "weight" && String(bias.shape) === String(weight.shape);
    if (fits) return { result: user, x, weight, bias, eps };
  }
  return { result: norm, x, weight, bias: undefined, eps };
}
