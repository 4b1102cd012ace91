/**
 * The device that benches run on, opened once for a process, and which cases it is given.
 *
 * @module
 */

import { ConfigError, type WeightFormat } from "../graph/mod.ts";
import { GPU_ENVIRONMENT, openDevice, PipelineCache, type WebGpuDevice } from "../runtime/mod.ts";
import type { MoeCase } from "./moe_contest.ts";
import { MOE_SHAPES, MOE_TWINS, type MoeShape } from "./shapes.ts";

let opened: Promise<WebGpuDevice> | undefined;
let pipelines: PipelineCache | undefined;

/** The device of this process; it stays open until the process ends. */
export function benchDevice(): Promise<WebGpuDevice> {
  return opened ??= openWithEnvironment();
}

function openWithEnvironment(): Promise<WebGpuDevice> {
  for (const [name, value] of Object.entries(GPU_ENVIRONMENT)) {
    if (Deno.env.get(name) === undefined) Deno.env.set(name, value);
  }
  return openDevice();
}

/** Compiled pipelines of the device. */
export async function benchPipelines(): Promise<PipelineCache> {
  return pipelines ??= new PipelineCache(await benchDevice());
}

/** Numbers of tokens that a software device can be asked for, and a real one. */
const TOKENS = { software: [1, 16, 64], gpu: [1, 4, 16, 64, 256, 1024, 4096] };

/** Formats besides bf16, compared on one shape. */
const OTHER_FORMATS: readonly WeightFormat[] = ["f16", "fp8_e4m3", "mxfp4", "int4"];

/** A choice among the layers to compare. */
export interface CaseChoice {
  /** Leaves out formats and every second number of tokens. */
  readonly quick?: boolean | undefined;
  /** Models by name or part of a name. */
  readonly shapes?: readonly string[] | undefined;
  readonly formats?: readonly WeightFormat[] | undefined;
  readonly tokens?: readonly number[] | undefined;
}

/**
 * The layers to compare: on real GPUs those of released models, on a software adapter their twins.
 * With formats or tokens given, every shape in each of them; otherwise bf16, and the other formats
 * for one shape. Raises a {@linkcode ConfigError} for a shape that is not there.
 */
export function moeCases({ profile }: WebGpuDevice, choice: CaseChoice = {}): readonly MoeCase[] {
  const known = profile.software ? MOE_TWINS : MOE_SHAPES;
  const shapes = choice.shapes?.flatMap((name) => shapesCalled(name, known)) ?? known;
  const all = profile.software ? TOKENS.software : TOKENS.gpu;
  const tokens = choice.tokens ?? (choice.quick ? all.filter((_, i) => i % 2 === 0) : all);
  const cross = (formats: readonly WeightFormat[]) =>
    shapes.flatMap((shape) =>
      formats.flatMap((format) =>
        tokens.map((count): MoeCase => ({ shape, format, tokens: count }))
      )
    );
  const { formats } = choice;
  if (formats) return cross(formats);
  if (choice.quick || choice.tokens || choice.shapes) return cross(["bf16"]);
  const others = OTHER_FORMATS.flatMap((format) =>
    [1, 64].map((count): MoeCase => ({ shape: shapes[2], format, tokens: count }))
  );
  return [...cross(["bf16"]), ...others];
}

function shapesCalled(name: string, known: readonly MoeShape[]): readonly MoeShape[] {
  const found = known.filter((shape) => shape.name.toLowerCase().includes(name.toLowerCase()));
  if (found.length > 0) return found;
  throw new ConfigError(
    "bench/unknown-shape",
    `Cannot compare shape "${name}": expected ${known.map((shape) => shape.name).join(", ")}`,
  );
}

/** Rounds of a comparison: more on a software adapter, whose CPU has other work. */
export function roundsOf({ profile }: WebGpuDevice, quick = false): number {
  return quick ? 5 : profile.software ? 9 : 7;
}
