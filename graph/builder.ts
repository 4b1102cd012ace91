/**
 * Checked construction: every node gets its types from the op table.
 *
 * @module
 */

import { GraphError, invariant } from "./errors.ts";
import { Graph, type Node, type NodeInputs, type Value } from "./graph.ts";
import type { TensorType } from "./tensor.ts";
import { inferTypes } from "./infer.ts";
import type { AttrsOf, OpName } from "./ops.ts";
import { constant } from "./weight.ts";
import type { Weight } from "./weight_types.ts";

/** Attributes may be left out where an op has none. */
export type AttrsArgument<Op extends OpName> = Record<never, never> extends AttrsOf<Op>
  ? [attrs?: AttrsOf<Op>]
  : [attrs: AttrsOf<Op>];

/**
 * Adds nodes to a graph, at its end or in front of a node. An input whose node was replaced and
 * erased meanwhile stands for what replaced it.
 *
 * @example
 * ```ts
 * import { GraphBuilder } from "./builder.ts";
 * import { Graph } from "./graph.ts";
 * import { tensor } from "./weight.ts";
 * const b = new GraphBuilder(new Graph("tiny"));
 * const x = b.input("x", { dtype: "f32", shape: ["T", 8] });
 * const y = b.within("mlp", () => b.op("linear", { x, w: b.weight("up", tensor("up", "bf16", [4, 8])) }));
 * console.assert(String(y.shape) === "T,4");
 * ```
 */
export class GraphBuilder {
  #scope: string;

  /** Adds to `graph` under the module path `scope`, at its end or in front of the node `before`. */
  constructor(readonly graph: Graph, readonly options: { scope?: string; before?: Node } = {}) {
    this.#scope = options.scope ?? "";
  }

  /** Module path of the nodes being added. */
  get scope(): string {
    return this.#scope;
  }

  /** Runs `build` with a name appended to the scope. */
  within<Result>(name: string, build: () => Result): Result {
    const outer = this.#scope;
    this.#scope = outer === "" ? name : `${outer}.${name}`;
    try {
      return build();
    } finally {
      this.#scope = outer;
    }
  }

  /** An input of every step. */
  input(name: string, type: TensorType): Value {
    return this.graph.addInput(name, type);
  }

  /** A weight; `name` is relative to the scope. */
  weight(name: string, weight: Weight): Value {
    return this.graph.createWeight(this.#scope === "" ? name : `${this.#scope}.${name}`, weight);
  }

  /** A number as an operand. */
  scalar(value: number): Value {
    return this.graph.createWeight(String(value), constant(Float32Array.of(value), []));
  }

  /** Adds a node with one output. */
  op<Op extends OpName>(op: Op, inputs: NodeInputs, ...attrs: AttrsArgument<Op>): Value {
    const { outputs } = this.node(op, inputs, ...attrs);
    invariant(outputs.length === 1, `op "${op}" has ${outputs.length} outputs`);
    return outputs[0];
  }

  /** Adds a node; for ops with several outputs. */
  node<Op extends OpName>(op: Op, inputs: NodeInputs, ...[attrs]: AttrsArgument<Op>): Node<Op> {
    const latest = (value: Value) => this.graph.latest(value);
    const given: Record<string, Value | readonly Value[]> = {};
    for (const [name, value] of Object.entries(inputs)) {
      if (value !== undefined) given[name] = isList(value) ? value.map(latest) : latest(value);
    }
    const attributes = (attrs ?? {}) as AttrsOf<Op>;
    try {
      const types = inferTypes(op, given, attributes);
      return this.graph.addNode(
        { op, inputs: given, attrs: attributes, types, scope: this.#scope },
        this.options.before,
      );
    } catch (error) {
      if (!(error instanceof GraphError)) throw error;
      throw new GraphError(
        error.code,
        `Cannot add op "${op}" to "${this.#scope}": ${error.message}`,
        {
          details: { ...error.details, op, scope: this.#scope },
          cause: error,
        },
      );
    }
  }
}

function isList(input: Value | readonly Value[]): input is readonly Value[] {
  return Array.isArray(input);
}
