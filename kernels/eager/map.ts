/**
 * Kernels that make one element an invocation: arithmetic, copies, gathers.
 *
 * @module
 */

import { type DType, input, type Node, type Shape, type Value } from "../../graph/mod.ts";
import { constants, fragments, reads, writes } from "../access/access.ts";
import { extentOf, STEP } from "../access/extent.ts";
import { composeDispatch } from "../dispatch.ts";
import { type Dispatch, foldGrid, type LoweringContext } from "../kernel.ts";
import { sameIndex } from "./indexing.ts";
import body from "./map.wgsl" with { type: "text" };

/** Element types that can be read, with their WGSL types. */
const READ: Partial<Record<DType, { readonly buffer: string; readonly number: string }>> = {
  f32: { buffer: "f32", number: "f32" },
  i32: { buffer: "i32", number: "i32" },
  u32: { buffer: "u32", number: "u32" },
  f16: { buffer: "u32", number: "f32" },
  bf16: { buffer: "u32", number: "f32" },
};

const WRITE: Partial<Record<DType, string>> = { f32: "f32", i32: "i32", u32: "u32" };

/** WGSL type of an element as it is read. */
export function numberType(dtype: DType): string {
  return READ[dtype]?.number ?? "f32";
}

/** Why values of these types cannot be read and written, or undefined when they can. */
export function unreadableTypes(node: Node, inputs: readonly Value[]): string | undefined {
  for (const { name, dtype } of inputs) {
    if (!READ[dtype]) return `"${name}" holds ${dtype}`;
  }
  for (const { name, dtype } of node.outputs) {
    if (!WRITE[dtype]) return `result "${name}" holds ${dtype}`;
  }
  return undefined;
}

/** `fn name_get(i: u32)`: element `i` of a buffer as a number. */
export function getFunction(name: string, dtype: DType): string {
  const word = `let word = ${name}[i / 2u];`;
  const bodies: Partial<Record<DType, string>> = {
    f16: `${word}\n  return unpack2x16float(word >> ((i & 1u) * 16u)).x;`,
    bf16: `${word}\n  return bitcast<f32>((word >> ((i & 1u) * 16u)) << 16u);`,
  };
  const text = bodies[dtype] ?? `return ${name}[i];`;
  return `fn ${name}_get(i: u32) -> ${numberType(dtype)} {\n  ${text}\n}`;
}

/** What one element is made of. */
export interface MapProblem {
  readonly kernel: string;
  /** Shape whose elements are the invocations. */
  readonly domain: Shape;
  /** Buffers by name; each gets `name_get`. */
  readonly inputs: Readonly<Record<string, Value>>;
  readonly y: Value;
  /** Body of `fn element(i: u32)`, a number of y's type. */
  readonly element: string;
  /** `fn y_at(i: u32) -> u32`; the identity when absent. */
  readonly yAt?: string;
  /** Functions that `element` calls. */
  readonly functions?: readonly string[];
}

const INVOCATIONS = 256;

/** The dispatch of a map. */
export function mapDispatch(problem: MapProblem, { profile }: LoweringContext): Dispatch {
  const { kernel, domain, inputs, y, element } = problem;
  const size = extentOf(domain);
  const type = WRITE[y.dtype] ?? "f32";
  const texts = [
    ...Object.entries(inputs).map(([name, value]) => getFunction(name, value.dtype)),
    ...(problem.functions ?? []),
    problem.yAt ?? sameIndex("y_at"),
    `fn domain() -> u32 {\n  return ${size.wgsl};\n}`,
    `fn element(i: u32) -> ${type} {\n  ${element}\n}`,
    `fn store_y(at: u32, value: ${type}) {\n  y[at] = value;\n}`,
  ];
  return composeDispatch({
    kernel,
    accesses: [
      constants({ INVOCATIONS }),
      ...Object.entries(inputs).map(([name, value]) =>
        reads(name, READ[value.dtype]?.buffer ?? "f32", value)
      ),
      writes("y", type, y),
      ...(texts.some((text) => text.includes("step.")) ? [STEP] : []),
      fragments(...texts),
    ],
    body,
    workgroups: (sizes) =>
      foldGrid(Math.ceil(size.of(sizes) / INVOCATIONS), profile.maxWorkgroupsPerDimension),
  });
}

/** A copy of `x` with other indices: `xAt` is `fn x_at(i: u32) -> u32`. */
export function copyDispatch(
  node: Node,
  context: LoweringContext,
  xAt: string,
  options: { readonly x?: Value; readonly domain?: Shape; readonly yAt?: string } = {},
): Dispatch {
  const [y] = node.outputs;
  const x = options.x ?? input(node, "x");
  return mapDispatch({
    kernel: node.op,
    domain: options.domain ?? y.shape,
    inputs: { x },
    y,
    element: `return ${convert("x_get(x_at(i))", x.dtype, y.dtype)};`,
    functions: [xAt],
    yAt: options.yAt,
  }, context);
}

/** A number of one element type as one of another. */
export function convert(expression: string, from: DType, to: DType): string {
  const target = WRITE[to] ?? "f32";
  return numberType(from) === target ? expression : `${target}(${expression})`;
}
