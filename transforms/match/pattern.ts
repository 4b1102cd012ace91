/**
 * What the transforms of this folder share: they try one matcher on every node of an op, and have no
 * fields of their own.
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import {
  type AttrsOf,
  findMatches,
  type Found,
  type Graph,
  GraphBuilder,
  type Node,
  type NodeInputs,
  type OpName,
  type Probe,
  replaceNode,
} from "../../graph/mod.ts";
import { defineTransform, type TransformDefinition } from "../core/transform.ts";

/** A pattern of plain operations and what replaces it. */
interface Pattern<Key extends string, Op extends OpName, Match>
  extends Pick<TransformDefinition<Key>, "key" | "summary" | "base"> {
  /** Op of the nodes at which a match may end. */
  readonly root: Op;
  /** Walks from such a node towards its inputs; ends through the probe where the pattern fails. */
  match(probe: Probe, root: Node<Op>): Match;
  /** Other forms of the pattern, which end at nodes of another op. */
  readonly otherForms?: (graph: Graph) => Found<Match>;
  rewrite(graph: Graph, match: Match): void;
}

/** The transform that replaces a pattern wherever it stands. */
export function definePattern<const Key extends string, Op extends OpName, Match>(
  { key, summary, base, root, match, otherForms, rewrite }: Pattern<Key, Op, Match>,
) {
  return defineTransform({
    key,
    stage: "pattern_matcher",
    summary,
    ...(base && { base }),
    config: z.object({}),
    plan(graph) {
      const found = findMatches(graph, root, match);
      const others = otherForms?.(graph);
      return {
        matches: [...found.matches, ...others?.matches ?? []],
        nearMisses: [...found.nearMisses, ...others?.nearMisses ?? []],
      };
    },
    apply(graph, plan) {
      for (const found of plan.matches) rewrite(graph, found);
    },
  });
}

/** Replaces a node by one of another op, at its position and by default in its scope. */
export function replaceByOp<Op extends OpName>(
  graph: Graph,
  node: Node,
  op: Op,
  inputs: NodeInputs,
  attrs: AttrsOf<Op>,
  scope = node.scope,
): void {
  const b = new GraphBuilder(graph, { scope, before: graph.current(node) });
  replaceNode(graph, node, ...b.node(op, inputs, attrs).outputs);
}
