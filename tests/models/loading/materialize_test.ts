/** Streaming of weight expressions against a plain evaluation of the whole. */

import assert from "node:assert/strict";
import fc from "../../../deps/fast_check.ts";
import {
  bf16ToF32,
  cast,
  concat,
  constant,
  dequantize,
  dequantizeMatrix,
  DTYPE_BYTES,
  E4M3_VALUES,
  elementCount,
  f32ToBf16,
  type HostTensor,
  PACKED_LAYOUTS,
  type PackedFormat,
  quantize,
  quantizeMatrix,
  reshape,
  type ScaleBlock,
  select,
  slice,
  stack,
  tensor,
  type TensorSource,
  transpose,
  viewBytes,
  type Weight,
} from "../../../graph/mod.ts";
import { loadWeight, streamWeight } from "../../../models/mod.ts";
import { WeightReader } from "../../../models/loading/weight_reader.ts";
import { relativeError } from "../../support/tolerances.ts";

/** Tensors in memory; counts what is read. */
class MemorySource implements TensorSource {
  readonly tensors = new Map<string, Uint8Array<ArrayBuffer>>();
  bytesRead = 0;
  largestRead = 0;

  add(name: string, data: HostTensor["data"]): void {
    this.tensors.set(name, new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice());
  }

  read(name: string, byteOffset: number, byteLength: number) {
    const bytes = this.tensors.get(name);
    assert.ok(bytes && byteOffset >= 0 && byteOffset + byteLength <= bytes.length, name);
    this.bytesRead += byteLength;
    this.largestRead = Math.max(this.largestRead, byteLength);
    return Promise.resolve(bytes.slice(byteOffset, byteOffset + byteLength));
  }
}

/** Elements of a layout expression as a flat list, by its definition. */
function evaluate(weight: Weight, source: MemorySource): number[] {
  switch (weight.kind) {
    case "tensor": {
      const bytes = source.tensors.get(weight.name);
      assert.ok(bytes);
      return Array.from(viewBytes(weight.dtype, bytes), Number);
    }
    case "constant":
      return [...weight.data];
    case "reshape":
      return evaluate(weight.of, source);
    case "stack":
      return weight.parts.flatMap((part) => evaluate(part, source));
    case "concat":
    case "slice":
    case "transpose": {
      const parts = weight.kind === "concat" ? weight.parts : [weight.of];
      const values = parts.map((part) => evaluate(part, source));
      return Array.from({ length: elementCount(weight.shape) }, (_, flat) => {
        const at = indicesOf(flat, weight.shape);
        if (weight.kind === "slice") at[weight.dim] = weight.start + at[weight.dim] * weight.step;
        if (weight.kind === "transpose") {
          const [a, b] = weight.dims;
          [at[a], at[b]] = [at[b], at[a]];
        }
        let part = 0;
        if (weight.kind === "concat") {
          while (at[weight.dim] >= parts[part].shape[weight.dim]) {
            at[weight.dim] -= parts[part++].shape[weight.dim];
          }
        }
        return values[part][flatOf(at, parts[part].shape)];
      });
    }
    default:
      throw new Error(`${weight.kind} is not a layout expression`);
  }
}

function indicesOf(flat: number, shape: readonly number[]): number[] {
  const at: number[] = [];
  for (const size of shape.toReversed()) {
    at.unshift(flat % size);
    flat = Math.floor(flat / size);
  }
  return at;
}

function flatOf(at: readonly number[], shape: readonly number[]): number {
  return shape.reduce((flat, size, dim) => flat * size + at[dim], 0);
}

/** A random layout expression of u8, u16-sized or i32 elements over tensors of the source. */
const layouts = fc.record({
  dtype: fc.constantFrom("u8" as const, "bf16" as const, "i32" as const, "i64" as const),
  shape: fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 3 }),
  steps: fc.array(fc.tuple(fc.integer({ min: 0, max: 5 }), fc.nat(), fc.nat()), { maxLength: 5 }),
  chunkBytes: fc.integer({ min: 1, max: 200 }),
});

function build(
  dtype: "u8" | "bf16" | "i32" | "i64",
  shape: readonly number[],
  steps: readonly (readonly [number, number, number])[],
) {
  const source = new MemorySource();
  const fresh = (of: readonly number[]) => {
    const name = `t${source.tensors.size}`;
    const bytes = new Uint8Array(elementCount(of) * DTYPE_BYTES[dtype]);
    const view = viewBytes(dtype, bytes);
    const start = source.tensors.size * 50;
    for (let i = 0; i < view.length; i++) {
      if (view instanceof BigInt64Array) view[i] = BigInt(start + i);
      else view[i] = start + i;
    }
    source.add(name, view);
    return tensor(name, dtype, of);
  };
  let weight: Weight = fresh(shape);
  for (const [kind, p, q] of steps) {
    const { shape: now } = weight;
    const dim = p % now.length;
    if (kind === 0 && now.length < 4) weight = stack([weight, fresh(now)]);
    if (kind === 1) weight = concat([fresh(now.with(dim, 1 + q % 3)), weight, fresh(now)], dim);
    if (kind === 2) weight = transpose(weight, dim, q % now.length);
    if (kind === 3) weight = reshape(weight, [elementCount(now)]);
    if (kind === 4) weight = slice(weight, dim, q % now[dim], now[dim], 1 + q % 3);
    if (kind === 5 && now.length > 1) weight = select(weight, dim, q % now[dim]);
  }
  return { weight, source };
}

async function streamed(weight: Weight, source: TensorSource, chunkBytes: number) {
  const chunks: { byteOffset: number; bytes: Uint8Array }[] = [];
  for await (const { byteOffset, bytes } of streamWeight(weight, source, { chunkBytes })) {
    chunks.push({ byteOffset, bytes: bytes.slice() });
  }
  const whole = new Uint8Array(elementCount(weight.shape) * DTYPE_BYTES[weight.dtype]);
  let end = 0;
  for (const { byteOffset, bytes } of chunks) {
    assert.equal(byteOffset, end, "chunks ascend without gaps");
    assert.equal(byteOffset % 8, 0);
    whole.set(bytes, byteOffset);
    end += bytes.length;
  }
  assert.equal(end, whole.length);
  return whole;
}

Deno.test("streamWeight() gives the elements of any layout expression in any chunk size", async () => {
  await fc.assert(
    fc.asyncProperty(layouts, async ({ dtype, shape, steps, chunkBytes }) => {
      const { weight, source } = build(dtype, shape, steps);
      const expected = evaluate(weight, source);
      const bytes = await streamed(weight, source, chunkBytes);
      assert.deepEqual(Array.from(viewBytes(weight.dtype, bytes), Number), expected);
      const whole = await loadWeight(weight, source);
      assert.deepEqual(Array.from(whole.data, Number), expected);
      assert.deepEqual(whole.shape, weight.shape);
    }),
    { numRuns: 300 },
  );
});

Deno.test("WeightReader holds parts of any size", async () => {
  const parts = fc.tuple(layouts, fc.integer({ min: 1, max: 100 }));
  await fc.assert(
    fc.asyncProperty(parts, async ([{ shape, steps, chunkBytes }, sectionBytes]) => {
      const { weight, source } = build("bf16", shape, steps);
      const wide = cast(weight, "f32");
      const reader = new WeightReader(source, sectionBytes);
      const count = elementCount(weight.shape);
      const first = chunkBytes % count;
      const bytes = await reader.read(wide, first, count - first);
      const values = viewBytes("f32", bytes);
      const bits = evaluate(weight, source).slice(first);
      assert.deepEqual(values, Float32Array.from(bits, bf16ToF32));
    }),
    { numRuns: 300 },
  );
});

Deno.test("streamWeight() reads contiguous data once and in chunks", async () => {
  const source = new MemorySource();
  const parts = ["a", "b", "c"].map((name) => {
    source.add(name, new Float32Array(64 * 32).fill(name.charCodeAt(0)));
    return slice(tensor(name, "f32", [64, 32]), 0, 16, 48);
  });
  const weight = stack(parts);
  await streamed(weight, source, 1024);
  assert.equal(source.bytesRead, 3 * 32 * 32 * 4);
  assert.equal(source.largestRead, 1024);
});

Deno.test("streamWeight() of a transposed stack holds one expert at a time", async () => {
  const source = new MemorySource();
  source.add("w", new Float32Array(8 * 16 * 32));
  const weight = transpose(tensor("w", "f32", [8, 16, 32]), 1, 2);
  await streamed(weight, source, 512);
  assert.equal(source.largestRead, 16 * 32 * 4);
  assert.equal(source.bytesRead, 8 * 16 * 32 * 4);
});

Deno.test("streamWeight() uses one buffer for streams that follow, and two at the same time", async () => {
  const source = new MemorySource();
  source.add("w", new Float32Array(64).fill(1));
  const weight = tensor("w", "f32", [64]);
  const first = streamWeight(weight, source, { chunkBytes: 128 });
  const { value: one } = await first.next();
  const { value: other } = await streamWeight(weight, source, { chunkBytes: 128 }).next();
  assert.notEqual(one.bytes.buffer, other.bytes.buffer);
  await first.return(undefined);
  const { value: later } = await streamWeight(weight, source, { chunkBytes: 64 }).next();
  assert.equal(later.bytes.buffer, one.bytes.buffer);
  assert.equal(later.bytes.length, 64);
});

Deno.test("streamWeight() gives nothing for a weight without elements", async () => {
  const empty = tensor("none", "f32", [0, 4]);
  assert.deepEqual(await streamed(empty, new MemorySource(), 64), new Uint8Array());
});

const SPECIAL = [0, -0, 1, -1, 1.5, 65504, 65520, 1e-8, 3e38, -3e38, Infinity, -Infinity, NaN];

Deno.test("cast rounds to nearest even between f32, f16, bf16 and f8_e4m3", async () => {
  const values = Float32Array.from([
    ...SPECIAL,
    1 + 2 ** -8,
    1 + 3 * 2 ** -8,
    448,
    464,
    17,
    2 ** -9,
  ]);
  const source = new MemorySource();
  source.add("x", values);
  const x = tensor("x", "f32", [values.length]);
  const bits = async (dtype: "f16" | "bf16" | "f8_e4m3") =>
    (await loadWeight(cast(x, dtype), source)).data;
  assert.deepEqual(await bits("f16"), new Float16Array(values));
  assert.deepEqual(await bits("bf16"), Uint16Array.from(values, f32ToBf16));
  const e4m3 = [...await bits("f8_e4m3")].map((code) => E4M3_VALUES[Number(code)]);
  assert.deepEqual(e4m3.slice(0, 5), [0, -0, 1, -1, 1.5]);
  assert.deepEqual(e4m3.slice(-4), [448, 448, 16, 2 ** -9]);
  for (const dtype of ["f16", "bf16"] as const) {
    const back = await loadWeight(cast(cast(x, dtype), "f32"), source);
    const again = await loadWeight(cast(cast(cast(x, dtype), "f32"), dtype), source);
    assert.deepEqual(again.data, await bits(dtype), "a round trip changes nothing");
    assert.equal(back.dtype, "f32");
  }
});

Deno.test("constants of f32 and i32 are streamed as they are", async () => {
  const source = new MemorySource();
  const numbers = Float32Array.of(1.25, -2, 3e-9);
  assert.deepEqual((await loadWeight(constant(numbers), source)).data, numbers);
  const view = new Int32Array([7, 8, 9, 10]).subarray(1, 3);
  assert.deepEqual((await loadWeight(constant(view), source)).data, Int32Array.of(8, 9));
});

const PACKED: readonly (readonly [PackedFormat, ScaleBlock?])[] = [
  ["fp8_e4m3"],
  ["fp8_e4m3", [1, 32]],
  ["fp8_block"],
  ["fp8_block", [3, 8]],
  ["mxfp4"],
  ["nvfp4"],
  ["int8"],
  ["int8", [1, 8]],
  ["int4"],
  ["int4", [2, 16]],
];

for (const [format, block] of PACKED) {
  const blocks = block === undefined ? "its own blocks" : `blocks of ${block.join(" x ")}`;
  Deno.test(`quantize and dequantize agree with ${format} in ${blocks}`, async () => {
    const [matrices, rows, columns] = [3, 10, 32];
    const size = rows * columns;
    const values = Float32Array.from({ length: matrices * size }, (_, i) => Math.sin(i) * (i % 7));
    const source = new MemorySource();
    source.add("x", values);
    const dequantized = roundTrip(tensor("x", "f32", [matrices, rows, columns]), format, block);
    const got = new Float32Array((await streamed(dequantized, source, 104)).buffer);
    for (let m = 0; m < matrices; m++) {
      const own = values.subarray(m * size, (m + 1) * size);
      const packed = quantizeMatrix(format, own, rows, columns, block);
      const expected = dequantizeMatrix(format, packed, rows, columns, block);
      assert.deepEqual(got.slice(m * size, (m + 1) * size), expected);
      assert.ok(relativeError(expected, own) < 0.2, "the format keeps the values roughly");
    }
  });
}

/** Real values of the codes that quantizing each matrix of a stack gives. */
function roundTrip(of: Weight, format: PackedFormat, block?: ScaleBlock): Weight {
  const matrices = Array.from({ length: of.shape[0] }, (_, m) => select(of, 0, m));
  const part = (name: "payload" | "scale" | "scale_2") =>
    stack(matrices.map((matrix) => quantize(format, name, matrix, block)));
  const { secondScale } = PACKED_LAYOUTS[format];
  const scales = secondScale ? [part("scale"), part("scale_2")] : [part("scale")];
  return dequantize(format, part("payload"), scales, { block });
}
