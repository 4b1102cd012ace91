/**
 * Evaluates jobs of {@linkcode cutWeights}, in any thread.
 *
 * @module
 */

import { DTYPE_BYTES, type TensorSource, type Weight } from "../../graph/mod.ts";
import { type LeafLargest, measureLeaves, weightLeaves } from "./largest_numbers.ts";
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

/** Runs jobs one after the other; what neighbouring jobs of a weight share is kept between them. */
export class JobRunner {
  #reader: { readonly weight: number; readonly reader: WeightReader } | undefined;

  constructor(
    readonly weights: readonly Weight[],
    readonly source: TensorSource,
    readonly measured: ReadonlySet<number> = new Set(),
  ) {}

  /** Fills a buffer of at least the job's size, and looks how large the numbers are. */
  async run(job: WeightJob, buffer: ArrayBuffer): Promise<JobLargest> {
    const [{ weight: first }] = job.ranges;
    if (this.#reader?.weight !== first) {
      this.#reader = { weight: first, reader: new WeightReader(this.source) };
    }
    const { reader } = this.#reader;
    const filled = filledRanges(job, buffer);
    const done = job.ranges.map(() => 0);
    for (const step of job.steps) {
      for (const [member, size] of step.entries()) {
        const { weight, byteOffset, bytes } = filled[member];
        const expression = this.weights[weight];
        const start = (byteOffset + done[member]) / DTYPE_BYTES[expression.dtype];
        await reader.fill(expression, start, bytes.subarray(done[member], done[member] + size));
        done[member] += size;
      }
    }
    return filled.map((range) =>
      this.measured.has(range.weight) ? this.#measure(range) : undefined
    );
  }

  #measure({ weight, byteOffset, bytes }: FilledRange): LeafLargest[] {
    const expression = this.weights[weight];
    return measureLeaves(weightLeaves(expression), expression.dtype, byteOffset, bytes);
  }
}

/** Where the ranges of a job are in its buffer. */
export function filledRanges(
  { ranges }: WeightJob,
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
