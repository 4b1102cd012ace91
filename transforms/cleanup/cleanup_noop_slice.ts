/**
 * `cleanup_noop_slice`: removes slices that take a whole dimension.
 *
 * Before:
 * ```text
 * %1 = slice(%0) {dim: 1, start: 0} : f32[T, 64]
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
  input,
  type Node,
  type Probe,
  replaceNode,
  sameShape,
} from "../../graph/mod.ts";
import { defineTransform } from "../core/transform.ts";

/** See the module's documentation. */
export const cleanupNoopSlice = defineTransform({
  key: "cleanup_noop_slice",
  stage: "post_export",
  summary: "Remove slices that take a whole dimension",
  config: z.object({}),
  plan: (graph) => findMatches(graph, "slice", matchNoop),
  apply(graph, plan) {
    for (const node of plan.matches) replaceNode(graph, node, input(graph.current(node), "x"));
  },
});

/** A slice with a step above 1 keeps the size only when the size is 1, where it changes nothing either. */
function matchNoop(probe: Probe, node: Node<"slice">): Node {
  probe.check(
    sameShape(input(node, "x").shape, node.outputs[0].shape),
    node,
    "it takes only a part of the dimension",
  );
  return node;
}
