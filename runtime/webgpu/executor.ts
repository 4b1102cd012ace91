/**
 * The executor that runs programs on a WebGPU device.
 *
 * @module
 */

import { DeviceError, type Graph } from "../../graph/mod.ts";
import { type KernelDefinition, KERNELS, type TunedFiles } from "../../kernels/mod.ts";
import type { CompileOptions, Executor, Program } from "../executor.ts";
import { TunedFolders } from "../tuned_files.ts";
import { openDevice, type OpenDeviceOptions, type WebGpuDevice } from "./device/device.ts";
import { PipelineCache } from "./device/pipelines.ts";
import { WebGpuProgram } from "./program.ts";
import type { HandOff } from "./program_context.ts";
import { Readback } from "./device/readback.ts";
import type { ReadMode } from "./providers/mod.ts";
import { BackendChecks } from "./measure/compare_backend.ts";
import { selfTest } from "./measure/self_test.ts";

/** Options of {@linkcode openWebGpuExecutor}. */
export interface WebGpuExecutorOptions extends OpenDeviceOptions {
  /**
   * Kernels to choose from, first match first; default every registered one.
   *
   * @internal
   */
  readonly kernels?: readonly KernelDefinition[];
  /** Measured configurations; default the user's folder and the bundled tables. */
  readonly tuned?: TunedFiles;
  /**
   * How results are read; default what the self-test finds.
   *
   * @internal
   */
  readonly readMode?: ReadMode;
  /** Compare a small MoE layer with the CPU first; default true with the registered kernels. */
  readonly selfTest?: boolean;
}

/** Runs programs on one device. */
export class WebGpuExecutor implements Executor {
  readonly kind = "webgpu";
  readonly #programs = new Set<Program>();
  readonly #pipelines: PipelineCache;
  readonly #backends: BackendChecks;
  /** How workgroups combine partial results; the self-test may find that tickets do not work. */
  handOff: HandOff = "ticket";
  /** Why workgroups do not combine their results within a dispatch; undefined where they do. */
  handOffReason?: string;

  constructor(
    readonly device: WebGpuDevice,
    readonly readback: Readback,
    readonly kernels: readonly KernelDefinition[],
    readonly tuned: TunedFiles = new TunedFolders(),
  ) {
    this.#pipelines = new PipelineCache(device);
    this.#backends = new BackendChecks(device, this.#pipelines, tuned);
  }

  get description(): string {
    const { profile: { description, software }, provider } = this.device;
    const name = software ? `${description}, software adapter` : description;
    return provider.label ? `${name}, by ${provider.label} with ${featuresOf(this.device)}` : name;
  }

  async compile(graph: Graph, options: CompileOptions): Promise<Program> {
    const { device, readback, kernels, tuned, handOff, handOffReason } = this;
    const context = {
      ...{ device, readback, kernels, tuned, handOff, pipelines: this.#pipelines },
      ...(handOffReason !== undefined && { handOffReason }),
      onDispose: (program: Program) => this.#programs.delete(program),
    };
    // Before the weights are read: a backend of a plug-in that is wrong need not wait for them.
    await this.#backends.check(graph);
    const program = await WebGpuProgram.compile(context, graph, options);
    this.#programs.add(program);
    return program;
  }

  dispose(): void {
    for (const program of this.#programs) program.dispose();
    this.device.close();
  }
}

/** What shaders and measurements may use of a device. */
function featuresOf({ profile }: WebGpuDevice): string {
  const { matrices = [] } = profile;
  const features = [
    profile.subgroups ? `subgroups of ${profile.subgroupSize}` : "",
    profile.shaderF16 ? "f16" : "",
    profile.timestamps ? "timestamps" : "",
    matrices.length > 0 ? `matrices ${matrices.map(({ m, n, k }) => `${m}x${n}x${k}`)}` : "",
  ].filter((feature) => feature !== "");
  return features.length === 0 ? "no optional features" : features.join(", ");
}

/**
 * Opens the GPU, chooses how results are read, and checks that it computes. Raises a
 * {@linkcode DeviceError} when there is no device, or one that computes wrong results.
 */
export async function openWebGpuExecutor(
  options: WebGpuExecutorOptions = {},
): Promise<WebGpuExecutor> {
  const device = await openDevice(options).catch((error) => {
    throw withCpu(error);
  });
  try {
    const readback = await Readback.open(device, options.readMode);
    const { kernels = KERNELS, tuned } = options;
    const executor = new WebGpuExecutor(device, readback, kernels, tuned);
    if (options.selfTest ?? options.kernels === undefined) await testHandOffs(executor);
    return executor;
  } catch (error) {
    device.close();
    throw error;
  }
}

/** A model runs without a GPU, too. */
function withCpu(error: unknown): unknown {
  if (!(error instanceof DeviceError) || error.code !== "device/no-adapter") return error;
  const { code, message, hint, details, cause } = error;
  return new DeviceError(code, message, {
    ...{ details, cause },
    hint: `${hint ?? "Open another device"}, or use --executor cpu`,
  });
}

/** WebGPU guarantees little between workgroups of one dispatch; where tickets fail, a second dispatch
 * combines the results. */
async function testHandOffs(executor: WebGpuExecutor): Promise<void> {
  const attention = !executor.device.profile.software;
  try {
    await selfTest(executor, attention);
  } catch (error) {
    if (!(error instanceof DeviceError) || error.code !== "device/wrong-results") throw error;
    executor.handOff = "dispatch";
    executor.handOffReason = `the self-test failed with tickets: ${error.message}`;
    await selfTest(executor, attention);
  }
}
