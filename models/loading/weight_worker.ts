/**
 * A thread that evaluates weights: it opens the checkpoint for itself, and fills the buffers that it
 * is sent.
 *
 * @module
 */

import { Checkpoint } from "../checkpoint/checkpoint.ts";
import { isGgufPath, openGgufCheckpoint } from "../gguf/load_gguf.ts";
import { isFile } from "../checkpoint/json_file.ts";
import { JobRunner } from "./run_job.ts";
import { type FromWorker, sentError, type ToWorker } from "./worker_messages.ts";

/** The part of a worker's global scope that is used here. */
interface WorkerScope {
  onmessage: ((event: MessageEvent<ToWorker>) => void) | null;
  postMessage(message: FromWorker, transfer?: readonly Transferable[]): void;
}

let opened: Promise<{ readonly checkpoint: Checkpoint; readonly runner: JobRunner }> | undefined;
/** Jobs run in the order in which they come. */
let last: Promise<void> = Promise.resolve();

/** Serves one message after the other. */
export function serve(scope: WorkerScope): void {
  scope.onmessage = ({ data }) => {
    last = last.then(() => answer(scope, data)).catch((error) => {
      scope.postMessage({ kind: "failed", error: sentError(error) });
    });
  };
}

async function answer(scope: WorkerScope, message: ToWorker): Promise<void> {
  if (message.kind === "open") {
    const { path, weights, measured } = message;
    opened = reopenCheckpoint(path).then((checkpoint) => ({
      checkpoint,
      runner: new JobRunner(weights, checkpoint, new Set(measured)),
    }));
    await opened;
    return;
  }
  if (!opened) throw new Error("a job came before the checkpoint");
  const { checkpoint, runner } = await opened;
  if (message.kind === "end") {
    await checkpoint.close();
    scope.postMessage({ kind: "ended", findings: checkpoint.findings });
    return;
  }
  const { id, job, buffer } = message;
  const largest = await runner.run(job, buffer);
  scope.postMessage({ kind: "done", id, buffer, largest }, [buffer]);
}

/** The checkpoint that another thread opened; see {@linkcode Checkpoint.reopenPath}. */
async function reopenCheckpoint(path: string): Promise<Checkpoint> {
  const isGguf = isGgufPath(path) && await isFile(path);
  return await (isGguf ? openGgufCheckpoint(path) : Checkpoint.open(path));
}

const scope: unknown = globalThis;
if (isWorkerScope(scope)) serve(scope);

function isWorkerScope(scope: unknown): scope is WorkerScope {
  return typeof scope === "object" && scope !== null && "WorkerGlobalScope" in scope;
}
