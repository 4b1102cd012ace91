/**
 * Outputs that tell which experts a step chose: a graph that is watched gives them beside its logits.
 *
 * @module
 */

import { type Graph, type Node, optionalInput } from "./graph.ts";

/** One MoE layer whose choices are an output of the graph. */
export interface WatchedExperts {
  /** Name of the output, i32 [T, K]. */
  readonly output: string;
  /** Module path of the layer. */
  readonly scope: string;
  /** Ids of experts are below this; shared ones, if they are among the choices, are the last. */
  readonly experts: number;
}

/**
 * Makes the choices of every MoE layer outputs of the graph, and lists them. Layers that run expert by
 * expert have no choices yet, so this comes after `match_moe_pattern`.
 *
 * @example
 * ```ts
 * import { Graph } from "./graph.ts";
 * import { watchExperts } from "./watched_experts.ts";
 * console.assert(watchExperts(new Graph("empty")).length === 0);
 * ```
 */
export function watchExperts(graph: Graph): readonly WatchedExperts[] {
  return graph.nodes.flatMap((node) => {
    const selected = optionalInput(node, "selected_experts");
    if (!selected) return [];
    const output = `experts of ${node.scope}`;
    graph.setOutput(output, selected);
    return [{ output, scope: node.scope, experts: expertsOf(node) }];
  });
}

function expertsOf({ attrs, inputs }: Node): number {
  const stacked: unknown = Reflect.get(attrs, "experts");
  if (typeof stacked === "number") return stacked;
  return Array.isArray(inputs.w1) ? inputs.w1.length : 0;
}
