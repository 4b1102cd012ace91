/**
 * Weights as expressions over checkpoint tensors. Building one reads nothing: the plan evaluates it
 * in one streaming pass from file ranges to the final buffer.
 *
 * @module
 */

import { type DType, DTYPE_BYTES, isFloat } from "./dtype.ts";
import { GraphError } from "./errors.ts";
import {
  PACKED_LAYOUTS,
  type PackedFormat,
  packedShape,
  type ScaleBlock,
} from "./formats/packed.ts";
import { elementCount, formatShape } from "./shape.ts";
import type {
  ConstantWeight,
  DequantizeWeight,
  QuantizeWeight,
  ReciprocalWeight,
  ReshapeWeight,
  ScaledWeight,
  ShiftedWeight,
  StackWeight,
  TensorWeight,
  TransposeWeight,
  Weight,
} from "./weight_types.ts";

/** A checkpoint tensor. */
export function tensor(name: string, dtype: DType, shape: readonly number[]): TensorWeight {
  return { kind: "tensor", name, dtype, shape };
}

/** Values that come with the program; f32 or i32 by the array's type. */
export function constant(
  data: Float32Array | Int32Array,
  shape: readonly number[] = [data.length],
): ConstantWeight {
  requireWeight(elementCount(shape) === data.length, "constant", shape, `${data.length} values`);
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
    requireWeight(part.dtype === first.dtype, "stack", part.shape, part.dtype, first.dtype);
    requireWeight(
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
    requireWeight(part.dtype === first.dtype, "concat", part.shape, part.dtype, first.dtype);
    requireWeight(
      rest(part.shape) === rest(first.shape),
      "concat",
      part.shape,
      formatShape(first.shape),
    );
  }
  const size = parts.reduce((sum, part) => sum + part.shape[dim], 0);
  return { kind: "concat", dtype: first.dtype, shape: first.shape.with(dim, size), dim, parts };
}

/** `of[..., start:end:step, ...]`. */
export function slice(of: Weight, dim: number, start: number, end: number, step = 1): Weight {
  const fits = start >= 0 && end <= of.shape[dim] && start < end && step > 0;
  requireWeight(fits, "slice", of.shape, `range ${start}:${end}:${step} of dimension ${dim}`);
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
  requireWeight(
    elementCount(shape) === elementCount(of.shape),
    "reshape",
    of.shape,
    formatShape(shape),
  );
  return { kind: "reshape", dtype: of.dtype, shape, of };
}

/** Conversion to another plain type; the same weight when it has that type already. */
export function cast(of: Weight, dtype: DType): Weight {
  if (of.dtype === dtype) return of;
  requireWeight(isFloat(of.dtype) && isFloat(dtype), "cast", of.shape, `${of.dtype} to ${dtype}`);
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
  requireWeight(
    payload.dtype === payloadDtype,
    "dequantize",
    payload.shape,
    payloadDtype,
    payload.dtype,
  );
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
  requireWeight(of.shape.length === 2, "quantize", of.shape, "a matrix");
  const shape = packedShape(format, rows, columns, block);
  const { payloadDtype, scaleDtype } = PACKED_LAYOUTS[format];
  const type = {
    payload: { dtype: payloadDtype, shape: shape.payload },
    scale: { dtype: scaleDtype, shape: shape.scale },
    scale_2: { dtype: "f32" as const, shape: [1] },
  }[component];
  return { kind: "quantize", ...type, format, component, block, of };
}

/** The same bytes as elements of another type and in other dimensions. */
export function reinterpret(of: Weight, dtype: DType, shape: readonly number[]): Weight {
  if (of.dtype === dtype) return String(of.shape) === String(shape) ? of : reshape(of, shape);
  const bytes = elementCount(shape) * DTYPE_BYTES[dtype];
  requireWeight(
    bytes === elementCount(of.shape) * DTYPE_BYTES[of.dtype],
    "reinterpret",
    of.shape,
    `${bytes} bytes`,
  );
  return { kind: "reinterpret", dtype, shape, of };
}

/** 1 / x of every element of an f32 weight. */
export function reciprocal(of: Weight): ReciprocalWeight {
  requireWeight(of.dtype === "f32", "invert", of.shape, "f32", of.dtype);
  return { kind: "reciprocal", dtype: "f32", shape: of.shape, of };
}

/** Every element of a plain weight times a number, in f32. */
export function scaled(of: Weight, factor: number): ScaledWeight {
  return { kind: "scaled", dtype: "f32", shape: of.shape, of: cast(of, "f32"), factor };
}

/** Every element of a plain weight plus a number, in f32. */
export function shifted(of: Weight, by: number): ShiftedWeight {
  return { kind: "shifted", dtype: "f32", shape: of.shape, of: cast(of, "f32"), by };
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
    case "affine_scales":
      return [weight.scale, weight.zero];
    case "checked":
      return [weight.of, weight.against];
    case "grouped":
      return typeof weight.zero === "number"
        ? [weight.codes, weight.scale, weight.groups]
        : [weight.codes, weight.scale, weight.zero, weight.groups];
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
    case "affine_scales":
      return `affine_scales(${formatWeight(weight.scale)}, ${formatWeight(weight.zero)})`;
    case "grouped":
      return `grouped(${formatWeight(weight.codes)}, ${formatWeight(weight.scale)})`;
    case "scaled":
      return `scaled<${shortestDecimal(Math.fround(weight.factor))}>(${formatWeight(weight.of)})`;
    case "shifted":
      return `shifted<${shortestDecimal(Math.fround(weight.by))}>(${formatWeight(weight.of)})`;
    case "checked":
      return formatWeight(weight.of);
    case "unpack":
      return `unpack<${weight.packing.bits}>(${formatWeight(weight.of)})`;
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

/** Refuses an expression whose parts do not go together. */
export function requireWeight(
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
