/**
 * Rows of activations rounded through E4M3 in front of a product, for FP8 checkpoints that were
 * calibrated so.
 *
 * @module
 */

import { KernelError, type Value } from "../../graph/mod.ts";
import { type Access, constants, fragments, joinAccess, reads, writes } from "../access/access.ts";
import { type Extent, extentFunction } from "../access/extent.ts";
import roundE4m3 from "../access/round_e4m3.wgsl" with { type: "text" };
import { instantiate } from "../compose.ts";
import { composeDispatch } from "../dispatch.ts";
import { type DeviceProfile, type Dispatch, foldGrid, type Rows } from "../kernel.ts";
import { reductionAccess } from "../reduce/reduction.ts";
import chunkRoundNone from "./chunk_round_none.wgsl" with { type: "text" };
import chunkRoundStatic from "./chunk_round_static.wgsl" with { type: "text" };
import type { Rounding } from "./problem.ts";
import roundRows from "./round_rows.wgsl" with { type: "text" };
import dynamicScale from "./round_scale_dynamic.wgsl" with { type: "text" };
import staticScale from "./round_scale_static.wgsl" with { type: "text" };

/** What is rounded, and where it goes. */
export interface RoundProblem {
  readonly x: Rows;
  readonly y: Rows;
  readonly rows: Extent;
  readonly columns: number;
  readonly rounding: Rounding;
}

const INVOCATIONS = 64;

/** The dispatch that rounds: a workgroup for each scale. */
export function roundDispatch(problem: RoundProblem, profile: DeviceProfile): Dispatch {
  const { x, y, rows, columns, rounding } = problem;
  const group = rounding.kind === "dynamic" ? Math.min(rounding.columns, columns) : columns;
  const groups = Math.ceil(columns / group);
  return composeDispatch({
    kernel: "round_rows",
    accesses: [
      constants({ INVOCATIONS, K: columns, GROUP: group, GROUPS: groups }),
      reads("x", "f32", x),
      writes("y", "f32", y),
      rounding.kind === "static"
        ? joinAccess(reads("x_scale", "f32", rounding.scale), fragments(staticScale))
        : fragments(dynamicScale),
      extentFunction("rows_of_step", rows),
      fragments(roundE4m3),
      reductionAccess(profile, [{ name: "peak", slots: 1, operation: "max" }]),
    ],
    body: roundRows,
    workgroups: (sizes) => foldGrid(rows.of(sizes) * groups, profile.maxWorkgroupsPerDimension),
  });
}

/**
 * `name_round(chunk, expert) -> Chunk`: rounds what was loaded with the expert's scale, or the one
 * of all; without a scale it is the chunk itself.
 */
export function chunkRounding(name: string, scale: Value | undefined): Access {
  if (!scale) return fragments(instantiate(chunkRoundNone, { NAME: name }));
  return joinAccess(
    reads(`${name}_scale`, "f32", scale),
    fragments(roundE4m3, instantiate(chunkRoundStatic, { NAME: name })),
    constants({ [`${name}_SCALE_STRIDE`]: scale.shape[0] === 1 ? 0 : 1 }),
  );
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
