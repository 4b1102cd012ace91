/**
 * Tensors in memory for tests, and graphs that read them.
 *
 * @module
 */

import {
  type AttrsOf,
  elementCount,
  f32ToBf16,
  Graph,
  type HostArray,
  type HostTensor,
  inferTypes,
  type OpName,
  tensor,
  type TensorSource,
  type Value,
} from "../../graph/mod.ts";
import type { CompileOptions } from "../../runtime/executor.ts";
import { openCpuExecutor } from "../../runtime/cpu/executor.ts";

/** An f32 tensor; one number fills it. */
export function f32(shape: readonly number[], values: ArrayLike<number> | number): HostTensor {
  const count = elementCount(shape);
  const data = typeof values === "number"
    ? new Float32Array(count).fill(values)
    : Float32Array.from(values);
  return { dtype: "f32", shape, data };
}

/** An i32 tensor. */
export function i32(shape: readonly number[], values: ArrayLike<number>): HostTensor {
  return { dtype: "i32", shape, data: Int32Array.from(values) };
}

/** The numbers of an f32 tensor in another floating-point type. */
export function rounded(dtype: "f32" | "f16" | "bf16", { shape, data }: HostTensor): HostTensor {
  const values = Float32Array.from(data as Float32Array);
  if (dtype === "f32") return { dtype, shape, data: values };
  if (dtype === "f16") return { dtype, shape, data: Float16Array.from(values) };
  return { dtype, shape, data: Uint16Array.from(values, f32ToBf16) };
}

/** Numbers in [-scale, scale) that a seed determines. */
export function random(shape: readonly number[], seed: number, scale = 1): HostTensor {
  let state = (seed * 2654435761 + 12345) >>> 0;
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const mixed = Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) >>> 0;
    return (((mixed ^ (mixed >>> 12)) >>> 8) / 2 ** 23 - 1) * scale;
  };
  return f32(shape, Array.from({ length: elementCount(shape) }, next));
}

/** A source of tensors by name. */
export function memorySource(tensors: ReadonlyMap<string, HostTensor>): TensorSource {
  return {
    read(name, byteOffset, byteLength) {
      const found = tensors.get(name);
      if (!found) return Promise.reject(new Error(`no tensor ${name}`));
      const { buffer, byteOffset: start } = found.data;
      return Promise.resolve(new Uint8Array(buffer, start + byteOffset, byteLength).slice());
    },
  };
}

/** Options of a program without caches. */
export function plainOptions(tensors: ReadonlyMap<string, HostTensor>): CompileOptions {
  return {
    source: memorySource(tensors),
    ...{ maxTokens: 4096, maxSequences: 16, pages: 0, maxPagesPerSequence: 0 },
  };
}

/** Inputs of an op by the names of the op table. */
export type OpTensors = Readonly<Record<string, HostTensor | readonly HostTensor[] | undefined>>;

/** Results of an op as numbers, run as a graph of one node by the CPU executor. */
export async function evaluate<Op extends OpName>(
  op: Op,
  inputs: OpTensors,
  attrs: AttrsOf<Op>,
): Promise<(Float32Array<ArrayBuffer> | Int32Array<ArrayBuffer>)[]> {
  const graph = new Graph(op);
  const tensors = new Map<string, HostTensor>();
  const make = (name: string, given: HostTensor): Value => {
    tensors.set(name, given);
    return graph.createWeight(name, tensor(name, given.dtype, given.shape));
  };
  const values: Record<string, Value | Value[]> = {};
  for (const [name, given] of Object.entries(inputs)) {
    if (given === undefined) continue;
    values[name] = isTensor(given)
      ? make(name, given)
      : given.map((each, i) => make(`${name}.${i}`, each));
  }
  const types = inferTypes(op, values, attrs);
  const { outputs } = graph.addNode({ op, inputs: values, attrs, types, scope: "test" });
  outputs.forEach((value, i) => graph.setOutput(String(i), value));
  const program = await openCpuExecutor().compile(graph, plainOptions(tensors));
  const results = await program.run({}, {});
  return outputs.map((_, i) => results[String(i)]);
}

function isTensor(given: HostTensor | readonly HostTensor[]): given is HostTensor {
  return "dtype" in given;
}

/** The array of a tensor that holds f32. */
export function numbersOf({ data }: { readonly data: HostArray }): Float32Array<ArrayBuffer> {
  if (data instanceof Float32Array) return data;
  throw new TypeError("the tensor does not hold f32");
}
