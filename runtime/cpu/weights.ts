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
  type TensorSource,
  type Value,
  viewBytes,
  type Weight,
} from "../../graph/mod.ts";
import type { CpuCache } from "../../kernels/mod.ts";
import { streamWeight } from "../../models/mod.ts";
import type { CompileOptions } from "../executor.ts";
import { cacheBytes } from "../scheduling/kv_cache.ts";
import { distinctWeights, LoadProgress } from "../weight_loading.ts";

/** Bytes read between two checks of the abort signal. */
const CHUNK_BYTES = 16 * 2 ** 20;

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
  options: Pick<CompileOptions, "source" | "signal" | "onProgress">,
): Promise<LoadedWeights> {
  const weights = distinctWeights(weightValues(graph));
  const progress = new LoadProgress(weights, options);
  const tensors = new Map<number, HostTensor>();
  for (const { weight, name, ids } of weights) {
    const tensor = await loadOne(weight, name, options.source, progress);
    for (const id of ids) tensors.set(id, tensor);
  }
  return { tensors, count: weights.length, bytes: progress.totalBytes };
}

/** Weights that nodes read, and those that are outputs themselves. */
function weightValues(graph: Graph): Value[] {
  const outputs = [...graph.outputs.values()].filter((value) => value.kind === "weight");
  return [...graph.weights, ...outputs];
}

async function loadOne(
  weight: Weight,
  name: string,
  source: TensorSource,
  progress: LoadProgress,
): Promise<HostTensor> {
  const total = tensorBytes(weight);
  progress.add(name, 0);
  const bytes = allocate(total, `weight "${name}"`);
  for await (const chunk of streamWeight(weight, source, { chunkBytes: CHUNK_BYTES })) {
    progress.add(name, chunk.bytes.byteLength);
    bytes.set(chunk.bytes, chunk.byteOffset);
  }
  return { dtype: weight.dtype, shape: weight.shape, data: viewBytes(weight.dtype, bytes) };
}

/** Keys and values of every cache of a graph, zero at first. */
export function allocateCaches(graph: Graph, pages: number): ReadonlyMap<string, CpuCache> {
  return new Map(graph.caches.map((spec) => [spec.name, allocateCache(spec, pages)]));
}

function allocateCache(spec: CacheSpec, pages: number): CpuCache {
  const { name, dtype, kvHeads, pageSize, headDim } = spec;
  const shape = [pages, kvHeads, pageSize, headDim];
  const part = (what: string): HostTensor => {
    const bytes = allocate(cacheBytes(spec, pages), `${what} of cache "${name}"`);
    return { dtype, shape, data: viewBytes(dtype, bytes) };
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
