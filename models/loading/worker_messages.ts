/**
 * What the threads that load weights say to each other.
 *
 * @module
 */

import {
  CheckpointError,
  DeviceError,
  GraphError,
  KernelError,
  messageOf,
  MixlineError,
} from "../../graph/mod.ts";
import type { JobLargest, JobSubject } from "./run_job.ts";
import type { TensorInfo } from "../checkpoint/safetensors.ts";
import type { WeightJob } from "./weight_jobs.ts";

/** What the jobs of a run are about. */
export interface RunSubject extends JobSubject {
  /** Where the weights' tensors are, unless the worker has opened the checkpoint. */
  readonly tensors: readonly TensorInfo[];
}

/** To a worker. A job comes with the buffer that it is to fill, the first of a run with its subject. */
export type ToWorker =
  /** Open a checkpoint whose tensors have no places of their own. */
  | { readonly kind: "open"; readonly path: string }
  | {
    readonly kind: "job";
    readonly id: number;
    readonly job: WeightJob;
    readonly buffer: ArrayBuffer;
    readonly subject?: RunSubject;
  }
  | { readonly kind: "end" };

/** From a worker. */
export type FromWorker =
  | {
    readonly kind: "done";
    readonly id: number;
    readonly buffer: ArrayBuffer;
    readonly largest: JobLargest;
  }
  | { readonly kind: "failed"; readonly error: SentError }
  /** Nothing more will come; what reading has shown. */
  | { readonly kind: "ended"; readonly findings: readonly string[] };

/** An error on its way between threads. */
export interface SentError {
  readonly name: string;
  readonly message: string;
  readonly code?: string;
  readonly hint?: string;
  readonly details?: Record<string, unknown>;
  readonly trail?: readonly string[];
}

/** Classes that loading raises. */
const CLASSES = { CheckpointError, DeviceError, GraphError, KernelError } as const;

/** An error as it is sent. */
export function sentError(error: unknown): SentError {
  if (!(error instanceof MixlineError)) return { name: "Error", message: messageOf(error) };
  const { name, message, code, hint, details, trail } = error;
  return { name, message, code, ...(hint !== undefined && { hint }), details, trail };
}

/** The error that was sent, of the same class. */
export function receivedError(sent: SentError): Error {
  const Class = Object.entries(CLASSES).find(([name]) => name === sent.name)?.[1];
  if (!Class || sent.code === undefined) return new Error(sent.message);
  const { hint, details, trail = [] } = sent;
  const error = new Class(sent.code, sent.message, {
    ...(hint !== undefined && { hint }),
    ...(details && { details }),
  });
  for (const place of trail) error.within(place);
  return error;
}
