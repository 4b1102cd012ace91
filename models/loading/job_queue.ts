/**
 * Jobs in the order in which threads take them: those of a run are one thread's.
 *
 * @module
 */

import { DTYPE_BYTES, tensorNames, type Weight } from "../../graph/mod.ts";
import type { TensorInfo } from "../checkpoint/safetensors.ts";
import { leavesWithin, type WeightLeaf, weightLeaves } from "./largest_numbers.ts";
import type { WeightJob, WeightRange } from "./weight_jobs.ts";
import { weightPortion } from "./weight_portion.ts";
import type { RunSubject } from "./worker_messages.ts";

/** A job as a thread is given it. */
export interface QueuedJob {
  /** The ranges of all weights. */
  readonly job: WeightJob;
  /** The same ranges, of the weights of the subject. */
  readonly sent: WeightJob;
  /** With the first job of a run. */
  readonly subject?: RunSubject;
}

/** Options of {@linkcode JobQueue}. */
export interface QueueOptions {
  /** Says where a tensor is; absent where threads know. */
  readonly place?: ((name: string) => TensorInfo) | undefined;
  /** Indices of weights whose numbers are measured. */
  readonly measured?: ReadonlySet<number> | undefined;
}

/** The jobs of a load, for some threads. */
export class JobQueue<Thread> {
  #next = 0;
  /** The rest of each thread's run. */
  readonly #begun = new Map<Thread, QueuedJob[]>();
  /** Leaves of the weights that are measured. */
  readonly #leaves = new Map<number, readonly WeightLeaf[]>();

  constructor(
    readonly weights: readonly Weight[],
    readonly jobs: readonly WeightJob[],
    readonly options: QueueOptions = {},
  ) {
    for (const index of options.measured ?? []) {
      this.#leaves.set(index, weightLeaves(weights[index]));
    }
  }

  /** The job that a thread gets next; undefined when there is none. */
  peek(thread: Thread): QueuedJob | undefined {
    const begun = this.#begun.get(thread);
    if (begun && begun.length > 0) return begun[0];
    const run = this.#takeRun();
    this.#begun.set(thread, run);
    return run[0];
  }

  /** Takes the job that was peeked at. */
  take(thread: Thread): void {
    this.#begun.get(thread)?.shift();
  }

  #takeRun(): QueuedJob[] {
    const start = this.#next;
    while (this.#next < this.jobs.length && this.jobs[this.#next].run === this.jobs[start].run) {
      this.#next++;
    }
    const jobs = this.jobs.slice(start, this.#next);
    if (jobs.length === 0) return [];
    const portions = jobs[0].ranges.map((range, member) => {
      const end = jobs[jobs.length - 1].ranges[member];
      return this.#portion(range, end.byteOffset + end.byteLength);
    });
    const weights = portions.map(({ weight }) => weight);
    const measured = portions.map(({ measured }) => measured);
    const subject = { weights, measured, tensors: this.#places(weights) };
    return jobs.map((job, i) => {
      const ranges = job.ranges.map(({ byteOffset, byteLength }, member) => ({
        weight: member,
        byteOffset: byteOffset - portions[member].startBytes,
        byteLength,
      }));
      return { job, sent: { ...job, ranges }, ...(i === 0 && { subject }) };
    });
  }

  #places(weights: readonly Weight[]): TensorInfo[] {
    const { place } = this.options;
    if (!place) return [];
    return [...new Set(weights.flatMap((weight) => [...tensorNames(weight)]))].map(place);
  }

  #portion({ weight: index, byteOffset }: WeightRange, endByte: number) {
    const size = DTYPE_BYTES[this.weights[index].dtype];
    const [first, end] = [byteOffset / size, endByte / size];
    const { weight, start } = weightPortion(this.weights[index], first, end - first);
    const leaves = this.#leaves.get(index);
    return {
      weight,
      startBytes: start * size,
      measured: leaves && leavesWithin(leaves, [first, end], start),
    };
  }
}
