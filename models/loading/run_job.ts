/**
 * Evaluates jobs of {@linkcode cutWeights}, in any thread.
 *
 * @module
 */

import { DTYPE_BYTES, type TensorSource, type Weight } from "../../graph/mod.ts";
import { type LeafLargest, type MeasuredLeaves, measureLeaves } from "./largest_numbers.ts";
import { WeightReader } from "./weight_reader.ts";
import { padded, type WeightJob, type WeightRange } from "./weight_jobs.ts";

/** A range with its bytes. */
export interface FilledRange extends WeightRange {
  /** Little-endian elements, in the job's buffer. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Largest magnitudes in it, where they were asked for. */
  readonly largest?: readonly LeafLargest[];
}

/** Largest magnitudes in the ranges of a job; undefined for those that nobody asked about. */
export type JobLargest = readonly (readonly LeafLargest[] | undefined)[];

/** What jobs are about: weights, and what is measured of each. */
export interface JobSubject {
  /** Weights that the ranges are of. */
  readonly weights: readonly Weight[];
  readonly measured: readonly (MeasuredLeaves | undefined)[];
}

/** Runs jobs one after the other, in memory that they share. */
export class JobRunner {
  readonly #reader: WeightReader;
  #subject: JobSubject = { weights: [], measured: [] };

  constructor(source: TensorSource) {
    this.#reader = new WeightReader(source);
  }

  /** Sets what the jobs that follow are about, and forgets what there was to know of others. */
  begin(subject: JobSubject): void {
    this.#subject = subject;
    this.#reader.forget();
  }

  /** Fills a buffer of at least the job's size, and looks how large the numbers are. */
  async run({ ranges, steps }: WeightJob, buffer: ArrayBuffer): Promise<JobLargest> {
    const { weights, measured } = this.#subject;
    const filled = filledRanges(ranges, buffer);
    const done = ranges.map(() => 0);
    for (const step of steps) {
      for (const [member, size] of step.entries()) {
        const { weight, byteOffset, bytes } = filled[member];
        const start = (byteOffset + done[member]) / DTYPE_BYTES[weights[weight].dtype];
        const part = bytes.subarray(done[member], done[member] + size);
        await this.#reader.fill(weights[weight], start, part);
        done[member] += size;
      }
    }
    return filled.map(({ weight, byteOffset, bytes }) => {
      const leaves = measured[weight];
      return leaves && measureLeaves(leaves, weights[weight].dtype, byteOffset, bytes);
    });
  }
}

/** Where the ranges of a job are in its buffer. */
export function filledRanges(
  ranges: readonly WeightRange[],
  buffer: ArrayBuffer,
  found: JobLargest = [],
): FilledRange[] {
  let at = 0;
  return ranges.map((range, i) => {
    const bytes = new Uint8Array(buffer, at, range.byteLength);
    at += padded(range.byteLength);
    const largest = found[i];
    return { ...range, bytes, ...(largest && { largest }) };
  });
}
