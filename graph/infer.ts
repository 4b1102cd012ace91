/**
 * Types of a node's outputs from the op table, with the checks of its inputs.
 *
 * @module
 */

import { GraphError } from "./errors.ts";
import type { NodeInputs, Value } from "./graph.ts";
import type { TensorType } from "./tensor.ts";
import { type AttrsOf, opDefinition, type OpName } from "./ops.ts";
import type { OpInputs } from "./ops/definition.ts";

/** Types of the outputs of `op`; throws a {@linkcode GraphError} when inputs do not fit its rule. */
export function inferTypes<Op extends OpName>(
  op: Op,
  inputs: NodeInputs,
  attrs: AttrsOf<Op>,
): readonly TensorType[] {
  const definition = opDefinition(op);
  checkNames(op, inputs);
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

/** An input as the op table declares it: `bias?` may be absent, `w1[]` is a list. */
interface DeclaredInput {
  readonly list: boolean;
  readonly required: boolean;
}

/** Declarations by op, read once. */
const declarations = new Map<OpName, ReadonlyMap<string, DeclaredInput>>();

function declaredInputs(op: OpName): ReadonlyMap<string, DeclaredInput> {
  let inputs = declarations.get(op);
  if (!inputs) {
    inputs = new Map(
      opDefinition(op).inputs.map((name) => {
        const list = name.endsWith("[]");
        return [name.replace(/\?$|\[\]$/, ""), { list, required: !list && !name.endsWith("?") }];
      }),
    );
    declarations.set(op, inputs);
  }
  return inputs;
}

function checkNames(op: OpName, inputs: NodeInputs): void {
  const declared = declaredInputs(op);
  for (const name in inputs) {
    if (!declared.has(name)) {
      throw new GraphError(
        "graph/unknown-input",
        `expected inputs ${[...declared.keys()].join(", ")}, got "${name}"`,
      );
    }
  }
  for (const [name, { list, required }] of declared) {
    const value = inputs[name];
    if (value === undefined && !required) continue;
    if (value === undefined) {
      throw new GraphError(
        "graph/missing-input",
        `expected input "${name}" of op "${op}", got none`,
      );
    }
    if (Array.isArray(value) !== list) {
      throw new GraphError(
        "graph/input-kind",
        `expected ${list ? "a list" : "one value"} as input "${name}" of op "${op}", got ${
          list ? "one value" : "a list"
        }`,
      );
    }
  }
}
