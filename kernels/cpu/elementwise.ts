/**
 * Elementwise ops, reductions and casts on the CPU.
 *
 * @module
 */

import {
  broadcastShapes,
  elementCount,
  type HostTensor,
  invariant,
  type OpName,
} from "../../graph/mod.ts";
import { ACTIVATIONS } from "./activation.ts";
import { type CpuCall, type CpuKernel, cpuKernels } from "./kernel.ts";
import { asTensor, fromNumbers, numbers, resultArray, splitAt, stridesOf } from "./numbers.ts";

function unary<Op extends OpName>(f: (x: number) => number): CpuKernel<Op> {
  return ({ inputs }: CpuCall<Op>) => [mapped(inputs.get("x"), f)];
}

function mapped(x: HostTensor, f: (x: number) => number): HostTensor {
  const values = numbers(x);
  const result = resultArray(x.dtype, values.length);
  for (let i = 0; i < values.length; i++) result[i] = f(values[i]);
  return asTensor(x.dtype, x.shape, result);
}

function binary<Op extends OpName>(f: (a: number, b: number) => number): CpuKernel<Op> {
  return ({ inputs }: CpuCall<Op>) => [combined(inputs.get("a"), inputs.get("b"), f)];
}

/** `f(a, b)` with numpy's broadcasting; the result has the type of `a`. */
function combined(a: HostTensor, b: HostTensor, f: (a: number, b: number) => number): HostTensor {
  const shape = broadcastShapes(a.shape, b.shape)?.map(Number);
  invariant(shape, `shapes [${a.shape}] and [${b.shape}] do not broadcast`);
  const count = elementCount(shape);
  const [left, right] = [numbers(a), numbers(b)];
  const result = resultArray(a.dtype, count);
  if (left.length === count && (right.length === count || right.length === 1)) {
    const step = right.length === count ? 1 : 0;
    for (let i = 0; i < count; i++) result[i] = f(left[i], right[i * step]);
    return asTensor(a.dtype, shape, result);
  }
  const [rowA, rowB] = [rowOffsets(a.shape, shape), rowOffsets(b.shape, shape)];
  const inner = shape[shape.length - 1];
  for (let row = 0; row < count / inner; row++) {
    const [startA, startB] = [rowA.starts[row], rowB.starts[row]];
    for (let i = 0; i < inner; i++) {
      result[row * inner + i] = f(left[startA + i * rowA.step], right[startB + i * rowB.step]);
    }
  }
  return asTensor(a.dtype, shape, result);
}

/** Where each row (last dimension) of the broadcast shape starts in a tensor of `shape`. */
export function rowOffsets(
  shape: readonly number[],
  target: readonly number[],
): { readonly starts: Int32Array<ArrayBuffer>; readonly step: number } {
  const missing = target.length - shape.length;
  const own = stridesOf(shape);
  const strides = target.map((
    _,
    i,
  ) => (i < missing || shape[i - missing] === 1 ? 0 : own[i - missing]));
  let starts = new Int32Array(1);
  for (let dim = 0; dim < target.length - 1; dim++) {
    const [size, stride] = [target[dim], strides[dim]];
    const next = new Int32Array(starts.length * size);
    for (let i = 0; i < next.length; i++) {
      next[i] = starts[Math.floor(i / size)] + (i % size) * stride;
    }
    starts = next;
  }
  return { starts, step: strides[target.length - 1] ?? 0 };
}

/** Folds one dimension by sums in f64. */
function reduction(finish: (sum: number, size: number) => number) {
  return ({ inputs, attrs }: CpuCall<"sum"> | CpuCall<"mean">): HostTensor[] => {
    const x = inputs.get("x");
    const { at, outer, size, inner } = splitAt(x.shape, attrs.dim);
    const values = numbers(x);
    const result = resultArray(x.dtype, outer * inner);
    for (let o = 0; o < outer; o++) {
      for (let n = 0; n < inner; n++) {
        let sum = 0;
        for (let i = 0; i < size; i++) sum += values[(o * size + i) * inner + n];
        result[o * inner + n] = finish(sum, size);
      }
    }
    const shape = attrs.keepdim ? x.shape.with(at, 1) : x.shape.toSpliced(at, 1);
    return [asTensor(x.dtype, shape, result)];
  };
}

function softmax({ inputs, attrs }: CpuCall<"softmax">): HostTensor[] {
  const x = inputs.get("x");
  const { outer, size, inner } = splitAt(x.shape, attrs.dim);
  const values = numbers(x);
  const result = resultArray(x.dtype, values.length);
  for (let o = 0; o < outer; o++) {
    for (let n = 0; n < inner; n++) {
      const at = (i: number) => (o * size + i) * inner + n;
      let max = -Infinity;
      for (let i = 0; i < size; i++) max = Math.max(max, values[at(i)]);
      let sum = 0;
      for (let i = 0; i < size; i++) sum += Math.exp(values[at(i)] - max);
      for (let i = 0; i < size; i++) result[at(i)] = Math.exp(values[at(i)] - max) / sum;
    }
  }
  return [asTensor(x.dtype, x.shape, result)];
}

/** Elementwise kernels by op. */
export const ELEMENTWISE_KERNELS = cpuKernels({
  add: binary((a, b) => a + b),
  sub: binary((a, b) => a - b),
  mul: binary((a, b) => a * b),
  div: binary((a, b) => a / b),
  neg: unary((x) => -x),
  rsqrt: unary((x) => 1 / Math.sqrt(x)),
  cos: unary(Math.cos),
  sin: unary(Math.sin),
  log: unary(Math.log),
  floor: unary(Math.floor),
  tanh: unary(ACTIVATIONS.tanh),
  relu: unary(ACTIVATIONS.relu),
  relu6: unary(ACTIVATIONS.relu6),
  leaky_relu: unary(ACTIVATIONS.leaky_relu),
  sigmoid: unary(ACTIVATIONS.sigmoid),
  silu: unary(ACTIVATIONS.silu),
  gelu: unary(ACTIVATIONS.gelu),
  gelu_tanh: unary(ACTIVATIONS.gelu_tanh),
  gelu_10: unary(ACTIVATIONS.gelu_10),
  quick_gelu: unary(ACTIVATIONS.quick_gelu),
  mish: unary(ACTIVATIONS.mish),
  laplace: unary(ACTIVATIONS.laplace),
  softplus: unary((x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)))),
  pow: ({ inputs, attrs }) => [mapped(inputs.get("x"), (x) => x ** attrs.exponent)],
  clamp({ inputs, attrs: { min = -Infinity, max = Infinity } }) {
    return [mapped(inputs.get("x"), (x) => Math.min(Math.max(x, min), max))];
  },
  cast({ inputs, attrs: { dtype } }) {
    const x = inputs.get("x");
    return [x.dtype === dtype ? x : fromNumbers(dtype, x.shape, numbers(x))];
  },
  mean: reduction((sum, size) => sum / size),
  sum: reduction((sum) => sum),
  softmax,
});
