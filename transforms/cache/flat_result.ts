/**
 * What the readers of an attention want of its result.
 *
 * @module
 */

import { type Graph, isOp, type Node } from "../../graph/mod.ts";
import { exchangesFirstTwo } from "./attention_operand.ts";

/** The `[T, heads · D]` form of the result when that is all its readers want. */
export function flatResult(graph: Graph, attention: Node): { node: Node; flat: boolean } {
  const [heads, tokens, headDim] = attention.outputs[0].shape;
  const [transpose, ...others] = graph.users(attention.outputs[0]);
  const outside = { node: attention, flat: false };
  if (!isOp(transpose, "transpose") || others.length > 0 || !exchangesFirstTwo(transpose)) {
    return outside;
  }
  const [reshape, ...more] = graph.users(transpose.outputs[0]);
  const flat = isOp(reshape, "reshape") && more.length === 0 &&
    String(reshape.attrs.shape) === String([tokens, Number(heads) * Number(headDim)]);
  return flat ? { node: reshape, flat } : outside;
}
