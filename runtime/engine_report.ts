/**
 * What an engine tells about itself.
 *
 * @module
 */

import type { ExecutorKind } from "./executor.ts";
import type { StepLimits } from "./scheduling/step_limits.ts";

/** Where a model runs. */
export interface ExecutorReport {
  /** CPU or WebGPU. */
  readonly kind: ExecutorKind;
  /** The device. */
  readonly description: string;
  /** Why this executor. */
  readonly reason: string;
}

/** Speed of one phase. */
export interface PhaseReport {
  /** Tokens computed. */
  readonly tokens: number;
  /** Seconds of their steps. */
  readonly seconds: number;
  /** The former by the latter; 0 before the first step. */
  readonly tokensPerSecond: number;
}

/** Everything there is to know about a running engine; JSON-safe. */
export interface EngineReport extends Readonly<Record<string, unknown>> {
  /** The device in words. */
  readonly device: string;
  /** Where the model runs, and why there. */
  readonly executor: ExecutorReport;
  /** Bytes of weights, caches and activations, where the executor knows them. */
  readonly bytes: unknown;
  /** Facts of the program: buffers, objects, dispatches, kernel choices. */
  readonly program: Readonly<Record<string, unknown>>;
  /** Sizes of steps and of the cache. */
  readonly limits: StepLimits;
  /** Seconds of the deployment by what was done, and the speed of prompts and of answers. */
  readonly timings: {
    readonly seconds: Readonly<Record<string, number>>;
    readonly prefill: PhaseReport;
    readonly decode: PhaseReport;
    readonly steps: number;
  };
  /** Pages and sequences in use now. */
  readonly load: { readonly pages: number; readonly running: number; readonly waiting: number };
}

/** The report of a phase that took so many seconds for so many tokens. */
export function phaseReport(tokens: number, seconds: number): PhaseReport {
  return { tokens, seconds, tokensPerSecond: seconds > 0 ? tokens / seconds : 0 };
}
