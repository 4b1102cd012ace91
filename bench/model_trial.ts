/**
 * A whole model from its folder to its tokens: what a user of `pipeline().deploy()` gets, and where a token's
 * time goes.
 *
 * @module
 */

import { pipeline } from "../dsl/mod.ts";
import { DeviceError, messageOf } from "../graph/mod.ts";
import { differentIds, type DispatchTiming, type Engine } from "../runtime/mod.ts";
import type { ModelSizes } from "./model_sizes.ts";
import {
  type ModelChoice,
  type ModelPlan,
  type ModelResult,
  modelTitle,
  type PromptResult,
  type StreamResult,
} from "./model_result.ts";
import { useLayers } from "./random_model.ts";
import { summarize } from "./statistics.ts";
import type { ModelFolder } from "./temporary_folder.ts";
import { cacheBytesRead, type StepTime, stepTime, windowsOf } from "./token_time.ts";

/** Steps profiled. */
const PROFILES = 7;
/** Tokens of an answer before each profile: a device that has waited has lowered its clock. */
const WARMING_TOKENS = 32;

/**
 * Writes a model, deploys it and measures it. A part that fails is a line of
 * `problems`; a model that cannot be deployed raises its error.
 */
export async function measureModel(
  choice: ModelChoice,
  plan: ModelPlan,
  folder: ModelFolder,
  say: (text: string) => void = () => {},
): Promise<ModelResult> {
  const { model } = choice;
  const layers = Math.min(plan.layers ?? model.layers, model.layers);
  const path = await folder.hold(model, layers, everyTenth("writes", say));
  const deployed = await deployFitting(path, choice, layers, say);
  await using engine = deployed.engine;
  const trial = new ModelTrial(engine, model.config(deployed.layers), say);
  return {
    ...{ name: modelTitle(choice), layers: deployed.layers, allLayers: model.layers },
    ...{ format: formatOf(choice, model), readySeconds: deployed.seconds },
    ...await trial.measure(plan),
  };
}

function formatOf({ format }: ModelChoice, model: ModelSizes): string {
  const hasMxfp4 = model.config(1).quantization_config !== undefined;
  if (!format) return hasMxfp4 ? "MXFP4 and bf16" : "bf16";
  return hasMxfp4 ? `MXFP4, linear layers ${format}` : `${format} while loading`;
}

/** Deploys with as many layers as there is memory for. */
async function deployFitting(
  path: string,
  { model, format }: ModelChoice,
  all: number,
  say: (text: string) => void,
) {
  const quantized = format
    ? pipeline().quantizeMoe({ enabled: true, format }).quantizeLinear({ enabled: true, format })
    : pipeline();
  return await fitLayers(all, async (layers) => {
    if (layers < all) await useLayers(path, model.config(layers));
    const start = performance.now();
    const progress = everyTenth("loads", say);
    const engine = await quantized.deploy({
      ...{ model: path, executor: "webgpu" },
      onProgress(event) {
        if (event.kind === "weights") progress(event.bytes, event.totalBytes);
      },
    });
    return { engine, layers, seconds: (performance.now() - start) / 1000 };
  }, say);
}

/** Tries with fewer and fewer layers while the device has no memory for them. */
export async function fitLayers<Result>(
  all: number,
  attempt: (layers: number) => Promise<Result>,
  say: (text: string) => void,
): Promise<Result> {
  for (let layers = all;;) {
    try {
      return await attempt(layers);
    } catch (error) {
      const full = error instanceof DeviceError && error.code === "device/out-of-memory";
      if (!full || layers === 1) throw error;
      say(`  ${layers} layers: ${messageOf(error)}`);
      layers = Math.floor(layers * 0.8);
    }
  }
}

/** Measures one engine. */
class ModelTrial {
  readonly #problems: string[] = [];
  #seed = 1;

  constructor(
    readonly engine: Engine,
    readonly config: Readonly<Record<string, unknown>>,
    readonly say: (text: string) => void,
  ) {}

  async measure(plan: ModelPlan) {
    const { bytes, limits, timings } = this.engine.report;
    const cold = await this.#attempt("the first token", () => this.#answer(plan.coldTokens, 1));
    const prompts: PromptResult[] = [];
    for (const prompt of plan.prompts) {
      const result = await this.#attempt(
        `a prompt of ${prompt.tokens}`,
        () => this.#prompt(prompt, plan.rounds),
      );
      if (result) prompts.push(result);
    }
    const [{ tokens }] = plan.prompts;
    const { coldTokens } = plan;
    const tokenTime = await this.#attempt(
      "the time of a token",
      () => this.#stepTime({ sequences: 1, tokens: 1, context: tokens }, coldTokens),
    );
    const step = Math.min(tokens, limits.maxTokens);
    const promptTime = await this.#attempt(
      "the time of a prompt",
      () => this.#stepTime({ sequences: 1, tokens: step, context: 0 }, coldTokens),
    );
    const streams: StreamResult[] = [];
    const streamTimes: StepTime[] = [];
    for (const count of plan.streams) {
      const result = await this.#attempt(`${count} streams`, () => this.#streams(count, plan));
      if (result) streams.push(result);
      // Where the streams failed or a step has not so many sequences there is nothing to explain.
      if (!result || count === 1 || count > limits.maxSequences) continue;
      const time = await this.#attempt(
        `the time of a step of ${count} sequences`,
        () =>
          this.#stepTime({ sequences: count, tokens: 1, context: plan.streamTokens }, coldTokens),
      );
      if (time) streamTimes.push(time);
    }
    return {
      weightBytes: numberIn(bytes, "weights"),
      tokenWeightBytes: this.#tokenBytes(0),
      seconds: timings.seconds,
      coldTokenSeconds: cold?.firstToken,
      ...{ prompts, streams, streamTokens: plan.streamTokens, tokenTime, promptTime },
      streamTimes,
      problems: this.#problems,
    };
  }

  async #attempt<Result>(what: string, work: () => Promise<Result>): Promise<Result | undefined> {
    this.say(`  ${what}`);
    try {
      return await work();
    } catch (error) {
      const problem = `${what}: ${messageOf(error)}`;
      this.#problems.push(problem);
      this.say(`  ${problem}`);
    }
  }

  async #prompt(
    { tokens, answer }: { tokens: number; answer: number },
    rounds: number,
  ): Promise<PromptResult> {
    await this.#answer(tokens, answer);
    const runs = [];
    for (let round = 0; round < rounds; round++) runs.push(await this.#answer(tokens, answer));
    const decode = summarize(runs.map(({ seconds }) => (answer - 1) / seconds));
    const tokenBytes = this.#tokenBytes(tokens + answer / 2);
    return {
      ...{ tokens, answer, decode, tokenBytes },
      firstToken: summarize(runs.map(({ firstToken }) => firstToken)),
      prefill: summarize(runs.map(({ firstToken }) => tokens / firstToken)),
    };
  }

  /** One greedy answer to random tokens: seconds to its first token, and from there to its last. */
  async #answer(tokens: number, answer: number): Promise<{ firstToken: number; seconds: number }> {
    const prompt = this.#randomPrompt(tokens);
    const start = performance.now();
    let [first, count] = [0, 0];
    const options = { maxNewTokens: answer, temperature: 0, ignoreEos: true };
    for await (const _ of this.engine.generate(prompt, options)) {
      if (count++ === 0) first = performance.now();
    }
    if (count !== answer) throw new Error(`expected ${answer} tokens, got ${count}`);
    return { firstToken: (first - start) / 1000, seconds: (performance.now() - first) / 1000 };
  }

  async #streams(streams: number, { rounds, streamTokens }: ModelPlan): Promise<StreamResult> {
    const rates: number[] = [];
    for (let round = 0; round <= rounds; round++) {
      const start = performance.now();
      await Promise.all(
        Array.from({ length: streams }, () => this.#answer(streamTokens, streamTokens)),
      );
      const seconds = (performance.now() - start) / 1000;
      if (round > 0) rates.push(streams * streamTokens / seconds);
    }
    return { streams, tokensPerSecond: summarize(rates) };
  }

  async #stepTime(
    step: Pick<StepTime, "sequences" | "tokens" | "context">,
    warmUp: number,
  ): Promise<StepTime> {
    const { sequences, tokens, context } = step;
    const profiles: (readonly DispatchTiming[])[] = [];
    for (let i = 0; i < PROFILES; i++) {
      await this.#answer(warmUp, WARMING_TOKENS);
      const profile = await this.engine.profile(tokens, context, sequences);
      if (!profile) throw new Error("the device has no clock for single dispatches");
      profiles.push(profile);
    }
    return stepTime(profiles, { ...step, cacheBytes: sequences * this.#cacheBytes(context) });
  }

  /** Bytes that a token reads after `context` others. */
  #tokenBytes(context: number): number {
    const { program } = this.engine.report;
    return numberIn(program, "weightBytesPerToken") + this.#cacheBytes(context);
  }

  #cacheBytes(context: number): number {
    const { bytes, limits } = this.engine.report;
    const windows = windowsOf(this.config);
    const perToken = numberIn(bytes, "caches") / (limits.pages * limits.pageSize);
    return cacheBytesRead(windows, context, perToken / windows.length);
  }

  /** Other tokens each time: a prompt that begins like an earlier one would not be computed again. */
  #randomPrompt(length: number): Int32Array<ArrayBuffer> {
    return differentIds(length, this.engine.vocabSize, this.#seed++);
  }
}

/** Says how far something of gigabytes is, at each tenth. */
function everyTenth(verb: string, say: (text: string) => void) {
  let said = 0;
  return (done: number, total: number) => {
    const tenth = Math.floor(10 * done / total);
    if (tenth <= said || total < 1e9) return;
    said = tenth;
    say(`  ${verb} ${(done / 1e9).toFixed(1)} of ${(total / 1e9).toFixed(1)} GB`);
  };
}

function numberIn(record: unknown, name: string): number {
  const value: unknown = typeof record === "object" && record !== null && Reflect.get(record, name);
  return typeof value === "number" ? value : NaN;
}
