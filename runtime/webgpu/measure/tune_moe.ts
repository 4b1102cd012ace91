/**
 * Searches the configurations of one MoE layer for one number of tokens. A candidate is first asked
 * whether the device can run it, then compiled, then compared with the CPU and with the heuristic's
 * result, then timed; the two products of a layer are searched one after the other, because they do
 * not influence each other.
 *
 * @module
 */

import { DeviceError, KernelError } from "../../../graph/mod.ts";
import {
  autoConfig,
  type DeviceMoeSpec,
  lowerConfig,
  moeCandidates,
  type MoeConfig,
  refuseLayer,
} from "../../../kernels/mod.ts";
import type { WebGpuDevice } from "../device/device.ts";
import { MoeTrial, type PreparedLayer } from "./moe_trial.ts";
import { ResultCheck } from "./result_check.ts";

/**
 * Largest difference of two results, relative to the largest number: f32 sums in any order, of
 * operands that f16 may have rounded.
 */
const TOLERANCE = { f32: 1e-4, f16: 2e-3, auto: 2e-3 };
/** Of rows that are rounded to E4M3: a sum in another order may be rounded to the other neighbour. */
const TOLERANCE_E4M3 = 1e-2;

/** Passes over all rotations when a candidate is tried, and when the best ones are compared. */
const RUNS = { trial: 2, final: 5 };

/** Configurations of each algorithm that go into the last comparison. */
const FINALISTS = 3;

/** A configuration and its time. */
export interface MeasuredConfig {
  readonly config: MoeConfig;
  /** GPU seconds of one layer. */
  readonly seconds: number;
}

/** What a search found for one number of tokens. */
export interface TunedTokens {
  readonly tokens: number;
  /** The best configuration of every algorithm, the best of all first. */
  readonly best: readonly MeasuredConfig[];
  /** What runs without a table, measured in the same comparison. */
  readonly heuristic: MeasuredConfig;
  readonly measured: number;
  /** Candidates that did not compile, or whose results were wrong; each with the reason. */
  readonly failures: readonly string[];
  /** Fractions of the ceilings, for reports. */
  readonly activeWeightBytes: number;
  readonly flops: number;
}

/** The progress of a search. */
export interface TuneProgress {
  readonly tokens: number;
  readonly done: number;
  readonly total: number;
  readonly bestSeconds: number | undefined;
}

/** Options of {@linkcode tuneMoeLayer}. */
export interface TuneOptions {
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: TuneProgress) => void;
  /** Most candidates of a round, those nearest to the heuristic first; default all. */
  readonly candidates?: number;
  /**
   * What configurations become; for tests with wrong kernels.
   *
   * @internal
   */
  readonly lower?: typeof lowerConfig;
}

/**
 * Finds the best configurations for steps of exactly `tokens` tokens. Raises the signal's reason
 * when aborted, a {@linkcode KernelError} when no kernel serves the layer on this device, a
 * {@linkcode DeviceError} when it does not fit or nothing can run it.
 */
export async function tuneMoeLayer(
  device: WebGpuDevice,
  layer: DeviceMoeSpec,
  tokens: number,
  options: TuneOptions = {},
): Promise<TunedTokens> {
  const spec = { ...layer, tokens: { min: tokens, max: tokens } };
  const reason = refuseLayer(spec);
  if (reason !== undefined) throw refusedLayer(spec.scope, reason);
  const trial = await MoeTrial.create(device, spec, tokens);
  try {
    return await new Search(trial, spec, options).run();
  } finally {
    trial.dispose();
  }
}

function refusedLayer(scope: string, reason: string): KernelError {
  return new KernelError(
    "kernel/refused",
    `Cannot tune "${scope}" on this device: expected a layer that it can run, got one that it refuses (${reason})`,
    { hint: "Tune the layer with other operands, or on another device", details: { reason } },
  );
}

/** One search; keeps what it measured by configuration. */
class Search {
  readonly #times = new Map<string, MeasuredConfig>();
  readonly #failures: string[] = [];
  readonly #check: ResultCheck;
  #done = 0;
  #total = 0;

  constructor(
    readonly trial: MoeTrial,
    readonly spec: DeviceMoeSpec,
    readonly options: TuneOptions,
  ) {
    const { activationQuant, operands } = spec;
    const tolerance = activationQuant === "none" ? TOLERANCE[operands] : TOLERANCE_E4M3;
    this.#check = new ResultCheck(trial.reference(), tolerance);
  }

  async run(): Promise<TunedTokens> {
    const { trial, spec } = this;
    const heuristic = autoConfig(spec, () => {}).config;
    const most = this.options.candidates;
    const first = moeCandidates(spec).slice(0, most);
    await this.#tryAll([heuristic, ...first]);
    const leaders = this.#bestOfEach(1).slice(0, 2);
    for (const { config } of leaders) {
      await this.#tryAll(moeCandidates(spec, config).slice(0, most));
    }
    const finalists = this.#bestOfEach(FINALISTS).map(({ config }) => config);
    if (finalists.length === 0) throw this.#nothingRan();
    const compared = await this.#compare([heuristic, ...finalists]);
    const best = [...Map.groupBy(compared, ({ config }) => config.algorithm).values()]
      .map((list) => list.toSorted(bySeconds)[0])
      .sort(bySeconds);
    return {
      tokens: trial.tokens,
      best,
      heuristic: compared[0],
      measured: this.#times.size,
      failures: this.#failures,
      activeWeightBytes: trial.activeWeightBytes,
      flops: trial.flops,
    };
  }

  /**
   * Compiles and checks candidates, then times those that are right. Not one by one: a device that
   * waits for a compiler lowers its clock, and the next measurement would be too slow.
   */
  async #tryAll(candidates: readonly MoeConfig[]): Promise<void> {
    const fresh = candidates.filter((config) => !this.#times.has(JSON.stringify(config)));
    this.#total += fresh.length;
    const right: { readonly config: MoeConfig; readonly layer: PreparedLayer }[] = [];
    for (const config of fresh) {
      this.options.signal?.throwIfAborted();
      const layer = await this.#prepare(config);
      if (layer) right.push({ config, layer });
      this.#done++;
      this.#report();
    }
    for (let round = 0; round < RUNS.trial; round++) {
      for (const { config, layer } of right) {
        this.options.signal?.throwIfAborted();
        const seconds = await this.trial.seconds(layer, 1);
        const key = JSON.stringify(config);
        const before = this.#times.get(key)?.seconds ?? Infinity;
        this.#times.set(key, { config, seconds: Math.min(before, seconds) });
      }
    }
  }

  #report(): void {
    const [best] = [...this.#times.values()].sort(bySeconds);
    this.options.onProgress?.({
      tokens: this.trial.tokens,
      done: this.#done,
      total: this.#total,
      bestSeconds: best?.seconds,
    });
  }

  /** A candidate whose results are right; a failure is recorded, not raised. */
  async #prepare(config: MoeConfig): Promise<PreparedLayer | undefined> {
    const name = JSON.stringify(config);
    try {
      const layer = await this.#lower(config);
      const reason = this.#check.refuse(await this.trial.output(layer), name);
      if (reason === undefined) return layer;
      this.#failures.push(`${name}: ${reason}`);
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
      this.#failures.push(`${name}: ${error.message}`);
    }
    return undefined;
  }

  #lower(config: MoeConfig): Promise<PreparedLayer> {
    const { spec, trial, options: { lower = lowerConfig } } = this;
    return trial.prepare(lower(spec, trial.values, config));
  }

  /** Medians of configurations that run alternately, so that what slows one down slows all of them. */
  async #compare(configs: readonly MoeConfig[]): Promise<MeasuredConfig[]> {
    const different = [...new Map(configs.map((each) => [JSON.stringify(each), each])).values()];
    const layers = [];
    for (const config of different) layers.push(await this.#lower(config));
    const rounds: number[][] = different.map(() => []);
    for (let round = 0; round < RUNS.final; round++) {
      for (const [i, layer] of layers.entries()) {
        this.options.signal?.throwIfAborted();
        rounds[i].push(await this.trial.seconds(layer, 1));
      }
    }
    return different.map((config, i) => ({
      config,
      seconds: rounds[i].toSorted((a, b) => a - b)[RUNS.final >> 1],
    }));
  }

  #bestOfEach(count: number): MeasuredConfig[] {
    return [...Map.groupBy(this.#times.values(), ({ config }) => config.algorithm).values()]
      .flatMap((list) => list.toSorted(bySeconds).slice(0, count))
      .sort(bySeconds);
  }

  #nothingRan(): DeviceError {
    return new DeviceError(
      "device/no-configuration",
      `Cannot tune "${this.spec.scope}" for ${this.trial.tokens} tokens: expected a configuration that runs, got ${this.#failures.length} failures`,
      {
        hint: "See the failures with --json, and report them with the device's name",
        details: { failures: this.#failures },
      },
    );
  }
}

function bySeconds(a: MeasuredConfig, b: MeasuredConfig): number {
  return a.seconds - b.seconds;
}
