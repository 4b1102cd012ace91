/**
 * The numbers of a report: everything measured in one run, with the ceilings of the same run.
 *
 * @module
 */

import { messageOf } from "../graph/mod.ts";
import { type Ceilings, measureCeilings, type WebGpuDevice } from "../runtime/mod.ts";
import project from "../deno.json" with { type: "json" };
import { benchPipelines, type CaseChoice, moeCases, roundsOf } from "./bench_device.ts";
import { type ModelChoice, type ModelPlan, type ModelResult, modelTitle } from "./model_result.ts";
import { measureModel } from "./model_trial.ts";
import { ModelFolder } from "./temporary_folder.ts";
import { type ContestResult, type ContestTime, type MoeCase, MoeContest } from "./moe_contest.ts";
import { type ModelShares, withShares } from "./model_shares.ts";
import { type MoeRatios, moeRatios, titleOf } from "./moe_ratios.ts";

/** A contestant's time, and the fractions of the device's ceilings that it reaches. */
export interface ReportTime extends ContestTime {
  readonly flopsPerSecond: number;
  /** Of the weights of the experts in use, each counted once. */
  readonly bytesPerSecond: number;
  /** Of the ceilings of this run. */
  readonly ofReadBandwidth: number;
  readonly ofFlops: number;
}

/** A layer of a report. */
export interface ReportCase extends Omit<ContestResult, "times"> {
  readonly times: readonly ReportTime[];
}

/** A report; JSON-safe. */
export interface Report {
  readonly device: string;
  /** How times were measured: `timestamp-query` or `wall clock`. */
  readonly clock: string;
  readonly versions: { readonly mixline: string; readonly deno: string };
  /** ISO 8601 */
  readonly date: string;
  readonly rounds: number;
  readonly ceilings: Ceilings;
  readonly cases: readonly ReportCase[];
  readonly models: readonly ModelShares[];
  /** Layers and models that the device did not hold or that failed, with the reason. */
  readonly leftOut: readonly string[];
  readonly ratios: MoeRatios | undefined;
}

/** How a report is made. */
export interface ReportOptions extends CaseChoice {
  /** Contestants by name; all when absent. */
  readonly only?: readonly string[] | undefined;
  readonly models?: readonly ModelChoice[];
  readonly plan?: ModelPlan;
  /** Told what is measured, and what failed. */
  readonly say?: (text: string) => void;
  /** Parts that would begin later than so many minutes after the first are left out. */
  readonly minutes?: number | undefined;
  readonly onFailure?: ((error: unknown) => void) | undefined;
  /** Called after each layer and model with all that there is: a later one may end the process. */
  readonly onResult?: (report: Report) => void;
}

/** Measures ceilings, all layers, all models, and ceilings again; the higher ones count. */
export async function measureReport(
  device: WebGpuDevice,
  options: ReportOptions,
): Promise<Report> {
  const { only, models = [], plan, say = () => {}, onResult, onFailure, minutes, ...choice } =
    options;
  const cases = moeCases(device, choice);
  let ceilings = await measureCeilings(device);
  const rounds = roundsOf(device, choice.quick);
  const results: ContestResult[] = [];
  const measured: ModelResult[] = [];
  const leftOut: string[] = [];
  const report = (): Report => ({
    device: device.profile.description,
    clock: ceilings.clock,
    versions: { mixline: project.version, deno: Deno.version.deno },
    date: new Date().toISOString(),
    ...{ rounds, ceilings, leftOut, ratios: moeRatios(results) },
    cases: results.map((result) => withRates(result, ceilings)),
    models: measured.map((model) => withShares(model, ceilings)),
  });
  await using folder = new ModelFolder();
  const parts = [
    ...cases.map((layer): ReportPart => ({
      title: titleOf({ ...layer, shape: layer.shape.name }),
      work: async () => results.push(await measureLayer(device, layer, rounds, only)),
    })),
    ...models.map((model): ReportPart => ({
      title: modelTitle(model),
      work: async () => plan && measured.push(await measureModel(model, plan, folder, say)),
    })),
  ];
  for await (const failure of failures(parts, { say, onFailure, minutes })) {
    if (failure !== undefined) leftOut.push(failure);
    onResult?.(report());
  }
  // A machine with other work is faster at some times than at others.
  await measureCeilings(device).then((after) => ceilings = higher(ceilings, after))
    .catch((error) => leftOut.push(`the ceilings after the measurements: ${messageOf(error)}`));
  return report();
}

/** One of several things that are measured. */
export interface ReportPart {
  readonly title: string;
  work(): Promise<unknown>;
}

/** Does one part after the other; gives after each what went wrong, which does not end the others. */
export async function* failures(
  parts: readonly ReportPart[],
  { say = () => {}, onFailure, minutes = Infinity }: Pick<
    ReportOptions,
    "say" | "onFailure" | "minutes"
  >,
): AsyncGenerator<string | undefined> {
  const start = performance.now();
  for (const [at, { title, work }] of parts.entries()) {
    if (performance.now() - start >= 60_000 * minutes) {
      yield `${title}: ${minutes} minutes were over`;
      continue;
    }
    say(`${at + 1} of ${parts.length}  ${title}`);
    let failure: string | undefined;
    try {
      await work();
    } catch (error) {
      failure = `${title}: ${messageOf(error)}`;
      say(`  ${messageOf(error)}`);
      onFailure?.(error);
    }
    yield failure;
  }
}

async function measureLayer(
  device: WebGpuDevice,
  layer: MoeCase,
  rounds: number,
  only: readonly string[] | undefined,
): Promise<ContestResult> {
  const contest = await MoeContest.open(device, layer, await benchPipelines(), only);
  try {
    return await contest.compare(rounds);
  } finally {
    contest.dispose();
  }
}

function higher(a: Ceilings, b: Ceilings): Ceilings {
  return {
    readBytesPerSecond: Math.max(a.readBytesPerSecond, b.readBytesPerSecond),
    flopsPerSecond: Math.max(a.flopsPerSecond, b.flopsPerSecond),
    dispatchSeconds: Math.min(a.dispatchSeconds, b.dispatchSeconds),
    clock: a.clock,
  };
}

function withRates(result: ContestResult, ceilings: Ceilings): ReportCase {
  const times = result.times.map((time): ReportTime => {
    const flopsPerSecond = result.flops / time.seconds.median;
    const bytesPerSecond = result.activeWeightBytes / time.seconds.median;
    return {
      ...time,
      flopsPerSecond,
      bytesPerSecond,
      ofReadBandwidth: bytesPerSecond / ceilings.readBytesPerSecond,
      ofFlops: flopsPerSecond / ceilings.flopsPerSecond,
    };
  });
  return { ...result, times };
}
