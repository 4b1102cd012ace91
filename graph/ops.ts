/**
 * The op table: the only list of operations. An entry gives inputs, attributes, the rule of types
 * and the cost; the verifier, the builder, the executors and the reference page derive from it.
 *
 * @module
 */

import { ATTENTION_OPS } from "./ops/attention.ts";
import type { OpDefinition } from "./ops/definition.ts";
import { DENSE_OPS } from "./ops/dense.ts";
import { ELEMENTWISE_OPS } from "./ops/elementwise.ts";
import { LAYOUT_OPS } from "./ops/layout.ts";
import { MOE_OPS } from "./ops/moe.ts";

/** Every op by name. */
export const OPS = {
  ...ELEMENTWISE_OPS,
  ...LAYOUT_OPS,
  ...DENSE_OPS,
  ...ATTENTION_OPS,
  ...MOE_OPS,
};

/** Name of an op. */
export type OpName = keyof typeof OPS;

/** Attributes of an op. */
export type AttrsOf<Op extends OpName> = (typeof OPS)[Op] extends OpDefinition<infer Attrs> ? Attrs
  : never;

/** The table entry of an op. */
export function opDefinition<Op extends OpName>(op: Op): OpDefinition<AttrsOf<Op>> {
  return OPS[op] as unknown as OpDefinition<AttrsOf<Op>>;
}
