/**
 * What both executors do while they load weights: each different weight is read once, progress is
 * reported, and an abort signal is obeyed.
 *
 * @module
 */

import { RequestError, tensorBytes, type Value, type Weight } from "../graph/mod.ts";
import { evaluateWeights, type LeafLargest } from "../models/mod.ts";
import type { CompileOptions } from "./executor.ts";
import { weightKey } from "./weight_key.ts";

/** A weight to read, and the values that it is for. */
export interface DistinctWeight {
  readonly weight: Weight;
  readonly name: string;
  /** Ids of the values; several for tied weights. */
  readonly ids: readonly number[];
}

/** The different weights among some values, in order of first use. */
export function distinctWeights(values: readonly Value[]): DistinctWeight[] {
  const found = new Map<string, DistinctWeight & { readonly ids: number[] }>();
  for (const { id, name, weight } of values) {
    if (!weight) continue;
    const key = weightKey(weight);
    const known = found.get(key);
    if (known) known.ids.push(id);
    else found.set(key, { weight, name, ids: [id] });
  }
  return [...found.values()];
}

/** Options of a load that an executor is given. */
export type LoadOptions = Pick<CompileOptions, "source" | "signal" | "onProgress" | "loaders">;

/** The largest magnitude in each leaf of some weights, by the ids of their values. */
export type LargestNumbers = ReadonlyMap<number, readonly number[]>;

/**
 * Reads every weight once; `write` is given its bytes, in any order, and copies them. Of the values
 * that are `measured` the largest magnitudes come back.
 */
export async function readWeights<Entry extends DistinctWeight>(
  entries: readonly Entry[],
  options: LoadOptions,
  write: (entry: Entry, byteOffset: number, bytes: Uint8Array<ArrayBuffer>) => Promise<void> | void,
  measured: ReadonlySet<number> = new Set(),
): Promise<LargestNumbers> {
  const progress = new LoadProgress(entries, options);
  const weights = entries.map(({ weight }) => weight);
  const found = entries.map(({ ids }): number[] | undefined =>
    ids.some((id) => measured.has(id)) ? [] : undefined
  );
  const evaluated = evaluateWeights(weights, options.source, {
    workers: options.loaders,
    measured: new Set(found.keys().filter((i) => found[i] !== undefined)),
  });
  for await (const ranges of evaluated) {
    for (const { weight, byteOffset, bytes, largest = [] } of ranges) {
      const entry = entries[weight];
      for (const each of largest) raise(found[weight], each);
      progress.add(entry.name, bytes.byteLength);
      await write(entry, byteOffset, bytes);
    }
  }
  const numbers = entries.flatMap(({ ids }, i) => ids.map((id) => [id, found[i] ?? []] as const));
  return new Map(numbers.filter(([, each]) => each.length > 0));
}

function raise(found: number[] | undefined, { leaf, largest }: LeafLargest): void {
  if (found) found[leaf] = Math.max(found[leaf] ?? 0, largest);
}

/** Counts the bytes of a load. */
class LoadProgress {
  readonly totalBytes: number;
  #done = 0;

  constructor(
    weights: readonly DistinctWeight[],
    readonly options: Pick<CompileOptions, "signal" | "onProgress">,
  ) {
    this.totalBytes = weights.reduce((sum, { weight }) => sum + tensorBytes(weight), 0);
  }

  /**
   * To be called before some bytes of a weight are used.
   *
   * @throws {RequestError} `request/aborted` once the signal is aborted.
   */
  add(name: string, bytes: number): void {
    const { signal, onProgress } = this.options;
    if (signal?.aborted) {
      throw new RequestError(
        "request/aborted",
        `Cannot load weight "${name}": expected ${this.totalBytes} bytes, got a request to stop after ${this.#done}`,
        { status: 499, cause: signal.reason },
      );
    }
    this.#done += bytes;
    onProgress?.({ bytes: this.#done, totalBytes: this.totalBytes, weight: name });
  }
}
