/**
 * Registers benches of single ops: wall time in Deno's table, GPU time with the share of the
 * device's ceilings in lines after it.
 *
 * @module
 */

import {
  type Ceilings,
  measureCeilings,
  type OpCase,
  OpTrial,
  type PreparedOp,
} from "../runtime/mod.ts";
import { benchDevice, benchPipelines } from "./bench_device.ts";
import { consume } from "./moe_contest.ts";
import { formatSeconds, summarize, type Summary } from "./statistics.ts";

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

/** The op whose memory is on the device. */
interface Current {
  readonly bench: OpBench;
  readonly trial: OpTrial;
  readonly prepared: PreparedOp;
}

/** Registers benches; each one's GPU time is measured before its wall times. */
export async function registerOps(benches: readonly OpBench[]): Promise<void> {
  const device = await benchDevice();
  const lines: string[] = [];
  let ceilings: Promise<Ceilings> | undefined;
  let current: Current | undefined;
  const trialOf = async (bench: OpBench): Promise<Current> => {
    if (current?.bench === bench) return current;
    current?.trial.dispose();
    const trial = await OpTrial.open(device, await benchPipelines(), bench.op);
    const prepared = await trial.prepare();
    current = { bench, trial, prepared };
    const seconds = summarize(await trial.measure(prepared, ROUNDS));
    lines.push(
      describe(bench, prepared, seconds, await (ceilings ??= measureCeilings(device))),
    );
    return current;
  };
  for (const bench of benches) {
    let rotation = 0;
    Deno.bench(bench.name, { group: bench.group, n: 10, warmup: 2 }, async (b) => {
      const { trial, prepared } = await trialOf(bench);
      b.start();
      const result = await trial.run(prepared, rotation++);
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
  { rotations, weightBytes }: PreparedOp,
  { median, lowest, highest, n }: Summary,
  { readBytesPerSecond, flopsPerSecond }: Ceilings,
): string {
  const percent = (fraction: number) => `${(100 * fraction).toFixed(1)} %`;
  return `${name} (${group}): ${formatSeconds(median)} (${formatSeconds(lowest)} .. ` +
    `${formatSeconds(highest)}, n = ${n}; ${rotations[0].length} dispatches), ` +
    `${percent((weightBytes + otherBytes) / median / readBytesPerSecond)} of read bandwidth, ` +
    `${percent(flops / median / flopsPerSecond)} of f32 peak`;
}
