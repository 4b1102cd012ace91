/**
 * Threads that evaluate weights side by side. Reading, checking, converting and quantizing are their
 * work; the caller gets finished bytes.
 *
 * @module
 */

import { invariant, type Weight } from "../../graph/mod.ts";
import { type FilledRange, filledRanges } from "./run_job.ts";
import { jobBytes, type WeightJob } from "./weight_jobs.ts";
import { type FromWorker, receivedError, type ToWorker } from "./worker_messages.ts";

/** Jobs that a worker has at a time: one that it runs, one that is ready when it has finished. */
const JOBS_EACH = 2;

const WORKER_MODULE = new URL("./weight_worker.ts", import.meta.url);

/** A worker could not be started, such as in a program that does not contain its module. */
export class WorkerStartError extends Error {}

/** Workers that share the jobs of one load. */
export class WeightWorkers implements Disposable {
  readonly #workers: Worker[] = [];
  readonly #arrived: (FilledRange[] | Error)[] = [];
  readonly #running = new Map<number, { readonly job: WeightJob; readonly worker: Worker }>();
  #wake: () => void = () => {};
  #findings: string[] = [];
  #ended = 0;
  #finished = 0;

  constructor(
    open: {
      readonly path: string;
      readonly weights: readonly Weight[];
      readonly measured: readonly number[];
    },
    count: number,
    module: URL = WORKER_MODULE,
  ) {
    for (let i = 0; i < count; i++) {
      const worker = new Worker(module, { type: "module" });
      worker.onmessage = ({ data }: MessageEvent<FromWorker>) => this.#receive(data);
      worker.onerror = (event) => {
        event.preventDefault();
        const started = this.#finished > 0;
        this.#arrive(started ? new Error(event.message) : new WorkerStartError(event.message));
      };
      send(worker, { kind: "open", ...open });
      this.#workers.push(worker);
    }
  }

  /** What reading has shown, once all jobs are done. */
  get findings(): readonly string[] {
    return this.#findings;
  }

  /**
   * Runs the jobs. Bytes come in whatever order they are finished, and are overwritten once the next
   * ones are asked for.
   */
  async *run(jobs: readonly WeightJob[]): AsyncGenerator<FilledRange[]> {
    const spare: ArrayBuffer[] = [];
    let next = 0;
    const give = (worker: Worker) => {
      if (next === jobs.length) return;
      const job = jobs[next];
      const buffer = fittingBuffer(spare, jobBytes(job));
      this.#running.set(next, { job, worker });
      send(worker, { kind: "job", id: next++, job, buffer }, [buffer]);
    };
    for (let i = 0; i < JOBS_EACH; i++) this.#workers.forEach(give);
    while (this.#finished < jobs.length) {
      const ranges = await this.#take();
      yield ranges;
      spare.push(ranges[0].bytes.buffer);
      const worker = this.#free.shift();
      invariant(worker, "every finished job has a worker");
      give(worker);
    }
    this.#workers.forEach((worker) => send(worker, { kind: "end" }));
    while (this.#ended < this.#workers.length) await this.#wait();
  }

  /** Stops the workers, whatever they do. */
  [Symbol.dispose](): void {
    for (const worker of this.#workers.splice(0)) worker.terminate();
  }

  /** Workers of the finished jobs, in the order of these. */
  readonly #free: Worker[] = [];

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
    this.#free.push(running.worker);
    this.#arrive(filledRanges(running.job, buffer, largest));
  }

  #arrive(result: FilledRange[] | Error): void {
    this.#arrived.push(result);
    this.#wake();
  }

  async #take(): Promise<FilledRange[]> {
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

/** A spare buffer that is large enough, or a new one in its place. */
function fittingBuffer(spare: ArrayBuffer[], bytes: number): ArrayBuffer {
  const buffer = spare.shift();
  return buffer && buffer.byteLength >= bytes ? buffer : new ArrayBuffer(bytes);
}
