/**
 * What all programs of an executor share.
 *
 * @module
 */

import type { KernelDefinition, LoweringContext, TunedFiles } from "../../kernels/mod.ts";
import type { Program } from "../executor.ts";
import type { WebGpuDevice } from "./device/device.ts";
import type { PipelineCache } from "./device/pipelines.ts";
import type { Readback } from "./device/readback.ts";

/** What all programs of an executor share. */
export interface ProgramContext {
  readonly device: WebGpuDevice;
  readonly pipelines: PipelineCache;
  readonly readback: Readback;
  readonly kernels: readonly KernelDefinition[];
  readonly tuned: TunedFiles;
  readonly handOff: HandOff;
  /** Why `handOff` is not `ticket`, where a self-test said so. */
  readonly handOffReason?: string;
  /** Told of a program that was disposed. */
  readonly onDispose?: (program: Program) => void;
}

/** How workgroups of a dispatch combine their partial results. */
export type HandOff = NonNullable<LoweringContext["handOff"]>;
