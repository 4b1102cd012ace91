/**
 * `fuse_post_norm`: a norm behind a block, the addition to the residual stream, and the norms that
 * read the sum become one op, for families with norms on both sides of a block (Gemma, OLMo 2, AFMoE).
 *
 * Before:
 * ```text
 * %1 = rms_norm(x: attended, w: @post_attention) {eps: 1e-6}
 * %2 = add(a: h, b: %1)
 * %3 = rms_norm(x: %2, w: @pre_feedforward) {eps: 1e-6}
 * ```
 * After:
 * ```text
 * %2, %3 = post_norm(x: attended, w: @post_attention, residual: h, next: [@pre_feedforward])
 *          {eps: 1e-6, nextEps: 1e-6}
 * ```
 * Two branches, each normed, whose sum is normed again (Gemma 4's dense MLP beside its experts) and a
 * factor [1] on the sum go into the op too: `x_2`, `w_2`, `w_sum`, `scale`.
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import {
  findMatches,
  type Graph,
  GraphBuilder,
  input,
  isOp,
  type Node,
  type Probe,
  replaceNode,
  sameShape,
  type Value,
} from "../../graph/mod.ts";
import { defineTransform } from "../core/transform.ts";

type Norm = Node<"rms_norm">;

interface Match {
  readonly add: Node<"add">;
  /** Norm of what is added. */
  readonly norm: Norm;
  readonly residual: Value;
  /** Norms of the two branches that `norm` is the norm of the sum of. */
  readonly branches: readonly [Norm, Norm] | undefined;
  readonly scaled: { readonly node: Node<"mul">; readonly scale: Value } | undefined;
  /** Norms that read the sum. */
  readonly next: readonly Norm[];
}

/** See the module's documentation. */
export const fusePostNorm = defineTransform({
  key: "fuse_post_norm",
  stage: "post_load_fusion",
  summary: "Join a norm behind a block, the residual addition and the norms that read the sum",
  base: { after: ["fuse_rmsnorm"], before: ["fuse_residual", "fuse_add_rms_norm"] },
  config: z.object({}),
  plan(graph) {
    const { matches, nearMisses } = findMatches(graph, "add", matchPostNorm);
    // A norm that reads one sum may be what is added to form the next.
    const taken = new Set(matches.flatMap(({ norm, branches = [] }) => [norm, ...branches]));
    return {
      matches: matches.map((match) => ({
        ...match,
        next: match.next.filter((norm) => !taken.has(norm)),
      })),
      nearMisses,
    };
  },
  apply(graph, plan) {
    for (const match of plan.matches) fuse(graph, match);
    // Norms of the sum may be read before what reads the sum itself.
    graph.sortTopologically();
  },
});

function matchPostNorm(probe: Probe, add: Node<"add">): Match {
  const [a, b] = [input(add, "a"), input(add, "b")];
  const norm = ownNorm(probe, b) ?? ownNorm(probe, a);
  if (!norm) return probe.fail(add, "no operand is a norm");
  if (isBranchSum(probe, add)) probe.fail(add, "it is a part of another one");
  probe.recognised();
  const residual = norm.outputs[0].id === b.id ? a : b;
  probe.check(sameShape(a.shape, b.shape), add, "its operands have different shapes");
  const scaled = scaleOf(probe, add);
  const sum = scaled?.node.outputs[0] ?? add.outputs[0];
  return {
    add,
    norm,
    residual,
    scaled,
    branches: branchesOf(probe, norm),
    next: nextOf(probe, sum),
  };
}

/** The norm of rows [T, H] that makes a value which nothing else reads. */
function ownNorm(probe: Probe, value: Value): Norm | undefined {
  const norm = probe.maybe(value, "rms_norm");
  const alone = probe.graph.users(value).length === 1 && !probe.graph.isOutput(value);
  return norm && alone && value.shape.length === 2 ? norm : undefined;
}

/** Whether a sum of two norms is normed and added itself. */
function isBranchSum(probe: Probe, add: Node<"add">): boolean {
  const [reader, ...others] = probe.graph.users(add.outputs[0]);
  if (others.length > 0 || !isOp(reader, "rms_norm")) return false;
  const adds = probe.graph.users(reader.outputs[0]).some((user) => isOp(user, "add"));
  return adds && branchesOf(probe, reader) !== undefined;
}

/** The norms of the two branches that a norm is the norm of the sum of. */
function branchesOf(probe: Probe, norm: Norm): readonly [Norm, Norm] | undefined {
  const sum = probe.maybe(input(norm, "x"), "add");
  if (!sum || probe.graph.users(sum.outputs[0]).length > 1) return undefined;
  if (probe.graph.isOutput(sum.outputs[0])) return undefined;
  const [first, second] = [ownNorm(probe, input(sum, "a")), ownNorm(probe, input(sum, "b"))];
  const { eps } = norm.attrs;
  if (!first || !second || first === second) return undefined;
  return first.attrs.eps === eps && second.attrs.eps === eps ? [first, second] : undefined;
}

/** A weight [1] that multiplies the sum, if nothing else reads it. */
function scaleOf(probe: Probe, add: Node<"add">): Match["scaled"] {
  const sum = add.outputs[0];
  const [reader, ...others] = probe.graph.users(sum);
  if (others.length > 0 || probe.graph.isOutput(sum) || !isOp(reader, "mul")) return undefined;
  const [a, b] = [input(reader, "a"), input(reader, "b")];
  const scale = a.id === sum.id ? b : a;
  const single = scale.kind === "weight" && scale.dtype === "f32" && String(scale.shape) === "1";
  return single ? { node: reader, scale } : undefined;
}

/** Norms of rows that read the sum, as far as they have one epsilon. */
function nextOf(probe: Probe, sum: Value): Norm[] {
  const norms = probe.graph.users(sum).filter((user) => isOp(user, "rms_norm"));
  return norms.filter(({ attrs }) => attrs.eps === norms[0].attrs.eps);
}

function fuse(graph: Graph, { add, norm, residual, branches, scaled, next }: Match): void {
  const last = scaled?.node ?? add;
  const { scope } = graph.current(add);
  const b = new GraphBuilder(graph, { scope, before: graph.current(last) });
  const at = (node: Norm, name: string) => input(graph.current(node), name);
  const [first, second] = branches ?? [norm];
  const current = graph.current(add);
  const known = [input(current, "a"), input(current, "b")];
  const own = graph.current(norm).outputs[0].id;
  const { outputs: [sum, ...normed] } = b.node("post_norm", {
    x: at(first, "x"),
    w: at(first, "w"),
    ...(second && { x_2: at(second, "x"), w_2: at(second, "w"), w_sum: at(norm, "w") }),
    residual: known.find((value) => value.id !== own) ?? residual,
    scale: scaled?.scale,
    next: next.map((each) => at(each, "w")),
  }, { eps: norm.attrs.eps, ...(next.length > 0 && { nextEps: next[0].attrs.eps }) });
  next.forEach((each, i) => replaceNode(graph, each, normed[i]));
  replaceNode(graph, last, sum);
}
