/**
 * The numbers of a report: everything measured in one run, with the ceilings of the same run.
 *
 * @module
 */

import { DeviceError } from "../graph/mod.ts";
import { type Ceilings, measureCeilings, type WebGpuDevice } from "../runtime/mod.ts";
import project from "../deno.json" with { type: "json" };
import { benchPipelines, type CaseChoice, moeCases, roundsOf } from "./bench_device.ts";
import { type ContestResult, type ContestTime, MoeContest } from "./moe_contest.ts";
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
  /** Layers that did not fit the device, with the reason. */
  readonly leftOut: readonly string[];
  readonly ratios: MoeRatios | undefined;
}

/** How a report is made. */
export interface ReportOptions extends CaseChoice {
  /** Contestants by name; all when absent. */
  readonly only?: readonly string[] | undefined;
  readonly onCase?: (title: string, done: number, total: number) => void;
}

/** Measures ceilings, all layers, and ceilings again; the higher ones count. */
export async function measureReport(
  device: WebGpuDevice,
  { only, onCase, ...choice }: ReportOptions,
): Promise<Report> {
  const cases = moeCases(device, choice);
  const before = await measureCeilings(device);
  const rounds = roundsOf(device, choice.quick);
  const results: ContestResult[] = [];
  const leftOut: string[] = [];
  for (const [at, layer] of cases.entries()) {
    const title = titleOf({ ...layer, shape: layer.shape.name });
    onCase?.(title, at, cases.length);
    try {
      const contest = await MoeContest.open(device, layer, await benchPipelines(), only);
      results.push(await contest.compare(rounds));
      contest.dispose();
    } catch (error) {
      if (!(error instanceof DeviceError)) throw error;
      leftOut.push(`${title}: ${error.message}`);
    }
  }
  // A machine with other work is faster at some times than at others.
  const ceilings = higher(before, await measureCeilings(device));
  return {
    device: device.profile.description,
    clock: ceilings.clock,
    versions: { mixline: project.version, deno: Deno.version.deno },
    date: new Date().toISOString(),
    rounds,
    ceilings,
    cases: results.map((result) => withRates(result, ceilings)),
    leftOut,
    ratios: moeRatios(results),
  };
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
