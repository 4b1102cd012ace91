/**
 * Arithmetic on single elements, with broadcasting. These run when the transforms that fuse them
 * are off; a fused graph has none of them on its hot path.
 *
 * @module
 */

import { type Activation, input, type Node, type OpName } from "../../graph/mod.ts";
import { dataDependent } from "../access/extent.ts";
import cosSin from "../attention/cos_sin.wgsl" with { type: "text" };
import { f32Bound, f32Literal } from "../compose.ts";
import {
  defineKernel,
  type Dispatch,
  type KernelDefinition,
  type LoweringContext,
} from "../kernel.ts";
import { ACTIVATIONS } from "../linear/activation.ts";
import { broadcastIndex, sameIndex } from "./indexing.ts";
import { convert, copyDispatch, mapDispatch, numberType, unreadableTypes } from "./map.ts";

interface Unary {
  /** WGSL expression of the f32 `x`. */
  readonly expression: string;
  readonly functions?: readonly string[];
}

const UNARY = {
  neg: { expression: "-x" },
  rsqrt: { expression: "inverseSqrt(x)" },
  cos: { expression: "cos_sin(x).x", functions: [cosSin] },
  sin: { expression: "cos_sin(x).y", functions: [cosSin] },
  log: { expression: "log(x)" },
  floor: { expression: "floor(x)" },
  relu: { expression: "max(x, 0.0)" },
  sigmoid: { expression: "1.0 / (1.0 + exp(-x))" },
  tanh: activationOp("tanh"),
  relu6: activationOp("relu6"),
  leaky_relu: activationOp("leaky_relu"),
  silu: activationOp("silu"),
  gelu: activationOp("gelu"),
  gelu_tanh: activationOp("gelu_tanh"),
  gelu_10: activationOp("gelu_10"),
  quick_gelu: activationOp("quick_gelu"),
  mish: activationOp("mish"),
  laplace: activationOp("laplace"),
  // Neither form loses a large x, and none of them is infinite.
  softplus: { expression: "max(x, 0.0) + log(1.0 + exp(-abs(x)))" },
} as const satisfies Partial<Record<OpName, Unary>>;

function activationOp(name: Activation): Unary {
  return { expression: "activation(x)", functions: ACTIVATIONS[name] };
}

const BINARY = { add: "+", sub: "-", mul: "*", div: "/" } as const satisfies Partial<
  Record<OpName, string>
>;

function refuse(node: Node): string | undefined {
  const inputs = ["x", "a", "b"].flatMap((name) => node.inputs[name] ? [input(node, name)] : []);
  return dataDependent(node) ?? unreadableTypes(node, inputs);
}

function unaryDispatch(node: Node, { expression, functions }: Unary, context: LoweringContext) {
  const [x, [y]] = [input(node, "x"), node.outputs];
  return mapDispatch({
    kernel: node.op,
    domain: y.shape,
    inputs: { x },
    y,
    functions,
    element: `let x = f32(x_get(i));\n  return ${convert(expression, "f32", y.dtype)};`,
  }, context);
}

function unaryKernel<Op extends keyof typeof UNARY>(op: Op): KernelDefinition<Op> {
  return defineKernel({
    name: op,
    op,
    summary: "one element an invocation",
    refuse: (node) => refuse(node),
    lower: (node, context) => [unaryDispatch(node, UNARY[op], context)],
  });
}

/** Integers stay integers where both operands are; everything else is computed in f32. */
function binaryKernel<Op extends keyof typeof BINARY>(op: Op): KernelDefinition<Op> {
  return defineKernel({
    name: op,
    op,
    summary: "one element an invocation, broadcast",
    refuse: (node) => refuse(node),
    lower(node, context): Dispatch[] {
      const [a, b, [y]] = [input(node, "a"), input(node, "b"), node.outputs];
      const exact = op !== "div" && numberType(a.dtype) === numberType(b.dtype);
      const expression = exact
        ? `a_get(a_at(i)) ${BINARY[op]} b_get(b_at(i))`
        : `f32(a_get(a_at(i))) ${BINARY[op]} f32(b_get(b_at(i)))`;
      const from = exact ? a.dtype : "f32";
      return [mapDispatch({
        kernel: op,
        domain: y.shape,
        inputs: { a, b },
        y,
        functions: [
          broadcastIndex("a_at", a.shape, y.shape),
          broadcastIndex("b_at", b.shape, y.shape),
        ],
        element: `return ${convert(expression, from, y.dtype)};`,
      }, context)];
    },
  });
}

/** x to a constant power. WGSL's `pow` knows no negative base, and is inexact for small exponents. */
function powExpression(exponent: number): string {
  if (exponent === 0.5) return "sqrt(x)";
  if (exponent === -0.5) return "inverseSqrt(x)";
  const whole = Number.isInteger(exponent);
  if (whole && Math.abs(exponent) <= 8) {
    const product = Array.from({ length: Math.abs(exponent) }, () => "x").join(" * ") || "1.0";
    return exponent < 0 ? `1.0 / (${product})` : product;
  }
  const size = `pow(abs(x), ${f32Literal(exponent)})`;
  return whole && exponent % 2 !== 0 ? `sign(x) * ${size}` : size;
}

const powKernel = defineKernel({
  name: "pow",
  op: "pow",
  summary: "one element an invocation",
  refuse: (node) => refuse(node),
  lower: (node, context) => [
    unaryDispatch(node, { expression: powExpression(node.attrs.exponent) }, context),
  ],
});

const clampKernel = defineKernel({
  name: "clamp",
  op: "clamp",
  summary: "one element an invocation",
  refuse: (node) => refuse(node),
  lower(node, context) {
    const { min, max } = node.attrs;
    const lower = min === undefined ? "x" : `max(x, ${f32Bound(min)})`;
    const expression = max === undefined ? lower : `min(${lower}, ${f32Bound(max)})`;
    return [unaryDispatch(node, { expression }, context)];
  },
});

const castKernel = defineKernel({
  name: "cast",
  op: "cast",
  summary: "one element an invocation",
  refuse: (node) => refuse(node),
  lower: (node, context) => [copyDispatch(node, context, sameIndex("x_at"))],
});

/** Elementwise kernels. */
export const ELEMENTWISE_KERNELS: readonly KernelDefinition[] = [
  ...(Object.keys(BINARY) as (keyof typeof BINARY)[]).map((op) => binaryKernel(op)),
  ...(Object.keys(UNARY) as (keyof typeof UNARY)[]).map((op) => unaryKernel(op)),
  powKernel,
  clampKernel,
  castKernel,
];
