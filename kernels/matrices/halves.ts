/**
 * Rows in front of a product by matrices: a dispatch that writes them as halves, scaled row by row so
 * that none overflows.
 *
 * @module
 */

import {
  type Access,
  constants,
  fragments,
  joinAccess,
  reads,
  type WeightSpec,
  writes,
} from "../access/access.ts";
import { type Extent, extentFunction } from "../access/extent.ts";
import { rowsAccess } from "../access/rows.ts";
import { placeOf } from "../access/weights.ts";
import { composeDispatch } from "../dispatch.ts";
import { type DeviceProfile, type Dispatch, foldGrid, type Rows, type Scratch } from "../kernel.ts";
import { reductionAccess } from "../reduce/reduction.ts";
import halveRows from "./halve_rows.wgsl" with { type: "text" };
import halvesOf from "./halves_of.wgsl" with { type: "text" };

/** Rows as halves, in words of eight, and what results of a row are multiplied with. */
export interface HalvedRows {
  readonly halves: Scratch;
  readonly scales: Scratch;
  /** Words of a row. */
  readonly chunks: number;
}

/** What is halved. */
export interface HalvedProblem {
  /** Prefix of the scratch buffers. */
  readonly name: string;
  readonly x: Rows;
  readonly rows: Extent;
  /** Rows of the largest step. */
  readonly largest: number;
  readonly columns: number;
  /** Words of a row, zeros behind its end included. */
  readonly chunks: number;
  /** The weight that they are multiplied with, which may be interleaved; plain order when absent. */
  readonly weight?: WeightSpec;
}

/** Words that an invocation has at most before a row gets more invocations. */
const WORDS_EACH = 4;

/** The rows, and the dispatch that makes them. */
export function halveRowsDispatch(
  { name, x, rows, largest, columns, chunks, weight }: HalvedProblem,
  profile: DeviceProfile,
): { readonly halved: HalvedRows; readonly dispatch: Dispatch } {
  const scratch = (part: string, bytes: number): Scratch => ({
    kind: "scratch",
    name: `${name}_${part}`,
    bytes: largest * bytes,
  });
  const halved = { halves: scratch("halves", chunks * 16), scales: scratch("scales", 4), chunks };
  const invocations = chunks > 64 * WORDS_EACH ? 128 : 64;
  const dispatch = composeDispatch({
    kernel: "halve_rows",
    accesses: [
      constants({ INVOCATIONS: invocations, ROW_CHUNKS: chunks }),
      rowsAccess("x", columns, { buffer: x }),
      placeOf("x", weight),
      writes("halves", "vec4<u32>", halved.halves),
      writes("halves_scale", "f32", halved.scales),
      extentFunction("rows_of_step", rows),
      fragments(halvesOf),
      reductionAccess(profile, [{ name: "peak", slots: 1, operation: "max" }]),
    ],
    body: halveRows,
    workgroups: (sizes) => foldGrid(rows.of(sizes), profile.maxWorkgroupsPerDimension),
  });
  return { halved, dispatch };
}

/** Halved rows as a product reads them. */
export function leftRows({ halves, scales, chunks }: HalvedRows): Access {
  return joinAccess(
    constants({ ROW_CHUNKS: chunks }),
    reads("halves", "vec4<u32>", halves),
    reads("halves_scale", "f32", scales),
  );
}
