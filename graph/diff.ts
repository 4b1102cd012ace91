/**
 * What a rewrite changed: nodes that went, that came, and that read or do something else.
 *
 * @module
 */

import type { Graph, GraphSnapshot, Node } from "./graph.ts";

/** A node before and after a rewrite. */
export interface ChangedNode {
  /** As it was. */
  readonly before: Node;
  /** As it is. */
  readonly after: Node;
}

/** The nodes that differ; a node keeps its id as long as it is in the graph. */
export interface GraphDiff {
  /** Nodes that are gone. */
  readonly removed: readonly Node[];
  /** Nodes that are new. */
  readonly added: readonly Node[];
  /** Nodes that stayed with other inputs or attributes. */
  readonly changed: readonly ChangedNode[];
}

/**
 * Compares a graph with what it was.
 *
 * @example
 * ```ts
 * import { GraphBuilder } from "./builder.ts";
 * import { diffGraphs } from "./diff.ts";
 * import { Graph } from "./graph.ts";
 * const b = new GraphBuilder(new Graph("tiny"));
 * const x = b.input("x", { dtype: "f32", shape: ["T", 8] });
 * const before = b.graph.snapshot();
 * b.op("silu", { x });
 * console.assert(diffGraphs(before, b.graph).added[0].op === "silu");
 * ```
 */
export function diffGraphs(
  before: Pick<GraphSnapshot, "nodes">,
  after: Pick<Graph, "nodes">,
): GraphDiff {
  const old = new Map(before.nodes.map((node) => [node.id, node]));
  const ids = new Set(after.nodes.map(({ id }) => id));
  return {
    removed: before.nodes.filter(({ id }) => !ids.has(id)),
    added: after.nodes.filter(({ id }) => !old.has(id)),
    // Nodes are frozen records: an edit makes another one with the same id.
    changed: after.nodes.flatMap((node) => {
      const was = old.get(node.id);
      return was && was !== node ? [{ before: was, after: node }] : [];
    }),
  };
}
