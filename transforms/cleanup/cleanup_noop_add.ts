/**
 * `cleanup_noop_add`: removes additions of zero that do not change the shape. (AutoDeploy's removes
 * them also where the zeros broadcast the other operand to a larger shape, which changes the result.)
 *
 * Before:
 * ```text
 * %1 = add(a: %0, b: 0) : f32[T, 64]
 * %2 = silu(%1) : f32[T, 64]
 * ```
 * After:
 * ```text
 * %1 = silu(%0) : f32[T, 64]
 * ```
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import {
  findMatches,
  type Graph,
  input,
  type Node,
  type Probe,
  replaceNode,
  sameShape,
  type Value,
} from "../../graph/mod.ts";
import { defineTransform } from "../core/transform.ts";

/** See the module's documentation. */
export const cleanupNoopAdd = defineTransform({
  key: "cleanup_noop_add",
  stage: "post_export",
  summary: "Remove additions of zero that keep the shape",
  config: z.object({}),
  plan: (graph) => findMatches(graph, "add", matchNoop),
  apply(graph, plan) {
    for (const { node, kept } of plan.matches) {
      replaceNode(graph, node, input(graph.current(node), kept));
    }
  },
});

function matchNoop(probe: Probe, node: Node<"add">): { node: Node; kept: "a" | "b" } {
  const [a, b] = [input(node, "a"), input(node, "b")];
  const kept = isZero(probe.graph, b) ? "a" : isZero(probe.graph, a) ? "b" : undefined;
  if (!kept) probe.fail(node, "neither operand is zero");
  probe.recognised();
  const { shape } = input(node, kept);
  probe.check(
    sameShape(shape, node.outputs[0].shape),
    node,
    "the zeros broadcast the other operand to a larger shape",
  );
  return { node, kept };
}

function isZero(graph: Graph, value: Value): boolean {
  const { weight } = value;
  if (weight?.kind === "constant") return weight.data.every((element) => element === 0);
  return graph.producer(value)?.op === "zeros_like";
}
