/**
 * The executor that runs programs on a WebGPU device.
 *
 * @module
 */

import type { Graph } from "../../graph/mod.ts";
import { type KernelDefinition, KERNELS } from "../../kernels/mod.ts";
import type { CompileOptions, Executor, Program } from "../executor.ts";
import { openDevice, type OpenDeviceOptions, type WebGpuDevice } from "./device.ts";
import { PipelineCache } from "./pipelines.ts";
import { WebGpuProgram } from "./program.ts";
import { Readback, type ReadMode } from "./readback.ts";

/** Options of {@linkcode openWebGpuExecutor}. */
export interface WebGpuExecutorOptions extends OpenDeviceOptions {
  /** Kernels to choose from, first match first; default every registered one. */
  readonly kernels?: readonly KernelDefinition[];
  /** How results are read; default what the self-test finds. */
  readonly readMode?: ReadMode;
}

/** Runs programs on one device. */
export class WebGpuExecutor implements Executor {
  readonly kind = "webgpu";
  readonly #programs = new Set<WebGpuProgram>();
  readonly #pipelines: PipelineCache;

  constructor(
    readonly device: WebGpuDevice,
    readonly readback: Readback,
    readonly kernels: readonly KernelDefinition[],
  ) {
    this.#pipelines = new PipelineCache(device);
  }

  get description(): string {
    const { description, software } = this.device.profile;
    return software ? `${description}, a CPU that plays a GPU` : description;
  }

  async compile(graph: Graph, options: CompileOptions): Promise<Program> {
    const { device, readback, kernels } = this;
    const context = { device, readback, kernels, pipelines: this.#pipelines };
    const program = await WebGpuProgram.compile(context, graph, options);
    this.#programs.add(program);
    return program;
  }

  dispose(): void {
    for (const program of this.#programs) program.dispose();
    this.device.close();
  }
}

/** Opens the GPU and chooses how results are read. */
export async function openWebGpuExecutor(
  options: WebGpuExecutorOptions = {},
): Promise<WebGpuExecutor> {
  const device = await openDevice(options);
  const readback = await Readback.open(device, options.readMode);
  return new WebGpuExecutor(device, readback, options.kernels ?? KERNELS);
}
