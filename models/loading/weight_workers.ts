/**
 * Threads that evaluate weights side by side. Reading, checking, converting and quantizing are their
 * work; the caller gets finished bytes.
 *
 * @module
 */

import { invariant } from "../../graph/mod.ts";
import type { BufferPool } from "./buffer_pool.ts";
import type { JobQueue } from "./job_queue.ts";
import { type FilledRange, filledRanges } from "./run_job.ts";
import { jobBytes, type WeightJob } from "./weight_jobs.ts";
import { type FromWorker, receivedError, type ToWorker } from "./worker_messages.ts";

/** Jobs that a worker has at a time: one that it runs, one that is ready when it has finished. */
export const JOBS_EACH = 2;

const WORKER_MODULE = new URL("./weight_worker.ts", import.meta.url);

/** A worker could not be started, such as in a program that does not contain its module. */
export class WorkerStartError extends Error {}

/** Options of {@linkcode WeightWorkers}. */
export interface WorkerOptions {
  readonly count: number;
  /** The checkpoint that each opens for itself; absent when jobs say where tensors are. */
  readonly path?: string;
  readonly module?: URL;
}

/** A finished job. */
interface Finished {
  readonly worker: Worker;
  readonly ranges: readonly FilledRange[];
  readonly buffer: ArrayBuffer;
}

/** Workers that share the jobs of one load. */
export class WeightWorkers implements Disposable {
  readonly #workers: Worker[] = [];
  readonly #arrived: (Finished | Error)[] = [];
  readonly #running = new Map<number, { readonly job: WeightJob; readonly worker: Worker }>();
  #wake: () => void = () => {};
  #findings: string[] = [];
  #ended = 0;
  #finished = 0;
  #given = 0;

  constructor({ count, path, module = WORKER_MODULE }: WorkerOptions) {
    for (let i = 0; i < count; i++) {
      const worker = new Worker(module, { type: "module" });
      worker.onmessage = ({ data }: MessageEvent<FromWorker>) => this.#receive(data);
      worker.onerror = (event) => {
        event.preventDefault();
        const started = this.#finished > 0;
        this.#arrive(started ? new Error(event.message) : new WorkerStartError(event.message));
      };
      if (path !== undefined) send(worker, { kind: "open", path });
      this.#workers.push(worker);
    }
  }

  /** What reading has shown, once all jobs are done. */
  get findings(): readonly string[] {
    return this.#findings;
  }

  /**
   * Runs the jobs. Bytes come in whatever order they are finished, and are overwritten once the next
   * ones are asked for; a job begins when the pool has a buffer for it.
   */
  async *run(queue: JobQueue<Worker>, pool: BufferPool): AsyncGenerator<readonly FilledRange[]> {
    /** Workers that can take a job, those that wait longest first. */
    const free = Array.from({ length: JOBS_EACH }, () => this.#workers).flat();
    this.#giveOut(queue, pool, free);
    while (this.#finished < queue.jobs.length) {
      const { worker, ranges, buffer } = await this.#take();
      yield ranges;
      pool.give(buffer);
      free.push(worker);
      this.#giveOut(queue, pool, free);
    }
    this.#workers.forEach((worker) => send(worker, { kind: "end" }));
    while (this.#ended < this.#workers.length) await this.#wait();
  }

  #giveOut(queue: JobQueue<Worker>, pool: BufferPool, free: Worker[]): void {
    for (let [worker] = free; worker !== undefined; [worker] = free) {
      const next = queue.peek(worker);
      if (next) {
        const buffer = pool.take(jobBytes(next.job));
        if (!buffer) return;
        queue.take(worker);
        const id = this.#given++;
        this.#running.set(id, { job: next.job, worker });
        const { sent: job, subject } = next;
        send(worker, { kind: "job", id, job, buffer, ...(subject && { subject }) }, [buffer]);
      }
      free.shift();
    }
  }

  /** Stops the workers, whatever they do. */
  [Symbol.dispose](): void {
    for (const worker of this.#workers.splice(0)) worker.terminate();
  }

  #receive(message: FromWorker): void {
    if (message.kind === "failed") return this.#arrive(receivedError(message.error));
    if (message.kind === "ended") {
      this.#findings = [...new Set([...this.#findings, ...message.findings])];
      this.#ended++;
      return this.#wake();
    }
    const { id, buffer, largest } = message;
    const running = this.#running.get(id);
    invariant(running, `job ${id} was finished without being given`);
    this.#running.delete(id);
    const { worker, job: { ranges } } = running;
    this.#arrive({ worker, buffer, ranges: filledRanges(ranges, buffer, largest) });
  }

  #arrive(result: Finished | Error): void {
    this.#arrived.push(result);
    this.#wake();
  }

  async #take(): Promise<Finished> {
    for (;;) {
      const result = this.#arrived.shift();
      if (result instanceof Error) throw result;
      if (result) {
        this.#finished++;
        return result;
      }
      await this.#wait();
    }
  }

  async #wait(): Promise<void> {
    const failure = this.#arrived.find((each) => each instanceof Error);
    if (failure instanceof Error) throw failure;
    if (this.#arrived.length > 0) return;
    await new Promise<void>((resolve) => this.#wake = resolve);
  }
}

function send(worker: Worker, message: ToWorker, transfer: Transferable[] = []): void {
  worker.postMessage(message, transfer);
}
