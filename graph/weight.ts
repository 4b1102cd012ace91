/**
 * Weights as expressions over checkpoint tensors. Building one reads nothing: the plan evaluates it
 * in one streaming pass from file ranges to the final buffer.
 *
 * @module
 */

import { type DType, isFloat } from "./dtype.ts";
import { GraphError } from "./errors.ts";
import {
  PACKED_LAYOUTS,
  type PackedFormat,
  packedShape,
  type ScaleBlock,
  type WeightFormat,
} from "./formats/packed.ts";
import { elementCount, formatShape } from "./shape.ts";

interface Typed {
  readonly dtype: DType;
  readonly shape: readonly number[];
}

/** A tensor that the checkpoint holds, by its name there. */
export interface TensorWeight extends Typed {
  readonly kind: "tensor";
  readonly name: string;
}

/** Values that come with the program: a scalar, RoPE frequencies. */
export interface ConstantWeight extends Typed {
  readonly kind: "constant";
  readonly data: Float32Array | Int32Array;
}

/** Parts along a new first dimension. */
export interface StackWeight extends Typed {
  readonly kind: "stack";
  readonly parts: readonly Weight[];
}

/** Parts one after the other along an existing dimension. */
export interface ConcatWeight extends Typed {
  readonly kind: "concat";
  readonly dim: number;
  readonly parts: readonly Weight[];
}

/** `of[..., start:end:step, ...]` along one dimension. */
export interface SliceWeight extends Typed {
  readonly kind: "slice";
  readonly dim: number;
  readonly start: number;
  readonly end: number;
  readonly step: number;
  readonly of: Weight;
}

/** Two dimensions exchanged. */
export interface TransposeWeight extends Typed {
  readonly kind: "transpose";
  readonly dims: readonly [number, number];
  readonly of: Weight;
}

/** Same elements, other dimensions. */
export interface ReshapeWeight extends Typed {
  readonly kind: "reshape";
  readonly of: Weight;
}

/** Conversion between plain element types, rounding to nearest even. */
export interface CastWeight extends Typed {
  readonly kind: "cast";
  readonly of: Weight;
}

/** Real values of a packed weight. */
export interface DequantizeWeight extends Typed {
  readonly kind: "dequantize";
  readonly format: WeightFormat;
  readonly payload: Weight;
  /** Scale tensors in the format's own order. */
  readonly scales: readonly Weight[];
  /** Elements that share a scale: `[rows, columns]`, or undefined for the format's default. */
  readonly block: readonly [number, number] | undefined;
  /** The checkpoint's scale for rounding the activations that the weight is multiplied with. */
  readonly inputScale: Weight | undefined;
}

/** One output (packed codes, or one of the scales) of quantizing a weight. */
export interface QuantizeWeight extends Typed {
  readonly kind: "quantize";
  readonly format: WeightFormat;
  readonly component: "payload" | "scale" | "scale_2";
  readonly block: readonly [number, number] | undefined;
  readonly of: Weight;
}

/** A weight expression; `dtype` and `shape` are those of its result. */
export type Weight =
  | TensorWeight
  | ConstantWeight
  | StackWeight
  | ConcatWeight
  | SliceWeight
  | TransposeWeight
  | ReshapeWeight
  | CastWeight
  | DequantizeWeight
  | QuantizeWeight;

/** A checkpoint tensor. */
export function tensor(name: string, dtype: DType, shape: readonly number[]): TensorWeight {
  return { kind: "tensor", name, dtype, shape };
}

/** Values that come with the program; f32 or i32 by the array's type. */
export function constant(
  data: Float32Array | Int32Array,
  shape: readonly number[] = [data.length],
): ConstantWeight {
  require(elementCount(shape) === data.length, "constant", shape, `${data.length} values`);
  return { kind: "constant", dtype: data instanceof Float32Array ? "f32" : "i32", shape, data };
}

/**
 * Parts of equal shape along a new first dimension, such as the experts of a layer.
 *
 * @example
 * ```ts
 * import { stack, tensor } from "./weight.ts";
 * const experts = stack([tensor("e.0.w1", "bf16", [96, 64]), tensor("e.1.w1", "bf16", [96, 64])]);
 * console.assert(String(experts.shape) === "2,96,64");
 * ```
 */
export function stack(parts: readonly Weight[]): StackWeight {
  const first = parts[0];
  for (const part of parts) {
    require(part.dtype === first.dtype, "stack", part.shape, part.dtype, first.dtype);
    require(
      String(part.shape) === String(first.shape),
      "stack",
      part.shape,
      formatShape(first.shape),
    );
  }
  return { kind: "stack", dtype: first.dtype, shape: [parts.length, ...first.shape], parts };
}

/** Parts along an existing dimension. */
export function concat(parts: readonly Weight[], dim = 0): Weight {
  const first = parts[0];
  if (parts.length === 1) return first;
  const rest = (shape: readonly number[]) => String(shape.toSpliced(dim, 1));
  for (const part of parts) {
    require(part.dtype === first.dtype, "concat", part.shape, part.dtype, first.dtype);
    require(rest(part.shape) === rest(first.shape), "concat", part.shape, formatShape(first.shape));
  }
  const size = parts.reduce((sum, part) => sum + part.shape[dim], 0);
  return { kind: "concat", dtype: first.dtype, shape: first.shape.with(dim, size), dim, parts };
}

/** `of[..., start:end:step, ...]`. */
export function slice(of: Weight, dim: number, start: number, end: number, step = 1): Weight {
  const fits = start >= 0 && end <= of.shape[dim] && start < end && step > 0;
  require(fits, "slice", of.shape, `range ${start}:${end}:${step} of dimension ${dim}`);
  const shape = of.shape.with(dim, Math.ceil((end - start) / step));
  return { kind: "slice", dtype: of.dtype, shape, dim, start, end, step, of };
}

/** One index of a dimension, which is dropped: `of[index]` for dimension 0. */
export function select(of: Weight, dim: number, index: number): Weight {
  return reshape(slice(of, dim, index, index + 1), of.shape.toSpliced(dim, 1));
}

/** Dimensions `a` and `b` exchanged. */
export function transpose(of: Weight, a: number, b: number): TransposeWeight {
  const shape = of.shape.with(a, of.shape[b]).with(b, of.shape[a]);
  return { kind: "transpose", dtype: of.dtype, shape, dims: [a, b], of };
}

/** The same elements in other dimensions. */
export function reshape(of: Weight, shape: readonly number[]): ReshapeWeight {
  require(elementCount(shape) === elementCount(of.shape), "reshape", of.shape, formatShape(shape));
  return { kind: "reshape", dtype: of.dtype, shape, of };
}

/** Conversion to another plain type; the same weight when it has that type already. */
export function cast(of: Weight, dtype: DType): Weight {
  if (of.dtype === dtype) return of;
  require(isFloat(of.dtype) && isFloat(dtype), "cast", of.shape, `${of.dtype} to ${dtype}`);
  return { kind: "cast", dtype, shape: of.shape, of };
}

/**
 * Real values (f32) of packed weights, a matrix in the last two dimensions.
 *
 * @example
 * ```ts
 * import { dequantize, tensor } from "./weight.ts";
 * const w = dequantize("mxfp4", tensor("blocks", "u8", [64, 32]), [tensor("scales", "u8", [64, 2])]);
 * console.assert(String(w.shape) === "64,64");
 * ```
 */
export function dequantize(
  format: PackedFormat,
  payload: Weight,
  scales: readonly Weight[],
  options: { block?: ScaleBlock; inputScale?: Weight } = {},
): DequantizeWeight {
  const { codesPerByte, payloadDtype } = PACKED_LAYOUTS[format];
  require(payload.dtype === payloadDtype, "dequantize", payload.shape, payloadDtype, payload.dtype);
  const columns = payload.shape[payload.shape.length - 1] * codesPerByte;
  return {
    kind: "dequantize",
    dtype: "f32",
    shape: payload.shape.with(-1, columns),
    format,
    payload,
    scales,
    block: options.block,
    inputScale: options.inputScale,
  };
}

/** One component of what quantizing a matrix [rows, columns] gives: codes, scales, or second scale [1]. */
export function quantize(
  format: PackedFormat,
  component: QuantizeWeight["component"],
  of: Weight,
  block?: ScaleBlock,
): QuantizeWeight {
  const [rows, columns] = of.shape;
  require(of.shape.length === 2, "quantize", of.shape, "a matrix");
  const shape = packedShape(format, rows, columns, block);
  const { payloadDtype, scaleDtype } = PACKED_LAYOUTS[format];
  const type = {
    payload: { dtype: payloadDtype, shape: shape.payload },
    scale: { dtype: scaleDtype, shape: shape.scale },
    scale_2: { dtype: "f32" as const, shape: [1] },
  }[component];
  return { kind: "quantize", ...type, format, component, block, of };
}

/** Names of the checkpoint tensors that a weight reads. */
export function* tensorNames(weight: Weight): Generator<string> {
  if (weight.kind === "tensor") yield weight.name;
  else for (const each of weightInputs(weight)) yield* tensorNames(each);
}

/** The weights a weight is made of. */
export function weightInputs(weight: Weight): readonly Weight[] {
  switch (weight.kind) {
    case "tensor":
    case "constant":
      return [];
    case "stack":
    case "concat":
      return weight.parts;
    case "dequantize":
      return [weight.payload, ...weight.scales];
    default:
      return [weight.of];
  }
}

/** Text form for printed graphs: `stack(64 x concat(...))` shortened to what tells weights apart. */
export function formatWeight(weight: Weight): string {
  switch (weight.kind) {
    case "tensor":
      return weight.name;
    case "constant":
      return weight.data.length === 1
        ? String(shortestDecimal(weight.data[0]))
        : `constant${formatShape(weight.shape)}`;
    case "stack":
      return `stack(${weight.parts.length} x ${formatWeight(weight.parts[0])})`;
    case "concat":
      return weight.parts.length > 3
        ? `concat(${weight.parts.length} x ${formatWeight(weight.parts[0])})`
        : `concat(${weight.parts.map(formatWeight).join(", ")})`;
    case "slice":
      return `${formatWeight(weight.of)}[${weight.dim}: ${weight.start}:${weight.end}]`;
    case "dequantize":
      return `dequantize<${weight.format}>(${formatWeight(weight.payload)})`;
    case "quantize":
      return `quantize<${weight.format}.${weight.component}>(${formatWeight(weight.of)})`;
    case "cast":
      return `cast<${weight.dtype}>(${formatWeight(weight.of)})`;
    default:
      return `${weight.kind}(${formatWeight(weight.of)})`;
  }
}

/** The number with the fewest digits that rounds to the same f32; nine always suffice. */
export function shortestDecimal(value: number): number {
  for (let digits = 1; digits < 9; digits++) {
    const candidate = Number(value.toPrecision(digits));
    if (Math.fround(candidate) === value) return candidate;
  }
  return value;
}

function require(
  condition: boolean,
  operation: string,
  shape: readonly number[],
  expected: string,
  got?: string,
): asserts condition {
  if (condition) return;
  const tail = got === undefined ? formatShape(shape) : got;
  throw new GraphError(
    "graph/weight-shape",
    `Cannot ${operation} weights: expected ${expected}, got ${tail}`,
  );
}
