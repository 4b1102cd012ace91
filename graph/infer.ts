/**
 * Types of a node's outputs from the op table, with the checks of its inputs.
 *
 * @module
 */

import { GraphError } from "./errors.ts";
import type { NodeInputs, TensorType, Value } from "./graph.ts";
import { type AttrsOf, opDefinition, type OpName } from "./ops.ts";
import type { OpInputs } from "./ops/definition.ts";

/** Types of the outputs of `op`; throws a {@linkcode GraphError} when inputs do not fit its rule. */
export function inferTypes<Op extends OpName>(
  op: Op,
  inputs: NodeInputs,
  attrs: AttrsOf<Op>,
): readonly TensorType[] {
  const definition = opDefinition(op);
  checkNames(op, inputs, definition.inputs);
  return definition.infer(opInputs(op, inputs), attrs);
}

/** The view of a node's inputs that the op table's rules take. */
export function opInputs(op: OpName, inputs: NodeInputs): OpInputs {
  return {
    get(name) {
      const value = inputs[name];
      if (value === undefined || Array.isArray(value)) {
        throw new GraphError(
          "graph/missing-input",
          `expected input "${name}" of op "${op}", got none`,
        );
      }
      return value as Value;
    },
    maybe: (name) => inputs[name] as Value | undefined,
    list: (name) => (inputs[name] ?? []) as readonly Value[],
  };
}

function checkNames(op: OpName, inputs: NodeInputs, declared: readonly string[]): void {
  const names = new Set(declared.map((name) => name.replace(/\?$|\[\]$/, "")));
  for (const name of Object.keys(inputs)) {
    if (!names.has(name)) {
      throw new GraphError(
        "graph/unknown-input",
        `expected inputs ${[...names].join(", ")}, got "${name}"`,
      );
    }
  }
  for (const name of declared) {
    const list = name.endsWith("[]");
    const value = inputs[name.replace(/\?$|\[\]$/, "")];
    const wrong = list ? value !== undefined && !Array.isArray(value) : Array.isArray(value);
    if (wrong) {
      throw new GraphError(
        "graph/input-kind",
        `expected ${list ? "a list" : "one value"} as input "${name}" of op "${op}"`,
      );
    }
    if (value === undefined && !list && !name.endsWith("?")) {
      throw new GraphError(
        "graph/missing-input",
        `expected input "${name}" of op "${op}", got none`,
      );
    }
  }
}
