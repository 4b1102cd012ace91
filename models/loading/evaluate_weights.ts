/**
 * The bytes of many weights, each byte once: on this thread, or on workers where there is enough to do.
 *
 * @module
 */

import { messageOf, tensorBytes, type TensorSource, type Weight } from "../../graph/mod.ts";
import { Checkpoint } from "../checkpoint/checkpoint.ts";
import { type FilledRange, filledRanges, JobRunner } from "./run_job.ts";
import { cutWeights, jobBytes, type WeightJob } from "./weight_jobs.ts";
import { WeightWorkers, WorkerStartError } from "./weight_workers.ts";

/** Options of {@linkcode evaluateWeights}. */
export interface EvaluateOptions {
  /** Threads beside this one; default {@linkcode defaultWorkers}. */
  readonly workers?: number;
  /** Bytes of a job; default 32 MiB on this thread, 4 MiB on workers, each of which has two. */
  readonly jobBytes?: number;
  /** Indices of weights whose largest magnitudes are told with their ranges. */
  readonly measured?: ReadonlySet<number>;
  /** The module of a worker, for programs that keep it elsewhere. */
  readonly workerModule?: URL;
}

const LOCAL_BYTES = 32 * 2 ** 20;
const WORKER_BYTES = 4 * 2 ** 20;

/** Less than this is read sooner than workers start. */
const WORTH_WORKERS_BYTES = 256 * 2 ** 20;

/** Beyond this many, memory rather than arithmetic is what they wait for. */
const MOST_WORKERS = 16;

/** Workers for weights of so many bytes: one for each core but this one, none for small models. */
export function defaultWorkers(bytes: number, cores = navigator.hardwareConcurrency): number {
  return bytes < WORTH_WORKERS_BYTES || cores < 3 ? 0 : Math.min(MOST_WORKERS, cores - 1);
}

/**
 * Evaluates weights. The ranges come in any order, those of a job together; together they are all
 * bytes of all weights. A range's bytes are overwritten once the next ones are asked for. What is
 * found on the way is told by {@linkcode Checkpoint.findings}.
 */
export async function* evaluateWeights(
  weights: readonly Weight[],
  source: TensorSource,
  options: EvaluateOptions = {},
): AsyncGenerator<readonly FilledRange[]> {
  const bytes = weights.reduce((sum, weight) => sum + tensorBytes(weight), 0);
  const { workers = defaultWorkers(bytes), measured = new Set() } = options;
  const path = source instanceof Checkpoint ? source.reopenPath : undefined;
  if (workers > 0 && source instanceof Checkpoint && path !== undefined) {
    const jobs = cutWeights(weights, options.jobBytes ?? WORKER_BYTES);
    const count = Math.min(workers, jobs.length);
    const open = { path, weights, measured: [...measured] };
    using pool = new WeightWorkers(open, count, options.workerModule);
    let some = false;
    try {
      for await (const ranges of pool.run(jobs)) {
        some = true;
        yield ranges;
      }
      source.addFindings(pool.findings);
      return;
    } catch (error) {
      if (some || !(error instanceof WorkerStartError)) throw error;
      source.addFindings([`Weights are loaded by one thread: ${messageOf(error)}`]);
    }
  }
  const jobs = cutWeights(weights, options.jobBytes ?? LOCAL_BYTES);
  yield* evaluateHere(new JobRunner(weights, source, measured), jobs);
}

async function* evaluateHere(
  runner: JobRunner,
  jobs: readonly WeightJob[],
): AsyncGenerator<readonly FilledRange[]> {
  let buffer = new ArrayBuffer(0);
  for (const job of jobs) {
    if (buffer.byteLength < jobBytes(job)) buffer = new ArrayBuffer(jobBytes(job));
    const largest = await runner.run(job, buffer);
    yield filledRanges(job, buffer, largest);
  }
}
