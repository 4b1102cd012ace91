/**
 * The device that benches run on, opened once for a process, and which cases it is given.
 *
 * @module
 */

import type { WeightFormat } from "../graph/mod.ts";
import { openDevice, PipelineCache, type WebGpuDevice } from "../runtime/mod.ts";
import type { MoeCase } from "./moe_contest.ts";
import { MOE_SHAPES, MOE_TWINS } from "./shapes.ts";

let opened: Promise<WebGpuDevice> | undefined;
let pipelines: PipelineCache | undefined;

/** The device of this process; it stays open until the process ends. */
export function benchDevice(): Promise<WebGpuDevice> {
  return opened ??= openDevice();
}

/** Compiled pipelines of the device. */
export async function benchPipelines(): Promise<PipelineCache> {
  return pipelines ??= new PipelineCache(await benchDevice());
}

/** Numbers of tokens that a software device can be asked for, and a real one. */
const TOKENS = { software: [1, 16, 64], gpu: [1, 4, 16, 64, 256, 1024, 4096] };

/** Formats besides bf16, compared on one shape. */
const OTHER_FORMATS: readonly WeightFormat[] = ["f16", "fp8_e4m3", "mxfp4", "int4"];

/**
 * The layers to compare: on real GPUs those of released models, on a CPU that plays GPU their twins.
 * `quick` leaves out formats and every second number of tokens.
 */
export function moeCases({ profile }: WebGpuDevice, quick = false): readonly MoeCase[] {
  const shapes = profile.software ? MOE_TWINS : MOE_SHAPES;
  const all = profile.software ? TOKENS.software : TOKENS.gpu;
  const tokens = quick ? all.filter((_, i) => i % 2 === 0) : all;
  const cases: MoeCase[] = shapes.flatMap((shape) =>
    tokens.map((count) => ({ shape, format: "bf16", tokens: count }))
  );
  if (quick) return cases;
  const formats = OTHER_FORMATS.flatMap((format) =>
    [1, 64].map((count): MoeCase => ({ shape: shapes[2], format, tokens: count }))
  );
  return [...cases, ...formats];
}

/** Rounds of a comparison: a shared CPU is a restless place. */
export function roundsOf({ profile }: WebGpuDevice, quick = false): number {
  return quick ? 5 : profile.software ? 9 : 7;
}
