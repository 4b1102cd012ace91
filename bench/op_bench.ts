/**
 * Registers benches of single ops: wall time in Deno's table, GPU time with the share of the
 * device's ceilings in lines after it.
 *
 * @module
 */

import { type Ceilings, measureCeilings } from "../runtime/mod.ts";
import { benchDevice, benchPipelines } from "./bench_device.ts";
import { consume } from "./moe_contest.ts";
import { type OpCase, type OpTimes, OpTrial } from "./op_trial.ts";
import { formatSeconds } from "./statistics.ts";

/** An op to be timed. */
export interface OpBench {
  readonly group: string;
  readonly name: string;
  readonly op: OpCase;
  /** Floating-point operations of one run. */
  readonly flops: number;
  /** Bytes that one run must read besides weights, such as the cache. */
  readonly otherBytes?: number;
}

/** Rounds of GPU times. */
const ROUNDS = 7;

/** Registers benches; each one's GPU time is measured before its wall times. */
export async function registerOps(benches: readonly OpBench[]): Promise<void> {
  const device = await benchDevice();
  const lines: string[] = [];
  let ceilings: Promise<Ceilings> | undefined;
  let current: { readonly bench: OpBench; readonly trial: OpTrial } | undefined;
  const trialOf = async (bench: OpBench): Promise<OpTrial> => {
    if (current?.bench === bench) return current.trial;
    current?.trial.dispose();
    const trial = await OpTrial.open(device, await benchPipelines(), bench.op);
    current = { bench, trial };
    lines.push(
      describe(bench, await trial.measure(ROUNDS), await (ceilings ??= measureCeilings(device))),
    );
    return trial;
  };
  for (const bench of benches) {
    let rotation = 0;
    Deno.bench(bench.name, { group: bench.group, n: 10, warmup: 2 }, async (b) => {
      const trial = await trialOf(bench);
      b.start();
      const result = await trial.run(rotation++);
      b.end();
      consume(result);
    });
  }
  addEventListener("unload", () => {
    const { description, timestamps } = device.profile;
    console.log(`\n${description}, times by ${timestamps ? "timestamp-query" : "wall clock"}`);
    console.log(lines.join("\n"));
  });
}

function describe(
  { group, name, flops, otherBytes = 0 }: OpBench,
  { seconds, dispatches, weightBytes }: OpTimes,
  { readBytesPerSecond, flopsPerSecond }: Ceilings,
): string {
  const { median, lowest, highest, n } = seconds;
  const percent = (fraction: number) => `${(100 * fraction).toFixed(1)} %`;
  return `${name} (${group}): ${formatSeconds(median)} (${formatSeconds(lowest)} .. ` +
    `${formatSeconds(highest)}, n = ${n}; ${dispatches} dispatches), ` +
    `${percent((weightBytes + otherBytes) / median / readBytesPerSecond)} of read bandwidth, ` +
    `${percent(flops / median / flopsPerSecond)} of f32 peak`;
}
