/**
 * `match_l2norm_pattern`: a norm without a weight becomes one op. It runs after
 * `match_rmsnorm_pattern`, which takes those with a weight.
 *
 * Before:
 * ```text
 * %1 = pow(x) {exponent: 2}
 * %2 = mean(%1) {dim: -1, keepdim: true}
 * %3 = rsqrt(add(a: %2, b: 1e-6))
 * %4 = mul(a: x, b: %3)
 * ```
 * After:
 * ```text
 * %1 = l2_norm(x: x) {eps: 1e-6}
 * ```
 *
 * @module
 */

import { input, type Node, type Probe, scalarOperand, type Value } from "../../graph/mod.ts";
import { definePattern, replaceByOp } from "./pattern.ts";

interface Norm {
  readonly result: Node;
  readonly x: Value;
  readonly eps: number;
}

/** See the module's documentation. */
export const matchL2normPattern = definePattern({
  key: "match_l2norm_pattern",
  summary: "Replace the elementwise form of a norm without weight by `l2_norm`",
  base: { after: ["match_rmsnorm_pattern"] },
  root: "mul",
  match: matchNorm,
  rewrite: (graph, { result, x, eps }) => replaceByOp(graph, result, "l2_norm", { x }, { eps }),
});

function matchNorm(probe: Probe, result: Node): Norm {
  const { made: rsqrt, other: x } = probe.operands(result, "rsqrt");
  const add = probe.from(rsqrt, "x", "add");
  const sum = scalarOperand(add);
  const mean = probe.maybe(sum?.value, "mean");
  if (!sum || !mean) return probe.fail(add, "it is no mean plus a constant");
  probe.recognised();
  const power = probe.from(mean, "x", "pow");
  const squares = power.attrs.exponent === 2 && input(power, "x").id === x.id;
  probe.check(squares, power, "it is not the square of what the norm scales");
  const last = x.shape.length - 1;
  const over = (mean.attrs.dim === -1 || mean.attrs.dim === last) && mean.attrs.keepdim;
  probe.check(over, mean, "it is not a mean over the last dimension that keeps it");
  return { result, x, eps: sum.scalar };
}
