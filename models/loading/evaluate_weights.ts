/**
 * The bytes of many weights, each byte once: on this thread, or on workers where there is enough to do.
 *
 * @module
 */

import { messageOf, tensorBytes, type TensorSource, type Weight } from "../../graph/mod.ts";
import { Checkpoint } from "../checkpoint/checkpoint.ts";
import { BufferPool } from "./buffer_pool.ts";
import { JobQueue } from "./job_queue.ts";
import { weightLeaves } from "./largest_numbers.ts";
import { type FilledRange, filledRanges, JobRunner } from "./run_job.ts";
import { cutWeights, jobBytes } from "./weight_jobs.ts";
import { JOBS_EACH, WeightWorkers, WorkerStartError } from "./weight_workers.ts";

/** Options of {@linkcode evaluateWeights}. */
export interface EvaluateOptions {
  /** Threads beside this one; default {@linkcode defaultWorkers}. */
  readonly workers?: number;
  /** Bytes of a job; default 8 MiB on this thread, on workers what lets each have two, up to 4 MiB. */
  readonly jobBytes?: number;
  /** Bytes of all buffers of workers; default 32 MiB. A job that needs more by itself gets it. */
  readonly bufferBytes?: number;
  /** Told at the end how many bytes the buffers had at most. */
  readonly onBuffers?: (bytes: number) => void;
  /** Indices of weights whose largest magnitudes are told with their ranges. */
  readonly measured?: ReadonlySet<number>;
  /** The module of a worker, for programs that keep it elsewhere. */
  readonly workerModule?: URL;
}

const LOCAL_BYTES = 8 * 2 ** 20;
const WORKER_BYTES = 4 * 2 ** 20;
const BUFFER_BYTES = 32 * 2 ** 20;

/** Less than this is read sooner than workers start. */
const WORTH_WORKERS_BYTES = 256 * 2 ** 20;

/**
 * Most workers. A thread takes some 12 MB of memory; ten of them quantize 4 GB of bf16 a second, and six
 * read more than is copied to a device.
 */
const MOST_QUANTIZING = 10;
const MOST_READING = 6;

/** Workers for weights: up to one for each core but this one, none for small models. */
export function defaultWorkers(
  weights: readonly Weight[],
  cores = navigator.hardwareConcurrency,
): number {
  const bytes = sumBytes(weights);
  if (bytes < WORTH_WORKERS_BYTES || cores < 3) return 0;
  const isWork = sumBytes(weights.filter(isComputed)) > bytes / 16;
  return Math.min(isWork ? MOST_QUANTIZING : MOST_READING, cores - 1);
}

function sumBytes(weights: readonly Weight[]): number {
  return weights.reduce((sum, weight) => sum + tensorBytes(weight), 0);
}

/** Whether elements are more than copied. */
function isComputed(weight: Weight): boolean {
  switch (weight.kind) {
    case "tensor":
    case "constant":
      return false;
    case "stack":
    case "concat":
      return weight.parts.some(isComputed);
    case "slice":
    case "reshape":
    case "reinterpret":
      return isComputed(weight.of);
    default:
      return true;
  }
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
  const isShared = source instanceof Checkpoint &&
    (source.hasPlaces || source.reopenPath !== undefined);
  const workers = isShared ? options.workers ?? defaultWorkers(weights) : 0;
  if (workers > 0 && source instanceof Checkpoint) {
    let some = false;
    try {
      for await (const ranges of evaluateOnWorkers(weights, source, workers, options)) {
        some = true;
        yield ranges;
      }
      return;
    } catch (error) {
      if (some || !(error instanceof WorkerStartError)) throw error;
      source.addFindings([`Weights are loaded by one thread: ${messageOf(error)}`]);
    }
  }
  yield* evaluateHere(weights, source, options);
}

async function* evaluateOnWorkers(
  weights: readonly Weight[],
  source: Checkpoint,
  workers: number,
  { bufferBytes = BUFFER_BYTES, onBuffers, workerModule, ...options }: EvaluateOptions,
): AsyncGenerator<readonly FilledRange[]> {
  const fitting = Math.floor(bufferBytes / (JOBS_EACH * workers));
  const wanted = options.jobBytes ?? Math.min(WORKER_BYTES, fitting);
  const jobs = cutWeights(weights, wanted);
  const place = source.hasPlaces ? (name: string) => source.info(name) : undefined;
  const { reopenPath: path } = source;
  using pool = new WeightWorkers({
    count: Math.min(workers, jobs.length),
    ...(!place && path !== undefined && { path }),
    ...(workerModule && { module: workerModule }),
  });
  const usual = jobs.map(jobBytes).filter((bytes) => bytes <= 1.5 * wanted);
  const buffers = new BufferPool(bufferBytes, Math.max(8, ...usual));
  yield* pool.run(
    new JobQueue<Worker>(weights, jobs, { place, measured: options.measured }),
    buffers,
  );
  onBuffers?.(buffers.mostBytes);
  source.addFindings(pool.findings);
}

async function* evaluateHere(
  weights: readonly Weight[],
  source: TensorSource,
  { jobBytes: wanted = LOCAL_BYTES, measured }: EvaluateOptions,
): AsyncGenerator<readonly FilledRange[]> {
  const runner = new JobRunner(source);
  const subject = {
    weights,
    measured: weights.map((weight, i) =>
      measured?.has(i) ? { firstLeaf: 0, leaves: weightLeaves(weight) } : undefined
    ),
  };
  let buffer = new ArrayBuffer(0);
  let run: number | undefined;
  for (const job of cutWeights(weights, wanted)) {
    if (buffer.byteLength < jobBytes(job)) buffer = new ArrayBuffer(jobBytes(job));
    if (run !== job.run) runner.begin(subject);
    run = job.run;
    const largest = await runner.run(job, buffer);
    yield filledRanges(job.ranges, buffer, largest);
  }
}
