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
  RequestError,
  tensorBytes,
  type TensorSource,
  type Value,
  viewBytes,
  type Weight,
} from "../../graph/mod.ts";
import type { CpuCache } from "../../kernels/mod.ts";
import { streamWeight } from "../../models/mod.ts";
import type { CompileOptions } from "../executor.ts";
import { cacheBytes } from "../kv_cache.ts";
import { weightKey } from "../webgpu/weight_key.ts";

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
  const distinct = new Map<string, { weight: Weight; name: string; ids: number[] }>();
  for (const value of weightValues(graph)) {
    if (!value.weight) continue;
    const key = weightKey(value.weight);
    const entry = distinct.get(key);
    if (entry) entry.ids.push(value.id);
    else distinct.set(key, { weight: value.weight, name: value.name, ids: [value.id] });
  }
  const entries = [...distinct.values()];
  const totalBytes = entries.reduce((sum, { weight }) => sum + tensorBytes(weight), 0);
  const tensors = new Map<number, HostTensor>();
  let done = 0;
  for (const { weight, name, ids } of entries) {
    const tensor = await loadOne(weight, name, options.source, (bytes) => {
      if (options.signal?.aborted) throw aborted(name, done, totalBytes, options.signal);
      done += bytes;
      options.onProgress?.({ bytes: done, totalBytes, weight: name });
    });
    for (const id of ids) tensors.set(id, tensor);
  }
  return { tensors, count: entries.length, bytes: totalBytes };
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
  onChunk: (bytes: number) => void,
): Promise<HostTensor> {
  const total = tensorBytes(weight);
  onChunk(0);
  const bytes = allocate(total, `weight "${name}"`);
  for await (const chunk of streamWeight(weight, source, { chunkBytes: CHUNK_BYTES })) {
    bytes.set(chunk.bytes, chunk.byteOffset);
    onChunk(chunk.bytes.byteLength);
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

function aborted(weight: string, done: number, total: number, signal: AbortSignal): RequestError {
  return new RequestError(
    "request/aborted",
    `Cannot load weight "${weight}": the load was aborted after ${done} of ${total} bytes`,
    { status: 499, cause: signal.reason },
  );
}
