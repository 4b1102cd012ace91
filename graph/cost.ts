/**
 * What a node costs, from the op table: arithmetic, and the bytes of weights that it reads.
 *
 * @module
 */

import { GraphError } from "./errors.ts";
import { type Node, nodeInputs } from "./graph.ts";
import { opInputs } from "./infer.ts";
import { opDefinition, type OpName } from "./ops.ts";
import type { OpCost } from "./ops/definition.ts";
import { type Bindings } from "./shape.ts";
import { tensorBytes } from "./tensor.ts";

/**
 * Cost of a node when symbols have these sizes. Weights are counted as stored, each once; a node that
 * chooses among experts or rows reads at most those that it can choose.
 *
 * @throws {GraphError} `graph/data-dependent` for symbols without a size, such as the number of tokens
 * that an expert gets.
 *
 * @example
 * ```ts
 * import { GraphBuilder } from "./builder.ts";
 * import { nodeCost } from "./cost.ts";
 * import { Graph } from "./graph.ts";
 * import { tensor } from "./weight.ts";
 * const b = new GraphBuilder(new Graph("tiny"));
 * const x = b.input("x", { dtype: "f32", shape: ["T", 8] });
 * const node = b.node("linear", { x, w: b.weight("w", tensor("w", "bf16", [4, 8])) }, {});
 * const { flops, weightBytes } = nodeCost(node, { T: 2 });
 * console.assert(flops === 2 * 2 * 4 * 8 && weightBytes === 2 * 4 * 8);
 * ```
 */
export function nodeCost<Op extends OpName>(node: Node<Op>, bindings: Bindings): OpCost {
  const definition = opDefinition(node.op);
  const inputs = opInputs(node.op, node.inputs);
  const weights = new Set(nodeInputs(node).flatMap(({ weight }) => weight ?? []));
  const stored = [...weights].reduce((sum, weight) => sum + tensorBytes(weight), 0);
  try {
    const share = definition.weightShare?.(inputs, node.attrs, bindings) ?? 1;
    return {
      flops: definition.flops?.(inputs, node.attrs, bindings) ?? 0,
      weightBytes: stored * share,
    };
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new GraphError(
      "graph/data-dependent",
      `Cannot count the cost of op "${node.op}" in "${node.scope}": expected sizes known before the step, got: ${error.message}`,
      { hint: "Enable match_moe_pattern, which replaces the loop over experts", cause: error },
    );
  }
}
