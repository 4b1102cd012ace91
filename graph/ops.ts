/**
 * The op table: the only list of operations. An entry gives inputs, attributes, the rule of types
 * and the cost; the verifier, the builder, the executors and the reference page derive from it.
 *
 * @module
 */

import { ATTENTION_OPS, type AttentionOps } from "./ops/attention.ts";
import type { OpDefinition, OpTable } from "./ops/definition.ts";
import { DENSE_OPS, type DenseOps } from "./ops/dense.ts";
import { ELEMENTWISE_OPS, type ElementwiseOps } from "./ops/elementwise.ts";
import { LAYOUT_OPS, type LayoutOps } from "./ops/layout.ts";
import { MOE_OPS, type MoeOps } from "./ops/moe.ts";

/** Attributes of every op, by its name. */
export type OpAttrs = ElementwiseOps & LayoutOps & DenseOps & AttentionOps & MoeOps;

/** Name of an op. */
export type OpName = keyof OpAttrs;

/** Attributes of an op. */
export type AttrsOf<Op extends OpName> = OpAttrs[Op];

/** Every op by name. */
export const OPS: OpTable<OpAttrs> = {
  ...ELEMENTWISE_OPS,
  ...LAYOUT_OPS,
  ...DENSE_OPS,
  ...ATTENTION_OPS,
  ...MOE_OPS,
};

/** The table entry of an op. */
export function opDefinition<Op extends OpName>(op: Op): OpDefinition<AttrsOf<Op>> {
  return OPS[op];
}
