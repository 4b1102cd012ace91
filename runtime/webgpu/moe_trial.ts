/**
 * One MoE layer with random weights on a device, to time what a backend compiles for it. Weights
 * are made on the device's own terms: a random chunk repeated, so a 3 GB layer is ready in a second.
 *
 * @module
 */

import {
  type DType,
  DTYPE_BYTES,
  elementCount,
  invariant,
  isPacked,
  PACKED_LAYOUTS,
  packedShape,
  type Value,
  type WeightFormat,
} from "../../graph/mod.ts";
import type {
  Binding,
  DeviceMoeSpec,
  Dispatch,
  MoeSlots,
  Scratch,
  StepSizes,
} from "../../kernels/mod.ts";
import type { WebGpuDevice } from "./device.ts";
import { PipelineCache } from "./pipelines.ts";
import { GpuStopwatch, type Work } from "./stopwatch.ts";

/** Bytes that weights must exceed so that no cache keeps them from one run to the next. */
const CACHE_BYTES = { gpu: 256 << 20, software: 64 << 20 };

/** Choices of experts that runs rotate through. */
const ROUTING_SETS = 8;

/** Values of a layer that change from run to run. */
interface Rotation {
  readonly weights: ReadonlyMap<number, GPUBuffer>;
  readonly routing: ReadonlyMap<number, GPUBuffer>;
}

/** Dispatches of one layer, bound for every rotation. */
export interface PreparedLayer {
  readonly rotations: readonly (readonly Work[])[];
  /** Dispatches of one layer. */
  readonly dispatches: number;
}

/** A layer under trial; see {@linkcode MoeTrial.create}. */
export class MoeTrial {
  readonly #owned: GPUBuffer[] = [];
  readonly #fixed = new Map<string, GPUBuffer>();
  readonly #rotations: Rotation[] = [];
  /** The experts [tokens, topK] that each rotation chooses. */
  readonly choices: Int32Array[] = [];
  readonly #pipelines: PipelineCache;
  readonly #stopwatch: GpuStopwatch;

  private constructor(
    readonly device: WebGpuDevice,
    readonly spec: DeviceMoeSpec,
    readonly slots: MoeSlots,
    readonly tokens: number,
    pipelines: PipelineCache,
  ) {
    this.#pipelines = pipelines;
    this.#stopwatch = new GpuStopwatch(device);
  }

  /**
   * Allocates and fills a layer for steps of exactly `tokens` tokens. Each token picks `topK`
   * different experts at random; runs rotate through eight such choices and, for small layers,
   * through copies of the weights. Raises a `DeviceError` when the layer does not fit.
   */
  static async create(
    device: WebGpuDevice,
    spec: DeviceMoeSpec,
    tokens: number,
    pipelines = new PipelineCache(device),
  ): Promise<MoeTrial> {
    const trial = new MoeTrial(device, spec, layerSlots(spec, tokens), tokens, pipelines);
    try {
      await trial.#fill();
    } catch (error) {
      trial.dispose();
      throw error;
    }
    return trial;
  }

  /**
   * Compiles and binds dispatches; scratch memory is made as they ask. A function may give other
   * dispatches for each rotation, whose choice of experts is in {@linkcode MoeTrial.choices}.
   */
  async prepare(
    dispatches: readonly Dispatch[] | ((rotation: number) => readonly Dispatch[]),
  ): Promise<PreparedLayer> {
    const sizes: StepSizes = { T: this.tokens, R: 1, S: 1, P: 1 };
    const rotations: Work[][] = [];
    for (const [at, rotation] of this.#rotations.entries()) {
      const works: Work[] = [];
      for (const dispatch of typeof dispatches === "function" ? dispatches(at) : dispatches) {
        const work = await this.#bind(dispatch, rotation, sizes);
        if (work) works.push(work);
      }
      rotations.push(works);
    }
    return { rotations, dispatches: rotations[0].length };
  }

  /** Puts data where dispatches can bind it as scratch memory of that name. */
  async provide(name: string, data: Uint32Array<ArrayBuffer>): Promise<Scratch> {
    const buffer = await this.#own(name, data.byteLength);
    this.device.gpu.queue.writeBuffer(buffer, 0, data);
    this.#fixed.set(`scratch ${name}`, buffer);
    return { kind: "scratch", name, bytes: data.byteLength };
  }

  /** Median GPU seconds of one layer over `runs` passes through all rotations. */
  async seconds(layer: PreparedLayer, runs = 5): Promise<number> {
    const work = layer.rotations.flat();
    return (await this.#stopwatch.median(work, runs)) / layer.rotations.length;
  }

  /** Whether GPU times come from timestamp queries. */
  get clock(): string {
    return this.#stopwatch.clock;
  }

  /** The layer's output after one run of the first rotation, [tokens, hidden]. */
  async output(layer: PreparedLayer): Promise<Float32Array<ArrayBuffer>> {
    await this.#stopwatch.measure(layer.rotations[0]);
    const { gpu } = this.device;
    const source = this.#fixed.get(`value ${this.slots.output.id}`);
    invariant(source, "the layer has an output");
    const usage = GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ;
    const staging = gpu.createBuffer({ size: source.size, usage });
    const encoder = gpu.createCommandEncoder();
    encoder.copyBufferToBuffer(source, 0, staging, 0, source.size);
    gpu.queue.submit([encoder.finish()]);
    await staging.mapAsync(GPUMapMode.READ);
    const result = new Float32Array(staging.getMappedRange().slice(0));
    staging.destroy();
    return result.subarray(0, this.tokens * this.spec.hidden);
  }

  /** Bytes of weights that the layer's experts must be read for, on average over the rotations. */
  get activeWeightBytes(): number {
    return this.#activeExperts * this.expertBytes;
  }

  /** Bytes of all weights and scales of one expert. */
  get expertBytes(): number {
    const { wUp, wDown, wUpScales, wDownScales } = this.slots;
    const all = [wUp, wDown, ...wUpScales, ...wDownScales];
    return all.reduce((sum, value) => sum + bytesOf(value), 0) / this.spec.experts;
  }

  /** Floating-point operations of the layer's matrix products. */
  get flops(): number {
    const { hidden, intermediate, topK, mlp } = this.spec;
    return 2 * (mlp === "gated" ? 3 : 2) * this.tokens * topK * hidden * intermediate;
  }

  dispose(): void {
    for (const buffer of this.#owned) this.device.release(buffer);
    this.#stopwatch.dispose();
  }

  #activeExperts = 0;

  async #fill(): Promise<void> {
    const { slots, spec, device } = this;
    const random = randomSource(7);
    const weightValues = [slots.wUp, slots.wDown, ...slots.wUpScales, ...slots.wDownScales];
    const layerBytes = this.expertBytes * spec.experts;
    const cache = device.profile.software ? CACHE_BYTES.software : CACHE_BYTES.gpu;
    const copies = Math.max(1, Math.min(ROUTING_SETS, Math.ceil(cache / layerBytes)));
    const weights: Map<number, GPUBuffer>[] = [];
    for (let copy = 0; copy < copies; copy++) {
      const buffers = new Map<number, GPUBuffer>();
      for (const value of weightValues) {
        buffers.set(value.id, await this.#upload(value, weightChunk(value, spec, random)));
      }
      weights.push(buffers);
    }
    const small = [slots.x, slots.bUp, slots.bDown, slots.residual].filter((value) => value);
    for (const value of small as Value[]) {
      const data = Float32Array.from({ length: bytesOf(value) / 4 }, () => random() - 0.5);
      this.#fixed.set(`value ${value.id}`, await this.#upload(value, new Uint8Array(data.buffer)));
    }
    const out = await this.#own("output", bytesOf(slots.output));
    this.#fixed.set(`value ${slots.output.id}`, out);
    const step = await device.allocate(
      "step sizes",
      16,
      GPUBufferUsage.UNIFORM | GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST,
    );
    this.#owned.push(step);
    device.gpu.queue.writeBuffer(step, 0, Uint32Array.of(this.tokens, 1, 1, 1));
    this.#fixed.set("step", step);
    for (let set = 0; set < ROUTING_SETS; set++) {
      const routing = new Map<number, GPUBuffer>();
      const { ids, factors, experts } = randomRouting(spec, this.tokens, random);
      this.choices.push(ids);
      routing.set(
        slots.selectedExperts.id,
        await this.#upload(slots.selectedExperts, new Uint8Array(ids.buffer)),
      );
      routing.set(
        slots.routingWeights.id,
        await this.#upload(slots.routingWeights, new Uint8Array(factors.buffer)),
      );
      this.#activeExperts += experts / ROUTING_SETS;
      this.#rotations.push({ weights: weights[set % copies], routing });
    }
  }

  async #bind(
    dispatch: Dispatch,
    rotation: Rotation,
    sizes: StepSizes,
  ): Promise<Work | undefined> {
    const workgroups = dispatch.workgroups(sizes);
    if (workgroups[0] * workgroups[1] * workgroups[2] === 0) return undefined;
    const { pipeline, layout } = await this.#pipelines.get(dispatch);
    const entries = [];
    for (const [binding, { buffer, range }] of dispatch.bindings.entries()) {
      const bound = await this.#buffer(buffer, rotation);
      const size = range?.bytes ?? bound.size;
      entries.push({ binding, resource: { buffer: bound, offset: range?.offset ?? 0, size } });
    }
    return {
      pipeline,
      bindGroup: this.device.gpu.createBindGroup({ layout, entries }),
      workgroups,
    };
  }

  async #buffer(memory: Binding["buffer"], rotation: Rotation): Promise<GPUBuffer> {
    if (memory.kind === "step") return this.#fixed.get("step") as GPUBuffer;
    if (memory.kind === "scratch") {
      const key = `scratch ${memory.name}`;
      const known = this.#fixed.get(key);
      if (known && known.size >= memory.bytes) return known;
      const made = await this.#own(memory.name, memory.bytes);
      this.#fixed.set(key, made);
      return made;
    }
    invariant(memory.kind !== "cache" && memory.kind !== "state", "a MoE layer has no such memory");
    const buffer = rotation.weights.get(memory.id) ?? rotation.routing.get(memory.id) ??
      this.#fixed.get(`value ${memory.id}`);
    invariant(buffer, `no memory for "${memory.name}"`);
    return buffer;
  }

  async #own(what: string, bytes: number): Promise<GPUBuffer> {
    const buffer = await this.device.allocate(what, bytes);
    this.#owned.push(buffer);
    return buffer;
  }

  /** A buffer of the value's size filled with a chunk over and over. */
  async #upload(value: Value, chunk: Uint8Array<ArrayBuffer>): Promise<GPUBuffer> {
    const bytes = bytesOf(value);
    const buffer = await this.#own(value.name, bytes);
    for (let offset = 0; offset < bytes; offset += chunk.length) {
      const rest = Math.min(chunk.length, Math.ceil((bytes - offset) / 4) * 4);
      this.device.gpu.queue.writeBuffer(buffer, offset, chunk, 0, rest);
    }
    return buffer;
  }
}

/** Values of a layer, as a graph would have them. */
function layerSlots(spec: DeviceMoeSpec, tokens: number): MoeSlots {
  let id = 0;
  const value = (name: string, dtype: DType, shape: readonly number[], kind: Value["kind"]) =>
    ({ id: id++, name, kind, dtype, shape }) as Value;
  const { hidden, intermediate, experts, topK } = spec;
  const rows = intermediate * (spec.mlp === "gated" ? 2 : 1);
  const weight = (name: string, rowCount: number, columns: number, matrixRows: number) => {
    if (!isPacked(spec.format)) {
      return [value(name, plainDtype(spec.format), [experts, rowCount, columns], "weight")];
    }
    const layout = PACKED_LAYOUTS[spec.format];
    const shape = packedShape(spec.format, matrixRows, columns, spec.block);
    const matrices = (experts * rowCount) / matrixRows;
    const payload = [experts, rowCount, shape.payload[1]];
    return [
      value(name, layout.payloadDtype, payload, "weight"),
      value(`${name}_scale`, layout.scaleDtype, [matrices, ...shape.scale], "weight"),
      ...(layout.secondScale ? [value(`${name}_scale_2`, "f32", [matrices], "weight")] : []),
    ];
  };
  const [wUp, ...wUpScales] = weight("w_up", rows, hidden, intermediate);
  const [wDown, ...wDownScales] = weight("w_down", hidden, intermediate, hidden);
  return {
    x: value("x", "f32", [tokens, hidden], "input"),
    selectedExperts: value("selected_experts", "i32", [tokens, topK], "input"),
    routingWeights: value("routing_weights", "f32", [tokens, topK], "input"),
    wUp,
    wDown,
    wUpScales,
    wDownScales,
    ...(spec.biasUp && { bUp: value("b_up", "f32", [experts, rows], "weight") }),
    ...(spec.biasDown && { bDown: value("b_down", "f32", [experts, hidden], "weight") }),
    ...(spec.residual && { residual: value("residual", "f32", [tokens, hidden], "input") }),
    output: value("output", "f32", [tokens, hidden], "node"),
  };
}

function plainDtype(format: WeightFormat): DType {
  invariant(format === "f32" || format === "f16" || format === "bf16", `${format} is packed`);
  return format;
}

function bytesOf(value: Value): number {
  return elementCount(value.shape as number[]) * DTYPE_BYTES[value.dtype];
}

/** Up to 16 MiB of plausible data for a weight or its scales: magnitudes near 0.02, no NaN. */
function weightChunk(
  value: Value,
  spec: DeviceMoeSpec,
  random: () => number,
): Uint8Array<ArrayBuffer> {
  const elements = Math.min(elementCount(value.shape as number[]), (16 << 20) / 4);
  const bytes = Math.ceil((elements * DTYPE_BYTES[value.dtype]) / 4) * 4;
  const chunk = new Uint8Array(bytes);
  if (value.dtype === "f32") {
    const scale = value.name.includes("scale");
    const numbers = new Float32Array(chunk.buffer);
    for (let i = 0; i < numbers.length; i++) numbers[i] = scale ? 0.002 : (random() - 0.5) * 0.08;
    return chunk;
  }
  if (value.name.endsWith("_scale")) return chunk.fill(spec.format === "mxfp4" ? 121 : 0x38);
  const words = new Uint32Array(chunk.buffer);
  for (let i = 0; i < words.length; i++) {
    const bits = Math.floor(random() * 2 ** 32) >>> 0;
    // Halves: a sign and small exponents; FP8: no NaN codes; nibbles and int8: anything goes.
    if (value.dtype === "bf16") words[i] = (bits & 0x807f807f) | 0x3c003c00;
    else if (value.dtype === "f16") words[i] = (bits & 0x83ff83ff) | 0x24002400;
    else if (value.dtype === "f8_e4m3") words[i] = bits & 0xbfbfbfbf;
    else words[i] = bits;
  }
  return chunk;
}

/** `topK` different experts a token with weights that add up to 1, and how many are used at all. */
function randomRouting(spec: DeviceMoeSpec, tokens: number, random: () => number) {
  const { experts, topK } = spec;
  const ids = new Int32Array(tokens * topK);
  const factors = new Float32Array(tokens * topK);
  const order = Array.from({ length: experts }, (_, expert) => expert);
  const used = new Set<number>();
  for (let token = 0; token < tokens; token++) {
    let sum = 0;
    for (let slot = 0; slot < topK; slot++) {
      const pick = slot + Math.floor(random() * (experts - slot));
      [order[slot], order[pick]] = [order[pick], order[slot]];
      ids[token * topK + slot] = order[slot];
      used.add(order[slot]);
      sum += factors[token * topK + slot] = 0.1 + random();
    }
    for (let slot = 0; slot < topK; slot++) factors[token * topK + slot] /= sum;
  }
  return { ids, factors, experts: used.size };
}

/** A small generator of numbers in [0, 1), the same on every machine (mulberry32). */
function randomSource(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
