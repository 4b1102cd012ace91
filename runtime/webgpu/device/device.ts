/**
 * A WebGPU device: the limits it was opened with, its measured properties, and its errors. Deno reports
 * errors of a device later, through the event loop, so they are kept here until the next check.
 *
 * @module
 */

import { DeviceError, messageOf, MixlineError } from "../../../graph/mod.ts";
import type { DeviceProfile } from "../../../kernels/mod.ts";
import { type WebGpuChoice, type WebGpuProvider, webGpuProvider } from "../providers/mod.ts";
import { captureErrors } from "./error_scopes.ts";
import subgroupSizeShader from "./subgroup_size.wgsl" with { type: "text" };

/** Limits that are asked for; WebGPU gives the smallest allowed ones otherwise. */
const LIMITS = [
  "maxBufferSize",
  "maxStorageBufferBindingSize",
  "maxStorageBuffersPerShaderStage",
  "maxBindingsPerBindGroup",
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupSizeX",
  "maxComputeWorkgroupSizeY",
  "maxComputeWorkgroupSizeZ",
  "maxComputeWorkgroupsPerDimension",
  "minStorageBufferOffsetAlignment",
] as const;

/** Name of a limit of the device. */
export type LimitName = (typeof LIMITS)[number];

/** Options of {@linkcode openDevice}. */
export interface OpenDeviceOptions {
  /** Whose WebGPU; default `native`, which is Deno's own. */
  readonly webgpu?: WebGpuChoice;
  /**
   * A provider that has no name.
   *
   * @internal
   */
  readonly provider?: WebGpuProvider;
  /** Which GPU when there are several; default the fast one. */
  readonly powerPreference?: GPUPowerPreference;
  /**
   * Limits below those of the adapter, to see how Mixline behaves on a smaller device.
   *
   * @internal
   */
  readonly limits?: Partial<Record<LimitName, number>>;
  /**
   * Features to do without although the adapter has them.
   *
   * @internal
   */
  readonly without?: readonly GPUFeatureName[];
}

/** Kinds of GPU objects that are counted. */
export type ObjectKind = "buffers" | "bindGroups" | "pipelines" | "shaderModules" | "querySets";

/** An open device. */
export class WebGpuDevice {
  /** Objects created so far; generating a token must not create any. */
  readonly created: Record<ObjectKind, number> = {
    buffers: 0,
    bindGroups: 0,
    pipelines: 0,
    shaderModules: 0,
    querySets: 0,
  };
  #problem: DeviceError | undefined;
  #closed = false;
  #bytes = 0;

  constructor(
    readonly gpu: GPUDevice,
    readonly profile: DeviceProfile,
    readonly provider: WebGpuProvider,
  ) {
    gpu.addEventListener("uncapturederror", (event) => {
      event.preventDefault();
      this.report("device/error", (event as GPUUncapturedErrorEvent).error.message);
    });
    gpu.lost.then((info) => {
      if (!this.#closed) this.report("device/lost", `${info.reason ?? "unknown"}: ${info.message}`);
    });
  }

  /** Bytes of all buffers that are alive. */
  get allocatedBytes(): number {
    return this.#bytes;
  }

  /** Alignment of a part of a buffer that is bound. */
  get offsetAlignment(): number {
    return this.gpu.limits.minStorageBufferOffsetAlignment;
  }

  /** Remembers a failure of the device; the first one is kept. */
  report(code: string, message: string): void {
    this.#problem ??= new DeviceError(
      code,
      `Cannot go on with device "${this.profile.description}": ${firstLine(message)}`,
      {
        hint: code === "device/lost"
          ? "Close this engine and deploy again; a driver reset loses every buffer"
          : "Run with --debug for the whole message, or use --executor cpu",
        details: { message },
      },
    );
  }

  /** The device's own error behind an exception of its API, which Deno reports some time later. */
  async explain(error: unknown): Promise<unknown> {
    if (error instanceof MixlineError) return error;
    if (this.#closed) return closedDevice();
    for (let i = 0; i < 5 && !this.#problem; i++) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    return this.#problem ?? error;
  }

  /** Throws the first failure that the device reported, if any. */
  check(): void {
    if (this.#closed) throw closedDevice();
    if (this.#problem) throw this.#problem;
  }

  /**
   * A buffer that can be bound as storage, written and read; its size is rounded up to 16 bytes so
   * that kernels may view it as vectors. Raises a {@linkcode DeviceError} that names what did not fit.
   */
  async allocate(
    what: string,
    bytes: number,
    usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST,
    mapped = false,
  ): Promise<GPUBuffer> {
    this.check();
    const size = Math.max(16, Math.ceil(bytes / 16) * 16);
    if (size > this.profile.maxBufferBytes) {
      throw new DeviceError(
        "device/buffer-too-large",
        `Cannot allocate ${what}: expected at most ${this.profile.maxBufferBytes} bytes a buffer, got ${size}`,
        {
          hint:
            "Lower max_num_tokens or max_batch_size, whichever is larger, or max_seq_len, or use a device with larger buffers",
          details: { what, bytes: size, limit: this.profile.maxBufferBytes },
        },
      );
    }
    const kinds = ["out-of-memory", "validation"] as const;
    const { result: buffer, error } = await captureErrors(
      this.gpu,
      kinds,
      () => this.gpu.createBuffer({ size, usage, mappedAtCreation: mapped }),
    ).catch((thrown) => {
      // A buffer that is mapped at once has no other way to say so.
      throw thrown instanceof RangeError ? this.#outOfMemory(what, size, thrown.message) : thrown;
    });
    if (error) throw this.#outOfMemory(what, size, error.message);
    this.created.buffers++;
    this.#bytes += size;
    return buffer;
  }

  /** Raises a {@linkcode DeviceError} when a binding cannot have this many bytes. */
  requireBindable(what: string, bytes: number, hint: string): void {
    const limit = this.profile.maxBindingBytes;
    if (bytes <= limit) return;
    throw new DeviceError(
      "device/binding-too-large",
      `Cannot bind ${what}: expected at most ${limit} bytes, got ${bytes}`,
      { hint, details: { what, bytes, limit } },
    );
  }

  /** Gives a buffer back. */
  release(buffer: GPUBuffer): void {
    this.#bytes -= buffer.size;
    buffer.destroy();
  }

  /** Closes the device; buffers and programs on it are gone. */
  close(): void {
    this.#closed = true;
    this.gpu.destroy();
  }

  #outOfMemory(what: string, bytes: number, message: string): DeviceError {
    return new DeviceError(
      "device/out-of-memory",
      `Cannot allocate ${what}: expected room for ${bytes} bytes beside the ${this.#bytes} in use, got none`,
      {
        hint:
          "Lower max_seq_len, max_batch_size or max_num_tokens, or take a smaller or quantized model",
        details: { what, bytes, inUse: this.#bytes, message },
      },
    );
  }
}

function closedDevice(): DeviceError {
  return new DeviceError(
    "device/closed",
    "Cannot use the GPU: expected an open device, got a closed one",
  );
}

/** Opens the machine's GPU. Raises a {@linkcode DeviceError} when there is none. */
export async function openDevice(options: OpenDeviceOptions = {}): Promise<WebGpuDevice> {
  const provider = options.provider ?? webGpuProvider(options.webgpu);
  const adapter = await requestAdapter(provider, options);
  const listed = (["shader-f16", "timestamp-query"] as const)
    .filter((feature) => adapter.features.has(feature) && !options.without?.includes(feature));
  const wanted = options.without?.includes("subgroups")
    ? [listed]
    : provider.features(adapter).map((others) => [...listed, ...others]);
  const requiredLimits = requestedLimits(adapter, options.limits ?? {});
  const failures: string[] = [];
  for (const requiredFeatures of wanted) {
    // An adapter serves one request.
    const fresh = failures.length === 0 ? adapter : await requestAdapter(provider, options);
    try {
      const gpu = await fresh.requestDevice({ requiredFeatures, requiredLimits });
      return await describeDevice({ provider, adapter, gpu }, options);
    } catch (error) {
      failures.push(messageOf(error));
    }
  }
  throw new DeviceError(
    "device/refused",
    `Cannot open device "${provider.describe(adapter.info)}": ${
      firstLine(failures[failures.length - 1])
    }`,
    { hint: "Use --executor cpu, or update the graphics driver", details: { failures } },
  );
}

/** A device with its measured properties; one that has none of them is closed again. */
async function describeDevice(opened: Opened, { limits = {} }: OpenDeviceOptions) {
  try {
    return new WebGpuDevice(opened.gpu, await profileOf(opened, limits), opened.provider);
  } catch (error) {
    opened.gpu.destroy();
    throw error;
  }
}

/**
 * Name of the adapter that would be opened if it is a software one, which computes on the CPU; undefined
 * for a GPU. Raises a {@linkcode DeviceError} when there is none.
 */
export async function findSoftwareAdapter(
  options: OpenDeviceOptions = {},
): Promise<string | undefined> {
  const provider = options.provider ?? webGpuProvider(options.webgpu);
  const { info } = await requestAdapter(provider, options);
  const name = provider.describe(info);
  return isSoftware(info, name) ? name : undefined;
}

function isSoftware(info: GPUAdapterInfo, name: string): boolean {
  return info.isFallbackAdapter || /llvmpipe|lavapipe|swiftshader/i.test(name);
}

async function requestAdapter(
  provider: WebGpuProvider,
  options: OpenDeviceOptions,
): Promise<GPUAdapter> {
  const powerPreference = options.powerPreference ?? "high-performance";
  const adapter = await (await provider.open())?.requestAdapter({ powerPreference });
  const refusal = adapter
    ? provider.refuse(adapter)
    : { expected: "a WebGPU adapter", got: provider.label ? `none of ${provider.label}` : "none" };
  if (adapter && refusal === undefined) return adapter;
  throw new DeviceError(
    "device/no-adapter",
    `Cannot open a GPU: expected ${refusal?.expected}, got ${refusal?.got}`,
    {
      hint:
        "Install a Vulkan driver (Debian: apt-get install mesa-vulkan-drivers for a software one)",
    },
  );
}

function requestedLimits(
  adapter: GPUAdapter,
  own: Partial<Record<LimitName, number>>,
): Record<string, number> {
  const entries = LIMITS.map((name): [string, number] => {
    const most = adapter.limits[name];
    return [
      name,
      name.startsWith("min")
        ? Math.max(most, own[name] ?? most)
        : Math.min(most, own[name] ?? most),
    ];
  });
  return Object.fromEntries(entries);
}

async function profileOf(
  { provider, adapter, gpu }: Opened,
  own: Partial<Record<LimitName, number>>,
): Promise<DeviceProfile> {
  const { features } = gpu;
  const { info } = adapter;
  // A device never has less than WebGPU's defaults, so lower wishes are kept here.
  const limit = (name: LimitName) => Math.min(gpu.limits[name], own[name] ?? Infinity);
  const description = provider.describe(info);
  const subgroups = features.has("subgroups");
  const matrices = subgroups && features.has("shader-f16") ? provider.matrices(adapter) : [];
  return {
    vendor: info.vendor,
    architecture: info.architecture,
    description,
    key: description.replaceAll(/[^A-Za-z0-9.-]+/g, "_").replaceAll(/^_+|_+$/g, ""),
    software: isSoftware(info, description),
    subgroups,
    subgroupSize: subgroups ? await measureSubgroupSize(gpu, provider, info) : 1,
    shaderF16: features.has("shader-f16"),
    ...(matrices.length > 0 && { matrices }),
    timestamps: features.has("timestamp-query"),
    maxWorkgroupStorageBytes: limit("maxComputeWorkgroupStorageSize"),
    maxInvocations: limit("maxComputeInvocationsPerWorkgroup"),
    maxWorkgroupsPerDimension: limit("maxComputeWorkgroupsPerDimension"),
    // Whole words, and whole vectors: buffers are rounded up to these.
    maxBindingBytes: roundDown(limit("maxStorageBufferBindingSize"), 4),
    maxBufferBytes: roundDown(limit("maxBufferSize"), 16),
    maxStorageBuffers: limit("maxStorageBuffersPerShaderStage"),
  };
}

/** A device and where it comes from. */
interface Opened {
  readonly provider: WebGpuProvider;
  readonly adapter: GPUAdapter;
  readonly gpu: GPUDevice;
}

function roundDown(value: number, step: number): number {
  return value - value % step;
}

async function measureSubgroupSize(
  gpu: GPUDevice,
  provider: WebGpuProvider,
  info: GPUAdapterInfo,
): Promise<number> {
  const code = provider.shader(subgroupSizeShader);
  const module = gpu.createShaderModule({ code, label: "subgroup_size" });
  const pipeline = gpu.createComputePipeline({ layout: "auto", compute: { module } });
  const result = gpu.createBuffer({
    size: 16,
    usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC,
  });
  const host = gpu.createBuffer({
    size: 16,
    usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ,
  });
  const group = gpu.createBindGroup({
    layout: pipeline.getBindGroupLayout(0),
    entries: [{ binding: 0, resource: { buffer: result } }],
  });
  const encoder = gpu.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, group);
  pass.dispatchWorkgroups(1);
  pass.end();
  encoder.copyBufferToBuffer(result, 0, host, 0, 16);
  gpu.queue.submit([encoder.finish()]);
  await host.mapAsync(GPUMapMode.READ);
  const [size] = new Uint32Array(host.getMappedRange());
  host.unmap();
  result.destroy();
  host.destroy();
  // An adapter that computes nothing, for tests, measures nothing.
  return size || info.subgroupMinSize;
}

function firstLine(text: string): string {
  return text.split("\n", 1)[0].trim();
}
