/**
 * One MoE layer, computed by every backend, by an unfused baseline and by the CPU. All have the same
 * weights and choices of experts and run alternately, so that what slows the machine down for a while
 * slows all of them.
 *
 * @module
 */

import { invariant, type WeightFormat } from "../graph/mod.ts";
import { pipeline } from "../dsl/mod.ts";
import { type DeviceMoeSpec, type Dispatch, moeBackends } from "../kernels/mod.ts";
import {
  GpuStopwatch,
  MoeTrial,
  type PipelineCache,
  type PreparedLayer,
  Readback,
  ResultCheck,
  TunedFolders,
  type WebGpuDevice,
} from "../runtime/mod.ts";
import { unfusedLayer } from "./baseline/baseline.ts";
import type { MoeShape } from "./shapes.ts";
import { summarize, type Summary } from "./statistics.ts";

/** A layer, its weights and the size of a step. */
export interface MoeCase {
  readonly shape: MoeShape;
  readonly format: WeightFormat;
  readonly tokens: number;
}

/** Times of one contestant. */
export interface ContestTime {
  /** A backend, `unfused` or `cpu`. */
  readonly name: string;
  /** Seconds of one layer; rounds are in the same order for all contestants. */
  readonly rounds: readonly number[];
  readonly seconds: Summary;
  /** Dispatches of one layer; 0 on the CPU. */
  readonly dispatches: number;
  /** Another contestant that runs exactly the same dispatches, whose times these are. */
  readonly sameAs?: string;
  /** What the backend chose, and the tuned row it took. */
  readonly notes: readonly string[];
}

/** A case with the times of all. */
export interface ContestResult {
  readonly shape: string;
  readonly format: WeightFormat;
  readonly tokens: number;
  readonly flops: number;
  /** Bytes of the weights of the experts in use, on average. */
  readonly activeWeightBytes: number;
  readonly times: readonly ContestTime[];
}

/** The contestants. */
export interface Contestant {
  readonly name: string;
  readonly layer: PreparedLayer;
  readonly sameAs?: string;
  readonly notes: readonly string[];
}

/** GPU seconds that one measurement may take before it is cut to fewer rotations. */
const MEASURED_SECONDS = { gpu: 0.05, software: 0.04 };

/** Operations above which a layer is not computed on the CPU: some seconds of JavaScript. */
const MOST_CPU_FLOPS = 4e8;

/** Largest difference to the CPU relative to the largest number: f32 sums in any order. */
const TOLERANCE = 1e-4;

const TUNED = new TunedFolders();

// Backends of plug-ins compete too: MIXLINE_PLUGINS names them.
pipeline.fromEnvironment();

/** Names of all contestants: `reference` is called `cpu`. */
export function contestantNames(): string[] {
  const backends = moeBackends().map(({ name }) => name).filter((name) => name !== "reference");
  return [...backends, "unfused", "cpu"];
}

/** Names of the backends that serve a layer; the reference is the contestant `cpu`. */
export function servingBackends(layer: MoeCase, device: WebGpuDevice): string[] {
  const spec = specOf(layer, device);
  return moeBackends()
    .filter((backend) => backend.name !== "reference" && backend.supports(spec) === undefined)
    .map(({ name }) => name);
}

/** A layer on a device with all its contestants ready. */
export class MoeContest {
  readonly #stopwatch: GpuStopwatch;

  private constructor(
    readonly layer: MoeCase,
    readonly trial: MoeTrial,
    readonly contestants: readonly Contestant[],
    readonly readback: Readback,
    /** The layer on the CPU, where that takes no more than seconds. */
    readonly cpu: (() => Float32Array) | undefined,
  ) {
    this.#stopwatch = new GpuStopwatch(trial.device);
  }

  /** Allocates the layer and compiles every contestant, or those that are named. */
  static async open(
    device: WebGpuDevice,
    layer: MoeCase,
    pipelines: PipelineCache,
    names?: readonly string[],
  ): Promise<MoeContest> {
    const spec = specOf(layer, device);
    const trial = await MoeTrial.create(device, spec, layer.tokens, { pipelines });
    try {
      const isWanted = (name: string) => names?.includes(name) ?? true;
      const contestants = await prepareAll(trial, layer, isWanted);
      await requireEqual(trial, contestants);
      const cpu = isWanted("cpu") && trial.flops <= MOST_CPU_FLOPS
        ? trial.cpuLayer(layer.tokens)
        : undefined;
      const readback = await Readback.open(device);
      return new MoeContest(layer, trial, contestants, readback, cpu);
    } catch (error) {
      trial.dispose();
      throw error;
    }
  }

  /** Computes the layer once from its inputs to numbers on the host. */
  async run({ layer }: Contestant, rotation: number): Promise<Float32Array> {
    return await this.trial.run(layer, this.readback, rotation);
  }

  /** GPU seconds of every contestant in each of `rounds` rounds. */
  async compare(rounds: number): Promise<ContestResult> {
    const runners = this.contestants.filter(({ sameAs }) => sameAs === undefined);
    const lists = new Map<string, readonly PreparedLayer["rotations"][]>();
    for (const { name, layer } of runners) lists.set(name, await this.#parts(layer));
    const samples = new Map(runners.map(({ name }) => [name, [] as number[]]));
    for (let round = 0; round < rounds; round++) {
      for (const { name } of runners) {
        const parts = lists.get(name) ?? [];
        const part = parts[round % parts.length];
        const seconds = await this.#stopwatch.measure(part.flat());
        samples.get(name)?.push(seconds / part.length);
      }
    }
    const times = this.contestants.map(({ name, layer, sameAs, notes }) =>
      timeOf(name, samples.get(sameAs ?? name) ?? [], layer.dispatches, notes, sameAs)
    );
    if (this.cpu) times.push(timeOf("cpu", this.#cpuSeconds(this.cpu), 0, []));
    const { flops, activeWeightBytes } = this.trial;
    const { shape, format, tokens } = this.layer;
    return { shape: shape.name, format, tokens, flops, activeWeightBytes, times };
  }

  dispose(): void {
    this.#stopwatch.dispose();
    this.trial.dispose();
  }

  /** The rotations in groups, each as long as a measurement should take; warms all of them up. */
  async #parts({ rotations }: PreparedLayer): Promise<readonly PreparedLayer["rotations"][]> {
    // Drivers finish compiling when a pipeline is first used.
    await this.#stopwatch.measure(rotations.flat());
    const once = await this.#stopwatch.measure(rotations[0]);
    const { software } = this.trial.device.profile;
    const most = software ? MEASURED_SECONDS.software : MEASURED_SECONDS.gpu;
    const size = Math.min(rotations.length, Math.max(1, Math.floor(most / once)));
    return Array.from(
      { length: Math.floor(rotations.length / size) },
      (_, i) => rotations.slice(i * size, (i + 1) * size),
    );
  }

  #cpuSeconds(cpu: () => Float32Array): number[] {
    const seconds: number[] = [];
    for (let run = 0; run < 3; run++) {
      const start = performance.now();
      consume(cpu());
      seconds.push((performance.now() - start) / 1000);
    }
    return seconds.slice(1);
  }
}

/** Sum of everything that was computed, so that no result is thrown away unseen. */
let consumed = 0;

/** Uses a result. */
export function consume(result: Float32Array): void {
  consumed += result[result.length >> 1];
  invariant(!Number.isNaN(consumed), "results are numbers");
}

function timeOf(
  name: string,
  rounds: readonly number[],
  dispatches: number,
  notes: readonly string[],
  sameAs?: string,
): ContestTime {
  const seconds = summarize(rounds);
  return { name, rounds, seconds, dispatches, notes, ...(sameAs && { sameAs }) };
}

async function prepareAll(
  trial: MoeTrial,
  { format }: MoeCase,
  isWanted: (name: string) => boolean,
): Promise<Contestant[]> {
  const contestants: Contestant[] = [];
  const texts = new Map<string, string>();
  // The automatic choice last: it usually runs what one of the others runs.
  const backends = moeBackends().filter(({ name }) => name !== "reference")
    .toSorted((a, b) => Number(a.name === "auto") - Number(b.name === "auto"));
  for (const backend of backends) {
    if (!isWanted(backend.name) || backend.supports(trial.spec) !== undefined) continue;
    const notes: string[] = [];
    const dispatches = backend.compile(trial.spec, trial.values, (text) => notes.push(text));
    const text = textOf(dispatches);
    const sameAs = texts.get(text);
    if (sameAs === undefined) texts.set(text, backend.name);
    const layer = await trial.prepare(dispatches);
    contestants.push({ name: backend.name, layer, notes, ...(sameAs && { sameAs }) });
  }
  if (format === "bf16" && isWanted("unfused")) {
    const layer = await trial.prepare(await unfusedLayer(trial));
    contestants.push({ name: "unfused", layer, notes: ["six dispatches for each expert in use"] });
  }
  return contestants;
}

/** A time counts only where the numbers of all tokens are right. */
async function requireEqual(trial: MoeTrial, contestants: readonly Contestant[]): Promise<void> {
  const check = new ResultCheck(trial.reference(), TOLERANCE);
  for (const { name, layer, sameAs } of contestants) {
    if (sameAs !== undefined) continue;
    const problem = check.refuse(await trial.output(layer), `"${name}"`);
    invariant(problem === undefined, `"${name}" computes "${trial.spec.scope}" wrong: ${problem}`);
  }
}

/** Equal for dispatches that do the same with the same memory. */
function textOf(dispatches: readonly Dispatch[]): string {
  return JSON.stringify(dispatches);
}

function specOf({ shape, format, tokens }: MoeCase, { profile }: WebGpuDevice): DeviceMoeSpec {
  return {
    scope: shape.name,
    tokens: { min: tokens, max: tokens },
    hidden: shape.hidden,
    intermediate: shape.intermediate,
    experts: shape.experts,
    topK: shape.topK,
    mlp: "gated",
    activation: shape.activation,
    alpha: 1.702,
    limit: 7,
    applyRoutingOnInput: false,
    format,
    ...(format === "fp8_block" && { block: [128, 128] as const }),
    activationQuant: "none",
    operands: "f32",
    biasUp: shape.bias,
    biasDown: shape.bias,
    residual: true,
    profile,
    tuned: TUNED,
  };
}
