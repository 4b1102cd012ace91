/**
 * The nodes between a projection and an operand of `attention`: layout changes, norm, clamp, RoPE.
 * `insert_cached_attention` moves those into the kernel that are the same for q, k and v.
 *
 * @module
 */

import {
  type Graph,
  type GraphBuilder,
  input,
  isOp,
  type Node,
  type RopeAttrs,
  type Shape,
  type Value,
} from "../../graph/mod.ts";

/** RMSNorm of q or k, over each head or over all heads together. */
export interface OperandNorm {
  readonly weight: Value;
  readonly eps: number;
  readonly over: "head" | "all";
}

/** RoPE of q or k. */
export interface OperandRope {
  readonly attrs: RopeAttrs;
  readonly positions: Value;
  readonly inverseFrequencies: Value;
}

/**
 * An operand and the steps that make it, in the order of the kernel: norm, clamp, RoPE. Each step has
 * the value that it starts from; an absent step starts from the value of the next one.
 */
export interface Operand {
  readonly rope?: OperandRope;
  readonly clip?: number;
  readonly norm?: OperandNorm;
  /** Before nothing, before RoPE, before the clamp, before the norm. */
  readonly before: readonly [Value, Value, Value, Value];
}

/** Follows an operand `[heads, T, D]` back to its projection. */
export function traceOperand(graph: Graph, operand: Value): Operand {
  const heads = Number(operand.shape[0]);
  const skip = (value: Value) => skipLayout(graph, value, heads);
  const ropeNode = producerOf(graph, operand, "rope");
  const unturned = ropeNode ? input(ropeNode, "x") : operand;
  const clampNode = producerOf(graph, skip(unturned), "clamp");
  const limit = clampNode && symmetricLimit(clampNode);
  const unclamped = clampNode && limit !== undefined ? input(clampNode, "x") : unturned;
  const normNode = producerOf(graph, skip(unclamped), "rms_norm");
  const norm = normNode && normOf(normNode, operand.shape);
  const unnormed = normNode && norm ? input(normNode, "x") : unclamped;
  return {
    ...(ropeNode && {
      rope: {
        attrs: ropeNode.attrs,
        positions: input(ropeNode, "positions"),
        inverseFrequencies: input(ropeNode, "inv_freq"),
      },
    }),
    ...(limit !== undefined && { clip: limit }),
    ...(norm && { norm }),
    before: [operand, unturned, unclamped, unnormed],
  };
}

/** The value as `[T, heads · D]`: what made it so, or new nodes that do. */
export function flatten(graph: Graph, b: GraphBuilder, value: Value, heads: number): Value {
  const found = skipLayout(graph, value, heads);
  if (found.shape.length === 2) return found;
  const [first, second, headDim] = found.shape;
  const byToken = first === heads ? b.op("transpose", { x: found }, { dims: [0, 1] }) : found;
  const tokens = first === heads ? second : first;
  return b.op("reshape", { x: byToken }, { shape: [tokens, heads * Number(headDim)] });
}

/** Skips `[T, heads · D] -> [T, heads, D] -> [heads, T, D]`, or the part of it that is there. */
function skipLayout(graph: Graph, value: Value, heads: number): Value {
  let current = value;
  const transpose = producerOf(graph, current, "transpose");
  if (transpose && current.shape[0] === heads && exchangesFirstTwo(transpose)) {
    current = input(transpose, "x");
  }
  const reshape = producerOf(graph, current, "reshape");
  const splits = reshape && current.shape.length === 3 && current.shape[1] === heads &&
    input(reshape, "x").shape.length === 2 && input(reshape, "x").shape[0] === current.shape[0];
  return splits ? input(reshape, "x") : current;
}

/** True for dims [0, 1] in any order and sign of a value of rank 3. */
export function exchangesFirstTwo(node: Node<"transpose">): boolean {
  return String(node.attrs.dims.map((dim) => (dim + 3) % 3).sort()) === "0,1";
}

function normOf(node: Node<"rms_norm">, [heads, , headDim]: Shape): OperandNorm | undefined {
  const weight = input(node, "w");
  const { shape } = input(node, "x");
  const size = shape[shape.length - 1];
  const { eps } = node.attrs;
  if (shape.length === 3 && size === headDim) return { weight, eps, over: "head" };
  if (shape.length === 2 && size === Number(heads) * Number(headDim)) {
    return { weight, eps, over: "all" };
  }
}

function symmetricLimit(node: Node<"clamp">): number | undefined {
  const { min, max } = node.attrs;
  return max !== undefined && min === -max ? max : undefined;
}

function producerOf<Op extends "rope" | "clamp" | "rms_norm" | "transpose" | "reshape">(
  graph: Graph,
  value: Value,
  op: Op,
): Node<Op> | undefined {
  const node = graph.producer(value);
  return isOp(node, op) ? node : undefined;
}
