/**
 * One MoE layer with random weights on a device, to time what a backend compiles for it. Weights
 * are one random chunk repeated on the device, so a 3 GB layer is ready in a second.
 *
 * @module
 */

import {
  DTYPE_BYTES,
  elementCount,
  type HostTensor,
  invariant,
  type Value,
  viewBytes,
} from "../../../graph/mod.ts";
import {
  type Binding,
  type CpuCall,
  type DeviceMoeSpec,
  type Dispatch,
  type MoeValues,
  runCpuKernel,
  type Scratch,
  type StepSizes,
  type WordOrder,
} from "../../../kernels/mod.ts";
import type { WebGpuDevice } from "../device/device.ts";
import {
  layerValues,
  randomRouting,
  randomSource,
  staticBytes,
  weightChunk,
} from "./moe_trial_data.ts";
import { PipelineCache } from "../device/pipelines.ts";
import { reorderWeights } from "../device/reorder.ts";
import type { Readback } from "../device/readback.ts";
import { encodeWork, GpuStopwatch, type Work } from "./stopwatch.ts";

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

/** Options of {@linkcode MoeTrial.create}. */
export interface MoeTrialOptions {
  /** Compiled pipelines to share with other trials on the device. */
  readonly pipelines?: PipelineCache;
  /** Weights are copied until they exceed this; default what no cache of the device holds. */
  readonly cacheBytes?: number;
  /** Of all numbers; default 7. */
  readonly seed?: number;
  /** What x is multiplied by; default 1. */
  readonly inputScale?: number;
  /** `crowded`: every token picks the same experts, the others are empty; default `spread`. */
  readonly routing?: "spread" | "crowded";
}

/** A layer to be timed; see {@linkcode MoeTrial.create}. */
export class MoeTrial {
  readonly #owned: GPUBuffer[] = [];
  /** What dispatches write: the output and their scratch memory. */
  readonly #written: GPUBuffer[] = [];
  readonly #fixed = new Map<string, GPUBuffer>();
  readonly #rotations: Rotation[] = [];
  /** The experts [tokens, topK] that each rotation chooses. */
  readonly choices: Int32Array[] = [];
  /** What was uploaded for the first rotation, by value: a buffer repeats its chunk. */
  readonly #chunks = new Map<number, Uint8Array<ArrayBuffer>>();
  readonly #orderedCopies = new Map<GPUBuffer, GPUBuffer>();
  readonly #pipelines: PipelineCache;
  readonly #stopwatch: GpuStopwatch;
  #staging: GPUBuffer | undefined;

  private constructor(
    readonly device: WebGpuDevice,
    readonly spec: DeviceMoeSpec,
    readonly values: MoeValues,
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
    options: MoeTrialOptions = {},
  ): Promise<MoeTrial> {
    const pipelines = options.pipelines ?? new PipelineCache(device);
    const trial = new MoeTrial(device, spec, layerValues(spec, tokens), tokens, pipelines);
    const cache = device.profile.software ? CACHE_BYTES.software : CACHE_BYTES.gpu;
    try {
      await trial.#fill({ cacheBytes: cache, ...options });
    } catch (error) {
      trial.dispose();
      throw error;
    }
    return trial;
  }

  /**
   * Compiles and binds dispatches; scratch memory is allocated as they ask for it. A function may give other
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

  /**
   * Runs the layer once and gives its output, [tokens, hidden], in one submit, as a program would:
   * what a wall clock may time.
   */
  async run(
    layer: PreparedLayer,
    readback: Readback,
    rotation = 0,
  ): Promise<Float32Array<ArrayBuffer>> {
    const { gpu } = this.device;
    const source = this.#fixed.get(`value ${this.values.output.id}`);
    invariant(source, "the layer has an output");
    if (!this.#staging) {
      this.#staging = await readback.staging(source.size);
      this.#owned.push(this.#staging);
    }
    const encoder = gpu.createCommandEncoder();
    encodeWork(encoder, layer.rotations[rotation % layer.rotations.length]);
    encoder.copyBufferToBuffer(source, 0, this.#staging, 0, source.size);
    gpu.queue.submit([encoder.finish()]);
    return new Float32Array(await readback.read(this.#staging, source.size));
  }

  /** Whether GPU times come from timestamp queries. */
  get clock(): string {
    return this.#stopwatch.clock;
  }

  /**
   * The layer's output after one run of a rotation, [tokens, hidden]; default the first one. What
   * dispatches write is cleared in front: else what one leaves out would be what another left there.
   */
  async output(layer: PreparedLayer, rotation = 0): Promise<Float32Array<ArrayBuffer>> {
    const { gpu } = this.device;
    const source = this.#fixed.get(`value ${this.values.output.id}`);
    invariant(source, "the layer has an output");
    const usage = GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ;
    const staging = gpu.createBuffer({ size: source.size, usage });
    const encoder = gpu.createCommandEncoder();
    for (const buffer of this.#written) encoder.clearBuffer(buffer);
    encodeWork(encoder, layer.rotations[rotation]);
    encoder.copyBufferToBuffer(source, 0, staging, 0, source.size);
    gpu.queue.submit([encoder.finish()]);
    await staging.mapAsync(GPUMapMode.READ);
    this.device.check();
    const result = new Float32Array(staging.getMappedRange().slice(0));
    staging.destroy();
    return result.subarray(0, this.tokens * this.spec.hidden);
  }

  /**
   * Output of the first token of the first rotation by the CPU, [1, hidden]: what
   * {@linkcode MoeTrial.output} must begin with.
   */
  reference(): Float32Array<ArrayBuffer> {
    return this.cpuLayer(1)();
  }

  /** The first rotation's layer for its first tokens on the CPU, inputs and weights in place. */
  cpuLayer(tokens: number): () => Float32Array<ArrayBuffer> {
    const { spec, values } = this;
    const ids = this.choices[0].subarray(0, tokens * spec.topK);
    const experts = [...new Set(ids)];
    const tensor = (value: Value, shape: readonly number[], offsets: readonly number[]) =>
      this.#hostTensor(value, shape, offsets);
    // Only the chosen experts, renumbered from 0.
    const chosen = (value: Value): HostTensor => {
      const [first, ...rest] = value.shape as number[];
      const matrices = first / spec.experts;
      const bytes = staticBytes(value) / spec.experts;
      return tensor(value, [matrices * experts.length, ...rest], experts.map((e) => e * bytes));
    };
    const rows = (value: Value) => tensor(value, [tokens, Number(value.shape[1])], [0]);
    const inputs: Record<string, HostTensor | undefined> = {
      x: rows(values.x),
      selected_experts: {
        dtype: "i32",
        shape: [tokens, spec.topK],
        data: ids.map((id) => experts.indexOf(id)),
      },
      routing_weights: rows(values.routingWeights),
      w_up: chosen(values.wUp),
      w_down: chosen(values.wDown),
      w_up_scale: values.wUpScales[0] && chosen(values.wUpScales[0]),
      w_up_scale_2: values.wUpScales[1] && chosen(values.wUpScales[1]),
      w_down_scale: values.wDownScales[0] && chosen(values.wDownScales[0]),
      w_down_scale_2: values.wDownScales[1] && chosen(values.wDownScales[1]),
      b_up: values.bUp && chosen(values.bUp),
      b_down: values.bDown && chosen(values.bDown),
      residual: values.residual && rows(values.residual),
    };
    const call: CpuCall<"fused_moe"> = {
      attrs: { ...spec, backend: "reference", experts: experts.length },
      bindings: { T: tokens },
      inputs: {
        get(name) {
          const found = inputs[name];
          invariant(found, `a MoE layer has no input "${name}"`);
          return found;
        },
        maybe: (name) => inputs[name],
        list: () => [],
      },
      cache: (name) => invariant(false, `a MoE layer has no cache "${name}"`) as never,
    };
    return () => runCpuKernel("fused_moe", call)[0].data as Float32Array<ArrayBuffer>;
  }

  /** Bytes of weights that the layer's experts must be read for, on average over the rotations. */
  get activeWeightBytes(): number {
    return this.#activeExperts * this.expertBytes;
  }

  /** Bytes of all weights and scales of one expert. */
  get expertBytes(): number {
    const { wUp, wDown, wUpScales, wDownScales } = this.values;
    const all = [wUp, wDown, ...wUpScales, ...wDownScales];
    return all.reduce((sum, value) => sum + staticBytes(value), 0) / this.spec.experts;
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

  /** A tensor of parts of equal size, each from its offset in the value's buffer. */
  #hostTensor(value: Value, shape: readonly number[], offsets: readonly number[]): HostTensor {
    const chunk = this.#chunks.get(value.id);
    invariant(chunk, `"${value.name}" was not uploaded`);
    const bytes = new Uint8Array(elementCount(shape) * DTYPE_BYTES[value.dtype]);
    const size = bytes.length / offsets.length;
    for (const [part, offset] of offsets.entries()) {
      for (let done = 0; done < size;) {
        const from = (offset + done) % chunk.length;
        const count = Math.min(chunk.length - from, size - done);
        bytes.set(chunk.subarray(from, from + count), part * size + done);
        done += count;
      }
    }
    return { dtype: value.dtype, shape, data: viewBytes(value.dtype, bytes) };
  }

  async #fill(options: MoeTrialOptions & { readonly cacheBytes: number }): Promise<void> {
    const { cacheBytes, seed = 7, inputScale = 1, routing: crowd = "spread" } = options;
    const { values, spec, device } = this;
    const random = randomSource(seed);
    const weightValues = [values.wUp, values.wDown, ...values.wUpScales, ...values.wDownScales];
    const layerBytes = this.expertBytes * spec.experts;
    const copies = Math.max(1, Math.min(ROUTING_SETS, Math.ceil(cacheBytes / layerBytes)));
    const weights: Map<number, GPUBuffer>[] = [];
    for (let copy = 0; copy < copies; copy++) {
      const buffers = new Map<number, GPUBuffer>();
      for (const value of weightValues) {
        buffers.set(value.id, await this.#upload(value, weightChunk(value, spec, random)));
      }
      weights.push(buffers);
    }
    const small = [values.x, values.bUp, values.bDown, values.residual].filter((value) => value);
    for (const value of small as Value[]) {
      const scale = value === values.x ? inputScale : 1;
      const data = Float32Array.from(
        { length: staticBytes(value) / 4 },
        () => (random() - 0.5) * scale,
      );
      this.#fixed.set(`value ${value.id}`, await this.#upload(value, new Uint8Array(data.buffer)));
    }
    const out = await this.#own("output", staticBytes(values.output));
    this.#written.push(out);
    this.#fixed.set(`value ${values.output.id}`, out);
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
      if (crowd === "crowded") ids.forEach((_, i) => ids[i] = ids[i % spec.topK]);
      this.choices.push(ids);
      routing.set(
        values.selectedExperts.id,
        await this.#upload(values.selectedExperts, new Uint8Array(ids.buffer)),
      );
      routing.set(
        values.routingWeights.id,
        await this.#upload(values.routingWeights, new Uint8Array(factors.buffer)),
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
    for (const [binding, { buffer, range, order }] of dispatch.bindings.entries()) {
      const bound = await this.#ordered(await this.#buffer(buffer, rotation), order);
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
      this.#written.push(made);
      this.#fixed.set(key, made);
      return made;
    }
    invariant(memory.kind !== "cache" && memory.kind !== "state", "a MoE layer has no such memory");
    const buffer = rotation.weights.get(memory.id) ?? rotation.routing.get(memory.id) ??
      this.#fixed.get(`value ${memory.id}`);
    invariant(buffer, `no memory for "${memory.name}"`);
    return buffer;
  }

  /** A weight in the order that a dispatch expects: a copy, as others may expect the checkpoint's. */
  async #ordered(buffer: GPUBuffer, order: WordOrder | undefined): Promise<GPUBuffer> {
    if (!order) return buffer;
    const known = this.#orderedCopies.get(buffer);
    if (known) return known;
    const copy = await this.#own("ordered weight", buffer.size);
    const { gpu } = this.device;
    const encoder = gpu.createCommandEncoder();
    encoder.copyBufferToBuffer(buffer, 0, copy, 0, buffer.size);
    gpu.queue.submit([encoder.finish()]);
    const ordered = { buffer: copy, order, bytes: buffer.size };
    await reorderWeights(this.device, this.#pipelines, [ordered]);
    this.#orderedCopies.set(buffer, copy);
    return copy;
  }

  async #own(what: string, bytes: number): Promise<GPUBuffer> {
    const buffer = await this.device.allocate(what, bytes);
    this.#owned.push(buffer);
    return buffer;
  }

  /** A buffer of the value's size filled with a chunk over and over. */
  async #upload(value: Value, chunk: Uint8Array<ArrayBuffer>): Promise<GPUBuffer> {
    const bytes = staticBytes(value);
    const buffer = await this.#own(value.name, bytes);
    if (!this.#chunks.has(value.id)) this.#chunks.set(value.id, chunk);
    for (let offset = 0; offset < bytes; offset += chunk.length) {
      const rest = Math.min(chunk.length, Math.ceil((bytes - offset) / 4) * 4);
      this.device.gpu.queue.writeBuffer(buffer, offset, chunk, 0, rest);
    }
    return buffer;
  }
}
