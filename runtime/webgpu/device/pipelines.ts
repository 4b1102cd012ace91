/**
 * Compute pipelines, each compiled once for its WGSL and constants; the compiler's message is part of
 * the error when one does not compile.
 *
 * @module
 */

import { KernelError } from "../../../graph/mod.ts";
import type { Dispatch } from "../../../kernels/mod.ts";
import { yieldToEventLoop } from "../../event_loop.ts";
import type { WebGpuDevice } from "./device.ts";

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

/** Pipelines of one device. */
export class PipelineCache {
  readonly #pipelines = new Map<string, Promise<Pipeline>>();
  readonly #modules = new Map<string, { readonly id: number; readonly module: GPUShaderModule }>();
  readonly #layouts = new Map<string, GPUBindGroupLayout>();

  constructor(readonly device: WebGpuDevice) {}

  /** The pipeline of a dispatch; raises a {@linkcode KernelError} when it does not compile. */
  get(dispatch: Dispatch): Promise<Pipeline> {
    const { id, module } = this.#module(dispatch);
    const access = dispatch.bindings.map((binding) => binding.access).join();
    const key = `${id} ${access} ${JSON.stringify(dispatch.constants ?? {})}`;
    const known = this.#pipelines.get(key);
    if (known) return known;
    const made = this.#create(dispatch, module, this.#layout(dispatch, access));
    this.#pipelines.set(key, made);
    return made;
  }

  #module(dispatch: Dispatch) {
    const known = this.#modules.get(dispatch.wgsl);
    if (known) return known;
    const { gpu, created, provider } = this.device;
    // The error, if any, is found with the pipeline's; this scope keeps it off the global handler.
    gpu.pushErrorScope("validation");
    const module = gpu.createShaderModule({
      code: provider.shader(dispatch.wgsl),
      label: dispatch.kernel,
    });
    gpu.popErrorScope().then((error) => {
      if (error) this.#shaderErrors.set(module, error.message);
    });
    created.shaderModules++;
    const entry = { id: this.#modules.size, module };
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
    module: GPUShaderModule,
    layout: GPUBindGroupLayout,
  ): Promise<Pipeline> {
    const { gpu, created, provider } = this.device;
    gpu.pushErrorScope("internal");
    gpu.pushErrorScope("validation");
    const pipeline = gpu.createComputePipeline({
      label: dispatch.kernel,
      layout: gpu.createPipelineLayout({ bindGroupLayouts: [layout] }),
      compute: { module, entryPoint: "main", constants: dispatch.constants },
    });
    const errors = await Promise.all([gpu.popErrorScope(), gpu.popErrorScope()]);
    const error = errors.find((each) => each !== null);
    const message = this.#shaderErrors.get(module) ?? error?.message;
    if (message !== undefined) {
      throw compileError(dispatch, provider.shader(dispatch.wgsl), message);
    }
    created.pipelines++;
    // Compilers block this thread; whatever else goes on, such as loading weights, has a turn.
    await yieldToEventLoop();
    return { pipeline, layout };
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
