/**
 * One op on a device with random data, without a model, for benches of single kernels.
 *
 * @module
 */

import {
  DTYPE_BYTES,
  Graph,
  GraphBuilder,
  invariant,
  type Node,
  type Value,
} from "../graph/mod.ts";
import { type Binding, type Dispatch, KERNELS, type StepSizes } from "../kernels/mod.ts";
import {
  encodeWork,
  GpuStopwatch,
  type PipelineCache,
  Readback,
  type WebGpuDevice,
  type Work,
} from "../runtime/mod.ts";
import { summarize, type Summary } from "./statistics.ts";

/** An op and its step. */
export interface OpCase {
  /** Adds the op to a graph; its output is the result of the node. */
  readonly build: (b: GraphBuilder) => Value;
  readonly sizes: StepSizes;
  /** Inputs that hold indices. */
  readonly integers?: Readonly<Record<string, Int32Array<ArrayBuffer>>>;
  /** Bytes of keys, and of values, of the op's cache. */
  readonly cacheBytes?: number;
}

/** What a measurement found. */
export interface OpTimes {
  /** GPU seconds of one run of the op. */
  readonly seconds: Summary;
  readonly dispatches: number;
  /** Bytes of weights that one run reads. */
  readonly weightBytes: number;
}

/** Bytes that weights must exceed so that no cache keeps them, and the most copies for that. */
const CACHE_BYTES = { gpu: 256 << 20, software: 32 << 20 };
const MOST_COPIES = 8;

/** An op ready to run with several sets of weights; successive runs use successive sets. */
export class OpTrial {
  readonly #buffers: GPUBuffer[] = [];
  readonly #shared = new Map<string, GPUBuffer>();
  readonly #rotations: Work[][] = [];
  readonly #stopwatch: GpuStopwatch;
  #result: GPUBuffer | undefined;
  #staging: GPUBuffer | undefined;

  private constructor(
    readonly device: WebGpuDevice,
    readonly readback: Readback,
    readonly op: OpCase,
    readonly dispatches: readonly Dispatch[],
  ) {
    this.#stopwatch = new GpuStopwatch(device);
  }

  /** Lowers the op, allocates and fills its memory, and binds it. */
  static async open(
    device: WebGpuDevice,
    pipelines: PipelineCache,
    op: OpCase,
  ): Promise<OpTrial> {
    const graph = new Graph("bench");
    const result = op.build(new GraphBuilder(graph));
    const dispatches = graph.nodes.flatMap((node) => lowerNode(node, op.sizes, device));
    const trial = new OpTrial(device, await Readback.open(device), op, dispatches);
    await trial.#bind(pipelines, result);
    return trial;
  }

  /** Bytes of weights that one run reads. */
  get weightBytes(): number {
    const { sizes } = this.op;
    return this.dispatches.reduce((sum, each) => sum + (each.weightBytes?.(sizes) ?? 0), 0);
  }

  /** GPU seconds over several rounds through all sets of weights. */
  async measure(rounds: number): Promise<OpTimes> {
    const samples: number[] = [];
    const list = this.#rotations.flat();
    for (let round = 0; round <= rounds; round++) {
      const seconds = await this.#stopwatch.measure(list);
      if (round > 0) samples.push(seconds / this.#rotations.length);
    }
    return {
      seconds: summarize(samples),
      dispatches: this.#rotations[0].length,
      weightBytes: this.weightBytes,
    };
  }

  /** Runs the op once and gives its result. */
  async run(rotation: number): Promise<Float32Array> {
    const { gpu } = this.device;
    invariant(this.#result && this.#staging, "the op is bound");
    const encoder = gpu.createCommandEncoder();
    encodeWork(encoder, this.#rotations[rotation % this.#rotations.length]);
    encoder.copyBufferToBuffer(this.#result, 0, this.#staging, 0, this.#result.size);
    gpu.queue.submit([encoder.finish()]);
    return new Float32Array(await this.readback.read(this.#staging, this.#result.size));
  }

  dispose(): void {
    this.#stopwatch.dispose();
    for (const buffer of this.#buffers) this.device.release(buffer);
  }

  async #bind(pipelines: PipelineCache, result: Value): Promise<void> {
    const { device, op: { sizes } } = this;
    const cache = device.profile.software ? CACHE_BYTES.software : CACHE_BYTES.gpu;
    const copies = Math.ceil(cache / Math.max(1, this.weightBytes));
    for (let copy = 0; copy < Math.min(MOST_COPIES, copies); copy++) {
      const works: Work[] = [];
      for (const dispatch of this.dispatches) {
        const workgroups = dispatch.workgroups(sizes);
        if (workgroups[0] * workgroups[1] * workgroups[2] === 0) continue;
        const { pipeline, layout } = await pipelines.get(dispatch);
        const entries: GPUBindGroupEntry[] = [];
        for (const [binding, { buffer, range }] of dispatch.bindings.entries()) {
          const bound = await this.#buffer(buffer, copy);
          const size = range?.bytes ?? bound.size;
          entries.push({ binding, resource: { buffer: bound, offset: range?.offset ?? 0, size } });
        }
        const bindGroup = device.gpu.createBindGroup({ layout, entries });
        works.push({ pipeline, bindGroup, workgroups });
      }
      this.#rotations.push(works);
    }
    this.#result = await this.#buffer(result, 0);
    this.#staging = await this.readback.staging(this.#result.size);
    this.#buffers.push(this.#staging);
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
    const chunk = randomChunk(memory.kind === "cache" ? "f32" : memory.dtype, buffer.size);
    for (let offset = 0; offset < buffer.size; offset += chunk.byteLength) {
      queue.writeBuffer(buffer, offset, chunk, 0, Math.min(chunk.length, buffer.size - offset));
    }
  }
}

function lowerNode(node: Node, sizes: StepSizes, { profile }: WebGpuDevice): readonly Dispatch[] {
  const context = {
    profile,
    tokens: { min: sizes.T, max: sizes.T },
    maxRows: sizes.R,
    ...{ pageSize: 16, maxSequences: sizes.S, maxSequenceTokens: 16 * sizes.P },
    cacheDtype: () => "f32" as const,
    note() {},
  };
  const kernel = KERNELS.find((each) =>
    each.op === node.op && each.refuse(node, context) === undefined
  );
  invariant(kernel, `a kernel serves "${node.op}"`);
  return kernel.lower(node, context);
}

/** Weights are different in every set, everything else is shared. */
function keyOf(memory: Binding["buffer"], copy: number): string {
  switch (memory.kind) {
    case "scratch":
    case "state":
      return `${memory.kind} ${memory.name}`;
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
    else words[i] = (state & 0x807fffff) | 0x3d000000;
  }
  return new Uint8Array(words.buffer);
}
