/**
 * The rules of a well-formed graph, checked after every transform.
 *
 * @module
 */

import { GraphError } from "./errors.ts";
import { type Graph, type Node, nodeInputs, type Value } from "./graph.ts";
import type { TensorType } from "./tensor.ts";
import { inferTypes } from "./infer.ts";
import { formatType } from "./ops/definition.ts";
import { sameShape } from "./shape.ts";

/** Nodes are immutable, so a record whose types were right once stays right. */
const verified = new WeakSet<Node>();

/**
 * Checks that every value is made once and before it is read, that every node has the types its op
 * gives it, and that outputs exist. With `again`, types are inferred again also for nodes that were
 * checked before.
 *
 * @throws {GraphError} `graph/order`, `graph/duplicate-id`, `graph/missing-output`, or the code of
 * the type rule that failed; the message names the node.
 *
 * @example
 * ```ts
 * import { GraphBuilder } from "./builder.ts";
 * import { Graph } from "./graph.ts";
 * import { verifyGraph } from "./verify.ts";
 * const b = new GraphBuilder(new Graph("tiny"));
 * b.graph.setOutput("y", b.op("silu", { x: b.input("x", { dtype: "f32", shape: ["T", 8] }) }));
 * verifyGraph(b.graph);
 * ```
 */
export function verifyGraph(graph: Graph, { again = false }: { again?: boolean } = {}): void {
  const known = new Set<number>();
  for (const input of graph.inputs) define(graph, known, input);
  for (const node of graph.nodes) {
    for (const value of nodeInputs(node)) {
      if (value.kind !== "weight" && !known.has(value.id)) {
        throw new GraphError(
          "graph/order",
          `Cannot verify ${
            describeNode(node)
          }: expected "${value.name}" to be made before it is read`,
        );
      }
    }
    if (again || !verified.has(node)) verifyTypes(node);
    for (const value of node.outputs) define(graph, known, value);
  }
  for (const [name, value] of graph.outputs) {
    if (value.kind !== "weight" && !known.has(value.id)) {
      throw new GraphError(
        "graph/missing-output",
        `Cannot verify graph "${graph.name}": expected a node that makes output "${name}", got none`,
      );
    }
  }
}

/** How messages name a node: its op and its place in the model. */
export function describeNode(node: Node): string {
  const name = node.outputs[0]?.name ?? `#${node.id}`;
  return `node "${name}" (${node.op})${node.scope === "" ? "" : ` in "${node.scope}"`}`;
}

function define(graph: Graph, known: Set<number>, value: Value): void {
  if (known.has(value.id)) {
    throw new GraphError(
      "graph/duplicate-id",
      `Cannot verify graph "${graph.name}": expected one node for value "${value.name}", got two`,
    );
  }
  known.add(value.id);
}

function verifyTypes(node: Node): void {
  const types = inferNode(node);
  const equal = types.length === node.outputs.length &&
    types.every((type, i) => sameType(type, node.outputs[i]));
  if (!equal) {
    throw new GraphError(
      "graph/type",
      `Cannot verify ${describeNode(node)}: expected outputs ${
        types.map(formatType).join(", ")
      }, ` +
        `got ${node.outputs.map(formatType).join(", ")}`,
      { details: { op: node.op, scope: node.scope } },
    );
  }
  verified.add(node);
}

function inferNode(node: Node): readonly TensorType[] {
  try {
    return inferTypes(node.op, node.inputs, node.attrs);
  } catch (error) {
    if (!(error instanceof GraphError)) throw error;
    throw new GraphError(error.code, `Cannot verify ${describeNode(node)}: ${error.message}`, {
      details: { ...error.details, op: node.op, scope: node.scope },
      cause: error,
    });
  }
}

function sameType(a: TensorType, b: TensorType): boolean {
  return a.dtype === b.dtype && sameShape(a.shape, b.shape);
}
