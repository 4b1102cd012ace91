/**
 * Compute pipelines, each compiled once for its WGSL and constants; the compiler's message is part of
 * the error when one does not compile.
 *
 * @module
 */

import { KernelError, messageOf } from "../../../graph/mod.ts";
import type { Dispatch } from "../../../kernels/mod.ts";
import { yieldToEventLoop } from "../../event_loop.ts";
import type { WebGpuDevice } from "./device.ts";
import { captureErrors } from "./error_scopes.ts";

/** A pipeline and the layout of its bind group 0. */
export interface Pipeline {
  readonly pipeline: GPUComputePipeline;
  readonly layout: GPUBindGroupLayout;
}

const BUFFER_TYPES = {
  read: "read-only-storage",
  read_write: "storage",
  uniform: "uniform",
} as const satisfies Record<Dispatch["bindings"][number]["access"], GPUBufferBindingType>;

/** Pipelines that compile at a time, where they do so on other threads. */
const MOST_ASIDE = 8;

/** Pipelines of one device. */
export class PipelineCache {
  readonly #turns = new Turns(MOST_ASIDE);
  readonly #pipelines = new Map<string, Promise<Pipeline>>();
  readonly #modules = new Map<string, Module>();
  readonly #layouts = new Map<string, GPUBindGroupLayout>();

  constructor(readonly device: WebGpuDevice) {}

  /**
   * Begins to compile what dispatches will ask for, where that happens on other threads. Errors are
   * raised when a pipeline is asked for.
   */
  prefetch(dispatches: readonly Dispatch[]): void {
    if (!this.device.provider.compilesAside) return;
    for (const dispatch of dispatches) this.get(dispatch).catch(() => {});
  }

  /** The pipeline of a dispatch; raises a {@linkcode KernelError} when it does not compile. */
  get(dispatch: Dispatch): Promise<Pipeline> {
    const module = this.#module(dispatch);
    const access = dispatch.bindings.map((binding) => binding.access).join();
    const key = `${module.id} ${access} ${JSON.stringify(dispatch.constants ?? {})}`;
    const known = this.#pipelines.get(key);
    if (known) return known;
    const made = this.#create(dispatch, module, this.#layout(dispatch, access));
    this.#pipelines.set(key, made);
    return made;
  }

  #module(dispatch: Dispatch): Module {
    const known = this.#modules.get(dispatch.wgsl);
    if (known) return known;
    const { gpu, created, provider } = this.device;
    // The error, if any, is found with the pipeline's; this scope keeps it off the global handler.
    gpu.pushErrorScope("validation");
    const module = gpu.createShaderModule({
      code: provider.shader(dispatch.wgsl),
      label: dispatch.kernel,
    });
    const checked = gpu.popErrorScope().then((error) => {
      if (error) this.#shaderErrors.set(module, error.message);
    });
    created.shaderModules++;
    const entry = { id: this.#modules.size, module, checked };
    this.#modules.set(dispatch.wgsl, entry);
    return entry;
  }

  readonly #shaderErrors = new Map<GPUShaderModule, string>();

  #layout(dispatch: Dispatch, access: string): GPUBindGroupLayout {
    const known = this.#layouts.get(access);
    if (known) return known;
    const layout = this.device.gpu.createBindGroupLayout({
      entries: dispatch.bindings.map((binding, index) => ({
        binding: index,
        visibility: GPUShaderStage.COMPUTE,
        buffer: { type: BUFFER_TYPES[binding.access] },
      })),
    });
    this.#layouts.set(access, layout);
    return layout;
  }

  async #create(
    dispatch: Dispatch,
    { module, checked }: Module,
    layout: GPUBindGroupLayout,
  ): Promise<Pipeline> {
    const { gpu, created, provider } = this.device;
    const descriptor = {
      label: dispatch.kernel,
      layout: gpu.createPipelineLayout({ bindGroupLayouts: [layout] }),
      compute: { module, entryPoint: "main", constants: dispatch.constants },
    };
    const { pipeline, error } = provider.compilesAside
      ? await this.#turns.take(() => compileAside(gpu, descriptor))
      : await compileHere(gpu, descriptor);
    await checked;
    const message = this.#shaderErrors.get(module) ?? error;
    if (!pipeline || message !== undefined) {
      throw compileError(dispatch, provider.shader(dispatch.wgsl), message ?? "no pipeline");
    }
    created.pipelines++;
    return { pipeline, layout };
  }
}

/** A shader, and when its errors are known. */
interface Module {
  readonly id: number;
  readonly module: GPUShaderModule;
  readonly checked: Promise<void>;
}

/** A pipeline, or what the compiler says. */
interface Compiled {
  readonly pipeline?: GPUComputePipeline;
  readonly error?: string;
}

/** Compilers block this thread; whatever else goes on, such as loading weights, has a turn. */
async function compileHere(
  gpu: GPUDevice,
  descriptor: GPUComputePipelineDescriptor,
): Promise<Compiled> {
  const { result: pipeline, error } = await captureErrors(
    gpu,
    ["internal", "validation"],
    () => gpu.createComputePipeline(descriptor),
  );
  await yieldToEventLoop();
  return { pipeline, ...(error && { error: error.message }) };
}

async function compileAside(
  gpu: GPUDevice,
  descriptor: GPUComputePipelineDescriptor,
): Promise<Compiled> {
  try {
    return { pipeline: await gpu.createComputePipelineAsync(descriptor) };
  } catch (error) {
    return { error: messageOf(error) };
  }
}

/** Lets so many pieces of work run at a time, the others in the order in which they come. */
class Turns {
  readonly #waiting: (() => void)[] = [];

  constructor(private free: number) {}

  async take<Result>(work: () => Promise<Result>): Promise<Result> {
    if (this.free > 0) this.free--;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.free++;
    }
  }
}

/** The first line of naga's or Tint's report, with the line of WGSL it points at. */
function compileError(dispatch: Dispatch, wgsl: string, message: string): KernelError {
  const place = message.match(/(?:┌─ |WGSL: )\S*?:(\d+):(\d+)/);
  const line = place ? Number(place[1]) : undefined;
  const source = line === undefined ? undefined : wgsl.split("\n")[line - 1]?.trim();
  const reason = message.trim().split("\n", 1)[0].replace(
    /^(?:Shader|Error while parsing WGSL).*? error: /,
    "",
  );
  return new KernelError(
    "kernel/compile",
    `Cannot compile kernel "${dispatch.kernel}": ${reason}${
      line === undefined ? "" : `, at line ${line}: ${source}`
    }`,
    {
      hint: "Choose another backend for this op, and report the message with the device's name",
      details: { kernel: dispatch.kernel, message, line, source },
    },
  );
}
