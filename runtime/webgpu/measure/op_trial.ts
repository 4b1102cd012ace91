/**
 * One op on a device with random data, without a model: for benches of single kernels, and to search
 * their sizes.
 *
 * @module
 */

import {
  type CacheDtype,
  DTYPE_BYTES,
  Graph,
  GraphBuilder,
  invariant,
  type Value,
} from "../../../graph/mod.ts";
import {
  type Binding,
  type DeviceProfile,
  type Dispatch,
  KERNELS,
  type LoweringContext,
  type StepSizes,
  type TunedFiles,
} from "../../../kernels/mod.ts";
import type { WebGpuDevice } from "../device/device.ts";
import type { PipelineCache } from "../device/pipelines.ts";
import { Readback } from "../device/readback.ts";
import { lowerNode } from "../plan/lower.ts";
import { encodeWork, GpuStopwatch, type Work } from "./stopwatch.ts";

/** An op and its step. */
export interface OpCase {
  /** Adds the op to a graph; its output is the result of the node. */
  readonly build: (b: GraphBuilder) => Value;
  readonly sizes: StepSizes;
  /** Inputs that hold indices. */
  readonly integers?: Readonly<Record<string, Int32Array<ArrayBuffer>>>;
  /** Bytes of keys, and of values, of the op's cache. */
  readonly cacheBytes?: number;
  /** As which device it is lowered; as the one it runs on when absent. */
  readonly profile?: DeviceProfile;
  /** Numbers of the cache; f32 when absent. */
  readonly cacheDtype?: CacheDtype;
}

/** Dispatches of the op, bound for every set of weights. */
export interface PreparedOp {
  readonly rotations: readonly (readonly Work[])[];
  /** Bytes of weights that one run reads. */
  readonly weightBytes: number;
}

/** Bytes that weights must exceed so that no cache keeps them, and the most copies for that. */
const CACHE_BYTES = { gpu: 256 << 20, software: 32 << 20 };
const MOST_COPIES = 8;
/** What keys of scratch memory begin with. */
const SCRATCH = "scratch ";
/** Positions of a page. */
export const PAGE_SIZE = 16;

/** An op's memory, with several sets of weights; successive runs use successive sets. */
export class OpTrial {
  readonly #buffers: GPUBuffer[] = [];
  readonly #shared = new Map<string, GPUBuffer>();
  readonly #stopwatch: GpuStopwatch;
  readonly #graph = new Graph("trial");
  readonly #result: Value;
  #staging: GPUBuffer | undefined;

  private constructor(
    readonly device: WebGpuDevice,
    readonly pipelines: PipelineCache,
    readonly readback: Readback,
    readonly op: OpCase,
  ) {
    this.#stopwatch = new GpuStopwatch(device);
    this.#result = op.build(new GraphBuilder(this.#graph));
  }

  /** An op whose memory is allocated and filled as its dispatches ask for it. */
  static async open(
    device: WebGpuDevice,
    pipelines: PipelineCache,
    op: OpCase,
  ): Promise<OpTrial> {
    return new OpTrial(device, pipelines, await Readback.open(device), op);
  }

  /** Lowers the op, with measured sizes where `tuned` has them, and binds its dispatches. */
  async prepare(tuned?: TunedFiles): Promise<PreparedOp> {
    const { device, op: { sizes } } = this;
    const context = trialContext(this.op, device, tuned);
    const dispatches = this.#graph.nodes.flatMap((node) => lowerNode(node, KERNELS, context));
    const weightBytes = dispatches
      .reduce((sum, each) => sum + (each.weightBytes?.(sizes) ?? 0), 0);
    const cache = device.profile.software ? CACHE_BYTES.software : CACHE_BYTES.gpu;
    const copies = Math.min(MOST_COPIES, Math.ceil(cache / Math.max(1, weightBytes)));
    const rotations: Work[][] = [];
    for (let copy = 0; copy < copies; copy++) {
      rotations.push(await this.#bind(dispatches, copy));
    }
    return { rotations, weightBytes };
  }

  /** GPU seconds of one run, of several rounds through all sets of weights. */
  async measure({ rotations }: PreparedOp, rounds: number): Promise<number[]> {
    const samples: number[] = [];
    const list = rotations.flat();
    for (let round = 0; round <= rounds; round++) {
      const seconds = await this.#stopwatch.measure(list);
      if (round > 0) samples.push(seconds / rotations.length);
    }
    return samples;
  }

  /** Runs the op once and gives its result. */
  async run({ rotations }: PreparedOp, rotation: number): Promise<Float32Array> {
    const { gpu } = this.device;
    const result = await this.#buffer(this.#result, 0);
    if (!this.#staging) {
      this.#staging = await this.readback.staging(result.size);
      this.#buffers.push(this.#staging);
    }
    const encoder = gpu.createCommandEncoder();
    encodeWork(encoder, rotations[rotation % rotations.length]);
    encoder.copyBufferToBuffer(result, 0, this.#staging, 0, result.size);
    gpu.queue.submit([encoder.finish()]);
    return new Float32Array(await this.readback.read(this.#staging, result.size));
  }

  /**
   * The result of one run with the first set of weights. It and scratch memory are cleared in front:
   * else what a kernel leaves out would be what another left there.
   */
  async output(prepared: PreparedOp): Promise<Float32Array> {
    const { gpu } = this.device;
    const result = await this.#buffer(this.#result, 0);
    const encoder = gpu.createCommandEncoder();
    for (const [key, buffer] of this.#shared) {
      if (buffer === result || key.startsWith(SCRATCH)) encoder.clearBuffer(buffer);
    }
    gpu.queue.submit([encoder.finish()]);
    return await this.run(prepared, 0);
  }

  dispose(): void {
    this.#stopwatch.dispose();
    for (const buffer of this.#buffers) this.device.release(buffer);
  }

  async #bind(dispatches: readonly Dispatch[], copy: number): Promise<Work[]> {
    const works: Work[] = [];
    for (const dispatch of dispatches) {
      const workgroups = dispatch.workgroups(this.op.sizes);
      if (workgroups[0] * workgroups[1] * workgroups[2] === 0) continue;
      const { pipeline, layout } = await this.pipelines.get(dispatch);
      const entries: GPUBindGroupEntry[] = [];
      for (const [binding, { buffer, range }] of dispatch.bindings.entries()) {
        const bound = await this.#buffer(buffer, copy);
        const size = range?.bytes ?? bound.size;
        entries.push({ binding, resource: { buffer: bound, offset: range?.offset ?? 0, size } });
      }
      const bindGroup = this.device.gpu.createBindGroup({ layout, entries });
      works.push({ pipeline, bindGroup, workgroups });
    }
    return works;
  }

  async #buffer(memory: Binding["buffer"], copy: number): Promise<GPUBuffer> {
    const key = keyOf(memory, copy);
    const known = this.#shared.get(key);
    if (known) return known;
    const { STORAGE, UNIFORM, COPY_DST, COPY_SRC } = GPUBufferUsage;
    const usage = (memory.kind === "step" ? UNIFORM : STORAGE) | COPY_DST | COPY_SRC;
    const bytes = Math.ceil(this.#bytesOf(memory) / 16) * 16;
    const made = await this.device.allocate(key, bytes, usage);
    this.#buffers.push(made);
    this.#shared.set(key, made);
    this.#fill(made, memory);
    return made;
  }

  #bytesOf(memory: Binding["buffer"]): number {
    switch (memory.kind) {
      case "scratch":
        return memory.bytes;
      case "cache":
        invariant(this.op.cacheBytes, "an op with a cache says how large it is");
        return this.op.cacheBytes;
      case "step":
        return 16;
      case "state":
        return invariant(false, "an op of a graph has no state") as never;
      default:
        return memory.shape.reduce<number>(
          (product, dim) =>
            product * Number(typeof dim === "number" ? dim : Reflect.get(this.op.sizes, dim)),
          DTYPE_BYTES[memory.dtype],
        );
    }
  }

  #fill(buffer: GPUBuffer, memory: Binding["buffer"]): void {
    const { T, R, S, P } = this.op.sizes;
    const { queue } = this.device.gpu;
    if (memory.kind === "step") return queue.writeBuffer(buffer, 0, Uint32Array.of(T, R, S, P));
    if (memory.kind === "scratch" || memory.kind === "state") return;
    const integers = memory.kind === "cache" ? undefined : this.op.integers?.[memory.name];
    if (integers) return queue.writeBuffer(buffer, 0, integers);
    const { cacheDtype = "f32" } = this.op;
    const chunk = randomChunk(memory.kind === "cache" ? cacheDtype : memory.dtype, buffer.size);
    for (let offset = 0; offset < buffer.size; offset += chunk.byteLength) {
      queue.writeBuffer(buffer, offset, chunk, 0, Math.min(chunk.length, buffer.size - offset));
    }
  }
}

/** How an op is lowered for a trial. */
export function trialContext(
  { sizes: { T, R, S, P }, cacheDtype = "f32", profile }: Omit<OpCase, "build">,
  device: Pick<WebGpuDevice, "profile">,
  tuned?: TunedFiles,
): LoweringContext {
  return {
    profile: profile ?? device.profile,
    tokens: { min: T, max: T, ...(S === T && { single: true }) },
    maxRows: R,
    ...{ pageSize: PAGE_SIZE, maxSequences: S, maxSequenceTokens: PAGE_SIZE * P },
    ...(tuned && { tuned }),
    cacheDtype: () => cacheDtype,
    note() {},
  };
}

/** Weights are different in every set, everything else is shared. */
function keyOf(memory: Binding["buffer"], copy: number): string {
  switch (memory.kind) {
    case "scratch":
      return `${SCRATCH}${memory.name} ${memory.bytes}`;
    case "state":
      return `state ${memory.name}`;
    case "cache":
      return `cache ${memory.part}`;
    case "step":
      return "step sizes";
    default:
      return memory.kind === "weight"
        ? `weight ${memory.name} ${copy}`
        : `value ${memory.id} ${memory.name}`;
  }
}

/** Up to 4 MiB of numbers near zero in a plain format, none of them NaN. */
function randomChunk(dtype: Value["dtype"], bytes: number): Uint8Array<ArrayBuffer> {
  const words = new Uint32Array(Math.min(bytes, 4 << 20) / 4);
  let state = 9;
  for (let i = 0; i < words.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    // A sign, some of the fraction, and exponents near 2^-5.
    if (dtype === "bf16") words[i] = (state & 0x807f807f) | 0x3d003d00;
    else if (dtype === "f16") words[i] = (state & 0x83ff83ff) | 0x28002800;
    else if (dtype === "i32") words[i] = 0;
    // Of bytes without their second bit none is a NaN of E4M3.
    else if (DTYPE_BYTES[dtype] === 1) words[i] = state & 0xbfbfbfbf;
    else words[i] = (state & 0x807fffff) | 0x3d000000;
  }
  return new Uint8Array(words.buffer);
}
