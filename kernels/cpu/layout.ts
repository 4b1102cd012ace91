/**
 * Ops that rearrange, select or scatter elements, on the CPU.
 *
 * @module
 */

import { bindShape, elementCount, type HostTensor, KernelError } from "../../graph/mod.ts";
import { rowOffsets } from "./elementwise.ts";
import { type CpuCall, cpuKernels } from "./kernel.ts";
import {
  asTensor,
  f32Tensor,
  i32Tensor,
  integers,
  numbers,
  resultArray,
  splitAt,
} from "./numbers.ts";

/** The same elements in other dimensions. */
function view(x: HostTensor, shape: readonly number[]): HostTensor {
  return { dtype: x.dtype, shape, data: x.data };
}

function transpose({ inputs, attrs }: CpuCall<"transpose">): HostTensor[] {
  const x = inputs.get("x");
  const [a, b] = attrs.dims.map((dim) => splitAt(x.shape, dim).at).toSorted((p, q) => p - q);
  const shape = x.shape.with(a, x.shape[b]).with(b, x.shape[a]);
  if (a === b) return [x];
  const first = splitAt(x.shape, a);
  const second = splitAt(x.shape, b);
  const middle = elementCount(x.shape.slice(a + 1, b));
  const { inner } = second;
  const values = numbers(x);
  const result = resultArray(x.dtype, values.length);
  let to = 0;
  for (let o = 0; o < first.outer; o++) {
    for (let j = 0; j < second.size; j++) {
      for (let m = 0; m < middle; m++) {
        for (let i = 0; i < first.size; i++) {
          const from = (((o * first.size + i) * middle + m) * second.size + j) * inner;
          for (let n = 0; n < inner; n++) result[to++] = values[from + n];
        }
      }
    }
  }
  return [asTensor(x.dtype, shape, result)];
}

function expand({ inputs, attrs, bindings }: CpuCall<"expand">): HostTensor[] {
  const x = inputs.get("x");
  const shape = bindShape(attrs.shape, bindings);
  const values = numbers(x);
  const result = resultArray(x.dtype, elementCount(shape));
  const { starts, step } = rowOffsets(x.shape, shape);
  const inner = shape[shape.length - 1] ?? 1;
  let to = 0;
  for (const start of starts) {
    for (let i = 0; i < inner; i++) result[to++] = values[start + i * step];
  }
  return [asTensor(x.dtype, shape, result)];
}

/** `x[start], x[start + step], ..` along a dimension. */
function strided(x: HostTensor, dim: number, start: number, count: number, step: number) {
  const { at, outer, size, inner } = splitAt(x.shape, dim);
  const values = numbers(x);
  const result = resultArray(x.dtype, outer * count * inner);
  for (let o = 0; o < outer; o++) {
    for (let i = 0; i < count; i++) {
      const from = (o * size + start + i * step) * inner;
      result.set(values.subarray(from, from + inner), (o * count + i) * inner);
    }
  }
  return asTensor(x.dtype, x.shape.with(at, count), result);
}

function slice({ inputs, attrs }: CpuCall<"slice">): HostTensor[] {
  const x = inputs.get("x");
  const { size } = splitAt(x.shape, attrs.dim);
  const { start, step = 1 } = attrs;
  const end = Math.min(attrs.end ?? size, size);
  if (start === 0 && end === size && step === 1) return [x];
  return [strided(x, attrs.dim, start, Math.ceil((end - start) / step), step)];
}

function concat({ inputs, attrs }: CpuCall<"concat">): HostTensor[] {
  const parts = inputs.list("xs");
  const { at, outer, inner } = splitAt(parts[0].shape, attrs.dim);
  const total = parts.reduce((sum, part) => sum + part.shape[at], 0);
  const { dtype } = parts[0];
  const result = resultArray(dtype, outer * total * inner);
  let start = 0;
  for (const part of parts) {
    const values = numbers(part);
    const width = part.shape[at] * inner;
    for (let o = 0; o < outer; o++) {
      result.set(values.subarray(o * width, (o + 1) * width), o * total * inner + start);
    }
    start += width;
  }
  return [asTensor(dtype, parts[0].shape.with(at, total), result)];
}

/** Row numbers, each checked against the size of the dimension they pick from. */
function checkedRows(rows: HostTensor, size: number): Int32Array<ArrayBuffer> {
  const indices = integers(rows);
  for (const index of indices) {
    if (index >= 0 && index < size) continue;
    throw new KernelError(
      "kernel/index",
      `Cannot pick row ${index}: expected an index from 0 to ${size - 1}, got ${index}`,
    );
  }
  return indices;
}

function gatherRows(x: HostTensor, rows: HostTensor): HostTensor {
  const indices = checkedRows(rows, x.shape[0]);
  const width = elementCount(x.shape.slice(1));
  const values = numbers(x);
  const result = resultArray(x.dtype, indices.length * width);
  indices.forEach((row, i) => {
    result.set(values.subarray(row * width, (row + 1) * width), i * width);
  });
  return asTensor(x.dtype, [indices.length, ...x.shape.slice(1)], result);
}

function index({ inputs }: CpuCall<"index">): HostTensor[] {
  const [x, rows, columns] = [inputs.get("x"), inputs.get("rows"), inputs.maybe("columns")];
  if (!columns) return [gatherRows(x, rows)];
  const width = x.shape[1];
  const rowIndices = checkedRows(rows, x.shape[0]);
  const columnIndices = checkedRows(columns, width);
  const flat = rowIndices.map((row, i) => row * width + columnIndices[i]);
  const pairs = view(x, [x.shape[0] * width, ...x.shape.slice(2)]);
  return [gatherRows(pairs, i32Tensor([flat.length], flat))];
}

function indexAdd({ inputs }: CpuCall<"index_add">): HostTensor[] {
  const [x, source] = [inputs.get("x"), inputs.get("source")];
  const rows = checkedRows(inputs.get("rows"), x.shape[0]);
  const width = elementCount(x.shape.slice(1));
  const [values, added] = [numbers(x), numbers(source)];
  const result = resultArray(x.dtype, values.length);
  result.set(values);
  rows.forEach((row, i) => {
    for (let n = 0; n < width; n++) result[row * width + n] += added[i * width + n];
  });
  return [asTensor(x.dtype, x.shape, result)];
}

function oneHot({ inputs, attrs: { classes } }: CpuCall<"one_hot">): HostTensor[] {
  const ids = inputs.get("ids");
  const result = i32Tensor([...ids.shape, classes]);
  const data = integers(result);
  integers(ids).forEach((id, i) => {
    if (id >= 0 && id < classes) data[i * classes + id] = 1;
  });
  return [result];
}

function where({ inputs }: CpuCall<"where">): HostTensor[] {
  const mask = inputs.get("mask");
  const width = mask.shape[1];
  const hits: number[] = [];
  numbers(mask).forEach((value, at) => {
    if (value !== 0) hits.push(at);
  });
  return [
    i32Tensor([hits.length], Int32Array.from(hits, (at) => Math.floor(at / width))),
    i32Tensor([hits.length], Int32Array.from(hits, (at) => at % width)),
  ];
}

/** Indices of the k largest values, descending; ties to the smaller index. */
export function largest(values: ArrayLike<number>, k: number): number[] {
  const best: number[] = [];
  for (let i = 0; i < values.length; i++) {
    if (best.length === k && !(values[i] > values[best[k - 1]])) continue;
    let at = best.length === k ? k - 1 : best.length;
    while (at > 0 && values[i] > values[best[at - 1]]) at--;
    if (best.length === k) best.pop();
    best.splice(at, 0, i);
  }
  return best;
}

function topk({ inputs, attrs: { k } }: CpuCall<"topk">): HostTensor[] {
  const x = inputs.get("x");
  const width = x.shape[x.shape.length - 1];
  const values = numbers(x);
  const rows = values.length / width;
  const chosen = resultArray(x.dtype, rows * k);
  const shape = x.shape.with(-1, k);
  const indices = new Int32Array(rows * k);
  for (let row = 0; row < rows; row++) {
    const line = values.subarray(row * width, (row + 1) * width);
    indices.set(largest(line, k), row * k);
    for (let i = row * k; i < (row + 1) * k; i++) chosen[i] = line[indices[i]];
  }
  return [asTensor(x.dtype, shape, chosen), i32Tensor(shape, indices)];
}

function takeAlong({ inputs }: CpuCall<"take_along">): HostTensor[] {
  const [x, indices] = [inputs.get("x"), inputs.get("indices")];
  const width = x.shape[x.shape.length - 1];
  const slots = indices.shape[indices.shape.length - 1];
  const [values, at] = [numbers(x), integers(indices)];
  const result = resultArray(x.dtype, at.length);
  at.forEach((index, i) => result[i] = values[Math.floor(i / slots) * width + index]);
  return [asTensor(x.dtype, indices.shape, result)];
}

function scatter({ inputs, attrs: { classes } }: CpuCall<"scatter">): HostTensor[] {
  const [x, indices] = [inputs.get("x"), inputs.get("indices")];
  const slots = indices.shape[indices.shape.length - 1];
  const [values, at] = [numbers(x), integers(indices)];
  const result = resultArray(x.dtype, (at.length / slots) * classes);
  at.forEach((index, i) => result[Math.floor(i / slots) * classes + index] = values[i]);
  return [asTensor(x.dtype, x.shape.with(-1, classes), result)];
}

function repeatKv({ inputs, attrs: { repeats } }: CpuCall<"repeat_kv">): HostTensor[] {
  const x = inputs.get("x");
  const width = elementCount(x.shape.slice(1));
  const values = numbers(x);
  const result = resultArray(x.dtype, values.length * repeats);
  for (let head = 0; head < x.shape[0] * repeats; head++) {
    const from = Math.floor(head / repeats) * width;
    result.set(values.subarray(from, from + width), head * width);
  }
  return [asTensor(x.dtype, x.shape.with(0, x.shape[0] * repeats), result)];
}

/** Layout kernels by op. */
export const LAYOUT_KERNELS = cpuKernels({
  reshape: ({ inputs, attrs, bindings }) => [
    view(inputs.get("x"), bindShape(attrs.shape, bindings)),
  ],
  transpose,
  unsqueeze({ inputs, attrs: { dim } }) {
    const x = inputs.get("x");
    return [view(x, x.shape.toSpliced(dim < 0 ? dim + x.shape.length + 1 : dim, 0, 1))];
  },
  expand,
  slice,
  concat,
  index,
  index_add: indexAdd,
  gather_rows: ({ inputs }) => [gatherRows(inputs.get("x"), inputs.get("rows"))],
  zeros_like({ inputs }) {
    const x = inputs.get("x");
    if (x.dtype === "f32") return [f32Tensor(x.shape)];
    return [asTensor(x.dtype, x.shape, resultArray(x.dtype, elementCount(x.shape)))];
  },
  one_hot: oneHot,
  select({ inputs, attrs: { dim, index } }) {
    const x = inputs.get("x");
    const { at, size } = splitAt(x.shape, dim);
    const picked = strided(x, dim, index < 0 ? index + size : index, 1, 1);
    return [view(picked, x.shape.toSpliced(at, 1))];
  },
  where,
  topk,
  take_along: takeAlong,
  scatter,
  repeat_kv: repeatKv,
});
