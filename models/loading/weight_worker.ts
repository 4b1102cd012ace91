/**
 * A thread that evaluates weights: it reads the checkpoint's files for itself, and fills the buffers
 * that it is sent. There are many of these, so what they import is little: GGUF comes when it is asked for.
 *
 * @module
 */

import type { TensorSource } from "../../graph/mod.ts";
import { PlacedTensors } from "./placed_tensors.ts";
import { JobRunner } from "./run_job.ts";
import { type FromWorker, sentError, type ToWorker } from "./worker_messages.ts";

/** The part of a worker's global scope that is used here. */
interface WorkerScope {
  onmessage: ((event: MessageEvent<ToWorker>) => void) | null;
  postMessage(message: FromWorker, transfer?: readonly Transferable[]): void;
}

/** What tensors are read from. */
type Source = TensorSource & {
  readonly findings: readonly string[];
  close(): Promise<void> | void;
};

/** Evaluates weights for another thread. */
class WeightServer {
  readonly #placed = new PlacedTensors();
  #source: Source = this.#placed;
  #runner = new JobRunner(this.#placed);

  async answer(scope: WorkerScope, message: ToWorker): Promise<void> {
    switch (message.kind) {
      case "open": {
        const { openGgufCheckpoint } = await import("../gguf/load_gguf.ts");
        this.#source = await openGgufCheckpoint(message.path);
        this.#runner = new JobRunner(this.#source);
        return;
      }
      case "job": {
        const { id, job, buffer, subject } = message;
        if (subject) {
          this.#placed.place(subject.tensors);
          this.#runner.begin(subject);
        }
        const largest = await this.#runner.run(job, buffer);
        return scope.postMessage({ kind: "done", id, buffer, largest }, [buffer]);
      }
      case "end":
        await this.#source.close();
        return scope.postMessage({ kind: "ended", findings: this.#source.findings });
    }
  }
}

/** Serves one message after the other. */
export function serve(scope: WorkerScope): void {
  const server = new WeightServer();
  let last: Promise<void> = Promise.resolve();
  scope.onmessage = ({ data }) => {
    last = last.then(() => server.answer(scope, data)).catch((error) => {
      scope.postMessage({ kind: "failed", error: sentError(error) });
    });
  };
}

const scope: unknown = globalThis;
if (isWorkerScope(scope)) serve(scope);

function isWorkerScope(scope: unknown): scope is WorkerScope {
  return typeof scope === "object" && scope !== null && "WorkerGlobalScope" in scope;
}
