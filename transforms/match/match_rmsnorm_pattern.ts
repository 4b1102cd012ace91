/**
 * `match_rmsnorm_pattern`: the elementwise form of RMSNorm becomes one op.
 *
 * Before:
 * ```text
 * %1 = pow(x) {exponent: 2}
 * %2 = mean(%1) {dim: -1, keepdim: true}
 * %3 = add(a: %2, b: 1e-6)
 * %4 = rsqrt(%3)
 * %5 = mul(a: x, b: %4)
 * %6 = mul(a: @norm.weight, b: %5)
 * ```
 * After:
 * ```text
 * %1 = rms_norm(x: x, w: @norm.weight) {eps: 1e-6}
 * ```
 *
 * @module
 */

import { input, type Node, type Probe, scalarOperand, type Value } from "../../graph/mod.ts";
import { definePattern, replaceByOp } from "./pattern.ts";

interface Norm {
  /** The multiplication by the weight, which makes the result. */
  readonly result: Node;
  readonly x: Value;
  readonly weight: Value;
  readonly eps: number;
}

/** See the module's documentation. */
export const matchRmsnormPattern = definePattern({
  key: "match_rmsnorm_pattern",
  summary: "Replace the elementwise form of RMSNorm by `rms_norm`",
  root: "mul",
  match: matchNorm,
  rewrite: (graph, { result, x, weight, eps }) =>
    replaceByOp(graph, result, "rms_norm", { x, w: weight }, { eps }),
});

/** Matches `weight · (x · rsqrt(mean(x²) + eps))`, either operand order. */
function matchNorm(probe: Probe, result: Node): Norm {
  const { made: scaled, other: weight } = probe.operands(result, "mul");
  const { made: rsqrt, other: x } = probe.operands(scaled, "rsqrt");
  const add = probe.from(rsqrt, "x", "add");
  const sum = scalarOperand(add);
  const mean = probe.maybe(sum?.value, "mean");
  if (!sum || !mean) probe.fail(add, "it is not a mean plus a constant");
  probe.recognised();
  const power = probe.from(mean, "x", "pow");
  probe.check(power.attrs.exponent === 2, power, `its exponent is ${power.attrs.exponent}, not 2`);
  probe.check(
    input(power, "x") === x,
    power,
    "it squares a different value from the one that the norm scales",
  );
  const last = x.shape.length - 1;
  probe.check(
    (mean.attrs.dim === -1 || mean.attrs.dim === last) && mean.attrs.keepdim,
    mean,
    "it is not a mean over the last dimension that keeps it",
  );
  const isWeight = weight.kind === "weight" && weight.shape.length === 1 &&
    weight.shape[0] === x.shape[last];
  probe.check(isWeight, result, `it does not multiply by a weight [${x.shape[last]}]`);
  return { result, x, weight, eps: sum.scalar };
}
