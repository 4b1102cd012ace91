/**
 * Weights and caches of a program in host memory.
 *
 * @module
 */

import {
  type CacheSpec,
  DeviceError,
  type Graph,
  type HostTensor,
  messageOf,
  tensorBytes,
  type Value,
  viewBytes,
} from "../../graph/mod.ts";
import type { CpuCache } from "../../kernels/mod.ts";
import { cacheBytes, type CachePart, cacheShape } from "../scheduling/kv_cache.ts";
import {
  type DistinctWeight,
  distinctWeights,
  type LoadOptions,
  readWeights,
} from "../weight_loading.ts";

/** The weights of a program. */
export interface LoadedWeights {
  /** Tensor of a weight value, by its id. */
  readonly tensors: ReadonlyMap<number, HostTensor>;
  /** Number of different weights; tied ones are held once. */
  readonly count: number;
  readonly bytes: number;
}

/** Reads each different weight of a graph once, in its checkpoint's type. */
export async function loadWeights(
  graph: Graph,
  options: LoadOptions,
): Promise<LoadedWeights> {
  const weights = distinctWeights(weightValues(graph));
  const held = new Map<DistinctWeight, Uint8Array<ArrayBuffer>>();
  const bytesOf = (entry: DistinctWeight) => {
    const bytes = held.get(entry) ??
      allocate(tensorBytes(entry.weight), `weight "${entry.name}"`);
    held.set(entry, bytes);
    return bytes;
  };
  await readWeights(weights, options, (entry, byteOffset, bytes) => {
    bytesOf(entry).set(bytes, byteOffset);
  });
  const tensors = new Map<number, HostTensor>();
  for (const entry of weights) {
    const { weight: { dtype, shape }, ids } = entry;
    const tensor = { dtype, shape, data: viewBytes(dtype, bytesOf(entry)) };
    for (const id of ids) tensors.set(id, tensor);
  }
  const bytes = weights.reduce((sum, { weight }) => sum + tensorBytes(weight), 0);
  return { tensors, count: weights.length, bytes };
}

/** Weights that nodes read, and those that are outputs themselves. */
function weightValues(graph: Graph): Value[] {
  const outputs = [...graph.outputs.values()].filter((value) => value.kind === "weight");
  return [...graph.weights, ...outputs];
}

/** Keys and values of every cache of a graph, zero at first. */
export function allocateCaches(graph: Graph, pages: number): ReadonlyMap<string, CpuCache> {
  return new Map(graph.caches.map((spec) => [spec.name, allocateCache(spec, pages)]));
}

function allocateCache(spec: CacheSpec, pages: number): CpuCache {
  const { name, dtype } = spec;
  const part = (what: CachePart): HostTensor => {
    const bytes = allocate(cacheBytes(spec, pages, what), `${what} of cache "${name}"`);
    return { dtype, shape: cacheShape(spec, pages, what), data: viewBytes(dtype, bytes) };
  };
  return { keys: part("keys"), values: part("values") };
}

function allocate(bytes: number, what: string): Uint8Array<ArrayBuffer> {
  try {
    return new Uint8Array(bytes);
  } catch (cause) {
    throw new DeviceError(
      "device/out-of-memory",
      `Cannot allocate ${what}: expected ${bytes} bytes of host memory, got "${messageOf(cause)}"`,
      { hint: "Choose a smaller model, fewer cache pages or a machine with more memory", cause },
    );
  }
}
