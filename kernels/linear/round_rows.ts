/**
 * Rows of activations rounded through E4M3 in front of a product, for FP8 checkpoints that were
 * calibrated so.
 *
 * @module
 */

import { KernelError, type Value } from "../../graph/mod.ts";
import { composeShader, instantiate, type ShaderBuffer } from "../compose.ts";
import type { Access } from "../access/access.ts";
import { type DeviceProfile, type Dispatch, foldGrid } from "../kernel.ts";
import chunkRoundNone from "./chunk_round_none.wgsl" with { type: "text" };
import chunkRoundStatic from "./chunk_round_static.wgsl" with { type: "text" };
import roundE4m3 from "../access/round_e4m3.wgsl" with { type: "text" };
import roundRows from "./round_rows.wgsl" with { type: "text" };
import { joinAccess } from "../access/weights.ts";
import type { Extent } from "../access/extent.ts";
import { laneFragments } from "../reduce/lanes.ts";
import { extentFunction, type Rounding, type Rows } from "./problem.ts";

/** What is rounded, and where it goes. */
export interface RoundProblem {
  readonly x: Rows;
  readonly y: Rows;
  readonly rows: Extent;
  readonly columns: number;
  readonly rounding: Rounding;
}

const THREADS = 64;

const STATIC_SCALE = `fn scale_of(peak: f32) -> f32 {
  return x_scale[0];
}`;

/** A group of zeros has scale 1. */
const DYNAMIC_SCALE = `fn scale_of(peak: f32) -> f32 {
  return select(quotient(peak, 448.0), 1.0, peak == 0.0);
}`;

/** The dispatch that rounds: a workgroup for each scale. */
export function roundDispatch(problem: RoundProblem, profile: DeviceProfile): Dispatch {
  const { x, y, rows, columns, rounding } = problem;
  const group = rounding.kind === "dynamic" ? Math.min(rounding.columns, columns) : columns;
  const groups = Math.ceil(columns / group);
  const { buffers, fragments } = joinAccess(extentFunction("rows_of_step", rows));
  const scale: ShaderBuffer[] = rounding.kind === "static"
    ? [{ name: "x_scale", type: "array<f32>", access: "read", buffer: rounding.scale }]
    : [];
  const shader = composeShader({
    constants: { THREADS, K: columns, GROUP: group, GROUPS: groups },
    buffers: [
      { name: "x", type: "array<f32>", access: "read", buffer: x },
      { name: "y", type: "array<f32>", access: "read_write", buffer: y },
      ...scale,
      ...buffers,
    ],
    fragments: [
      ...fragments,
      roundE4m3,
      rounding.kind === "static" ? STATIC_SCALE : DYNAMIC_SCALE,
      ...laneFragments(profile, [{ name: "peak", slots: 1, operation: "max" }]),
    ],
    body: roundRows,
  });
  return {
    kernel: "round_rows",
    ...shader,
    workgroups: (sizes) => foldGrid(rows.of(sizes) * groups, profile.maxWorkgroupsPerDimension),
  };
}

/**
 * `name_round(chunk, expert) -> Chunk`: rounds what was loaded with the expert's scale, or the one
 * of all; without a scale it is the chunk itself.
 */
export function chunkRounding(name: string, scale: Value | undefined): Access {
  if (!scale) {
    return { buffers: [], fragments: [instantiate(chunkRoundNone, { NAME: name })], constants: {} };
  }
  return {
    buffers: [{ name: `${name}_scale`, type: "array<f32>", access: "read", buffer: scale }],
    fragments: [roundE4m3, instantiate(chunkRoundStatic, { NAME: name })],
    constants: { [`${name}_SCALE_STRIDE`]: scale.shape[0] === 1 ? 0 : 1 },
  };
}

/** A scale that static rounding cannot do without. */
export function requiredScale(scale: Value | undefined, name: string, scope: string): Value {
  if (scale) return scale;
  throw new KernelError(
    "kernel/missing-scale",
    `Cannot round the activations of "${scope}" with a static scale: expected input "${name}", got none`,
    { hint: "Set activation_quant to dynamic or none" },
  );
}
