/**
 * All GPU memory of a program: weights, caches, inputs, the pool of activations, tickets, staging.
 *
 * @module
 */

import { type CacheSpec, type GraphSnapshot, invariant, type Value } from "../../graph/mod.ts";
import type { StepSizes } from "../../kernels/mod.ts";
import type { CompileOptions } from "../executor.ts";
import { cacheBytes } from "../scheduling/kv_cache.ts";
import {
  type BufferPlan,
  type Lifetime,
  planBuffers,
  poolIndices,
  poolSizes,
} from "./plan/buffer_plan.ts";
import type { BufferLookup } from "./device/command_list.ts";
import type { WebGpuDevice } from "./device/device.ts";
import {
  type LoweredDispatch,
  type LoweredGraph,
  type Resource,
  valueBytes,
} from "./plan/lower.ts";
import { stagingBuffer } from "./device/readback.ts";
import type { DeviceWeights } from "./weights.ts";

/**
 * Bytes of each buffer that outlives steps, by name: a row for each slot, such as the tokens it has seen.
 * A recurrent layer's state would be one of them (docs/architecture.md).
 */
export type StateBytes = Readonly<Record<string, number>>;

/** Buffers of a program by what they hold. */
export class ProgramMemory {
  readonly #owned: GPUBuffer[] = [];
  readonly #inputs = new Map<number, GPUBuffer>();
  readonly #caches = new Map<string, GPUBuffer>();
  readonly #states = new Map<string, GPUBuffer>();
  readonly #pool: GPUBuffer[] = [];
  readonly #tickets: GPUBuffer[] = [];
  readonly #plans = new Map<LoweredGraph, BufferPlan>();
  #step: GPUBuffer | undefined;
  #staging: GPUBuffer | undefined;
  #disposed = false;

  private constructor(
    readonly device: WebGpuDevice,
    readonly weights: DeviceWeights,
  ) {}

  /** Allocates everything else, for the largest step. The weights are released with the rest. */
  static async create(
    device: WebGpuDevice,
    parts: Pick<GraphSnapshot, "inputs" | "caches">,
    lowered: readonly LoweredGraph[],
    weights: DeviceWeights,
    options: Pick<CompileOptions, "pages"> & { readonly states: StateBytes },
  ): Promise<ProgramMemory> {
    const memory = new ProgramMemory(device, weights);
    try {
      await memory.#allocateCaches(parts.caches, options.pages);
      await memory.#allocateInputs(parts.inputs, lowered);
      for (const [name, bytes] of Object.entries(options.states)) {
        memory.#states.set(name, memory.#own(await device.allocate(`state "${name}"`, bytes)));
      }
      await memory.#allocatePool(lowered);
      const usage = GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST | GPUBufferUsage.STORAGE;
      memory.#step = memory.#own(await device.allocate("step sizes", 16, usage));
    } catch (error) {
      memory.dispose();
      throw error;
    }
    return memory;
  }

  get report(): Record<string, unknown> {
    const sum = (buffers: Iterable<GPUBuffer>) => [...buffers].reduce((n, { size }) => n + size, 0);
    return {
      bytes: {
        weights: this.weights.bytes,
        caches: sum(this.#caches.values()),
        activations: sum(this.#pool),
        inputs: sum(this.#inputs.values()),
        total: this.device.allocatedBytes,
      },
      buffers: { weights: this.weights.count, activations: this.#pool.length },
    };
  }

  /** Plans the memory of other lists in place of those before, which are used no more. */
  async planAnew(lowered: readonly LoweredGraph[]): Promise<void> {
    for (const buffer of this.#pool.splice(0)) this.#release(buffer);
    for (const buffer of this.#tickets.splice(0)) this.#release(buffer);
    this.#plans.clear();
    await this.#allocatePool(lowered);
  }

  /** Finds the buffers of one lowered list; makes its tickets. */
  async lookup(lowered: LoweredGraph): Promise<BufferLookup> {
    const plan = this.#plans.get(lowered);
    invariant(plan, "a list that the program's memory was not planned for");
    const indices = poolIndices(plan);
    const tickets = await this.#allocateTickets(lowered);
    return (resource) => {
      const buffer = this.#shared(resource) ?? tickets.get(resource.key) ??
        this.#pool[indices[plan.bufferOf.get(resource.key) ?? -1]];
      invariant(buffer, `no memory was planned for ${resource.name}`);
      return buffer;
    };
  }

  /** A buffer that outlives steps, by its name. */
  state(name: string): GPUBuffer {
    const buffer = this.#states.get(name);
    invariant(buffer, `no state "${name}" was allocated`);
    return buffer;
  }

  /** Makes a state at least so large; true when it is a new buffer, without content. */
  async growState(name: string, bytes: number): Promise<boolean> {
    const old = this.#states.get(name);
    if (old && old.size >= bytes) return false;
    const size = this.#grownSize(bytes);
    this.#states.set(name, this.#own(await this.device.allocate(`state "${name}"`, size)));
    if (old) this.#release(old);
    return true;
  }

  /** Number of the buffer of an activation or scratch of a list, else the resource's own name. */
  bufferNumber(lowered: LoweredGraph): (key: string) => number | string {
    const plan = this.#plans.get(lowered);
    return (key) => plan?.bufferOf.get(key) ?? key;
  }

  writeInput(value: Value, data: ArrayBufferView<ArrayBuffer>): void {
    const buffer = this.#inputs.get(value.id);
    invariant(buffer, `input "${value.name}" has no buffer`);
    this.device.gpu.queue.writeBuffer(buffer, 0, data.buffer, data.byteOffset, data.byteLength);
  }

  writeStep({ T, R, S, P }: StepSizes): void {
    invariant(this.#step, "the step sizes have no buffer");
    this.device.gpu.queue.writeBuffer(this.#step, 0, Uint32Array.of(T, R, S, P));
  }

  /** A staging buffer of at least this size, until the next call; it grows by doubling. */
  async staging(bytes: number): Promise<GPUBuffer> {
    const known = this.#staging;
    if (known && known.size >= bytes) return known;
    // Forgotten before it is released: what follows may find no memory.
    this.#staging = undefined;
    if (known) this.#release(known);
    this.#staging = await this.ownStaging(this.#grownSize(bytes));
    return this.#staging;
  }

  /** A staging buffer that stays as long as the program. */
  async ownStaging(bytes: number): Promise<GPUBuffer> {
    return this.#own(await stagingBuffer(this.device, bytes));
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    for (const buffer of this.#owned) this.device.release(buffer);
    this.weights.release();
  }

  #shared(resource: Resource): GPUBuffer | undefined {
    switch (resource.kind) {
      case "weight":
        return resource.value && this.weights.buffer(resource.value);
      case "input":
        return this.#inputs.get(resource.value?.id ?? -1);
      case "cache":
        return this.#caches.get(resource.key);
      case "step":
        return this.#step;
      case "state":
        return this.#states.get(resource.name);
      default:
        return undefined;
    }
  }

  async #allocateCaches(caches: readonly CacheSpec[], pages: number): Promise<void> {
    for (const cache of caches) {
      const { name } = cache;
      for (const part of ["keys", "values"] as const) {
        const bytes = cacheBytes(cache, pages, part);
        if (bytes === 0) continue;
        const what = `${part} of cache "${name}"`;
        this.device.requireBindable(what, bytes, "Lower max_seq_len or max_batch_size");
        const buffer = this.#own(await this.device.allocate(what, bytes));
        this.#caches.set(`cache ${name} ${part}`, buffer);
      }
    }
  }

  async #allocateInputs(inputs: readonly Value[], lowered: readonly LoweredGraph[]): Promise<void> {
    const largest = lowered.reduce((a, b) => (a.tokens.max >= b.tokens.max ? a : b));
    for (const value of inputs) {
      const bytes = valueBytes(value, largest.sizes);
      this.#inputs.set(
        value.id,
        this.#own(await this.device.allocate(`input "${value.name}"`, bytes)),
      );
    }
  }

  async #allocatePool(lowered: readonly LoweredGraph[]): Promise<void> {
    for (const each of lowered) this.#plans.set(each, planBuffers(lifetimes(each)));
    for (const bytes of poolSizes([...this.#plans.values()])) {
      this.#pool.push(this.#own(await this.device.allocate("activations of a step", bytes)));
    }
  }

  /** WebGPU fills new buffers with zeros, the start value of tickets. */
  async #allocateTickets(lowered: LoweredGraph): Promise<ReadonlyMap<string, GPUBuffer>> {
    const tickets = new Map<string, GPUBuffer>();
    for (const { resources } of [...lowered.dispatches, ...lowered.sampling]) {
      for (const { kind, key, name, bytes } of resources) {
        if (kind !== "tickets" || tickets.has(key)) continue;
        const buffer = this.#own(await this.device.allocate(`tickets ${name}`, bytes));
        this.#tickets.push(buffer);
        tickets.set(key, buffer);
      }
    }
    return tickets;
  }

  /** A size to which a buffer grows that has to hold so many bytes: seldom the next one will not fit. */
  #grownSize(bytes: number): number {
    const doubled = Math.max(256, 2 ** Math.ceil(Math.log2(bytes)));
    return Math.max(bytes, Math.min(doubled, this.device.profile.maxBufferBytes));
  }

  #own(buffer: GPUBuffer): GPUBuffer {
    this.#owned.push(buffer);
    return buffer;
  }

  #release(buffer: GPUBuffer): void {
    this.#owned.splice(this.#owned.indexOf(buffer), 1);
    this.device.release(buffer);
  }
}

/**
 * When each activation and scratch buffer of a list is in use, by levels: dispatches of one level
 * share no buffer, or they would wait for each other.
 */
export function lifetimes(lowered: LoweredGraph): Lifetime[] {
  const uses = new Map<string, { key: string; bytes: number; first: number; last: number }>();
  const touch = ({ kind, key, bytes }: Resource, at: number) => {
    if (kind !== "activation" && kind !== "scratch") return;
    const use = uses.get(key);
    if (!use) uses.set(key, { key, bytes, first: at, last: at });
    else {
      use.last = at;
      use.bytes = Math.max(use.bytes, bytes);
    }
  };
  const levelsOf = (list: readonly LoweredDispatch[]) =>
    1 + Math.max(-1, ...list.map(({ level }) => level));
  const sampling = levelsOf(lowered.dispatches);
  const end = sampling + levelsOf(lowered.sampling);
  for (const { resources, level } of lowered.dispatches) {
    for (const resource of resources) touch(resource, level);
  }
  for (const { resources, level } of lowered.sampling) {
    for (const resource of resources) touch(resource, sampling + level);
  }
  for (const resource of lowered.outputs.values()) touch(resource, end);
  return [...uses.values()];
}
