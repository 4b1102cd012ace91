/**
 * The expanded form of latent attention: keys and values of every head are made of the latents of whole
 * contexts, a stretch of tokens at a time, and attention in tiles of queries goes over them. They are
 * there for one stretch alone; the cache keeps latents.
 *
 * @module
 */

import { input } from "../../../graph/mod.ts";
import { constants, fragments, joinAccess, reads, writes } from "../../access/access.ts";
import { type Extent, STEP } from "../../access/extent.ts";
import { composeDispatch } from "../../dispatch.ts";
import { type Dispatch, foldGrid, type Scratch, type StepSizes } from "../../kernel.ts";
import { gemmDispatches } from "../../linear/gemm.ts";
import { scratchRows } from "../../linear/linear.ts";
import { keptRows, keysAccess } from "../operands.ts";
import { prefillDispatch, type TileProblem } from "../prefill.ts";
import { matrixPrefill } from "../prefill_matrices.ts";
import { mostRows, numberBytes } from "./expansion.ts";
import { plannedAccess, stretchAccess } from "./forms.ts";
import gatherBody from "./gather.wgsl" with { type: "text" };
import { type Expansion, type MlaProblem, sizeConstants, stepAccess } from "./problem.ts";
import storeExpanded from "./store_expanded.wgsl" with { type: "text" };
import storedF16 from "./stored_f16.wgsl" with { type: "text" };
import storedF32 from "./stored_f32.wgsl" with { type: "text" };
import stretchResults from "./stretch_results.wgsl" with { type: "text" };
import stretchSource from "./stretch_source.wgsl" with { type: "text" };

const INVOCATIONS = 64;

/** A node that expands, and the memory of a stretch. */
interface Stretches {
  readonly problem: MlaProblem;
  readonly expansion: Expansion;
  /** Queries `[T, heads · (nopeDim + ropeDim)]`. */
  readonly queries: Scratch;
  readonly keys: Scratch;
  readonly values: Scratch;
  readonly latents: Scratch;
  /** What results are relative to, before a stretch and after it. */
  readonly softmax: Scratch;
}

/** The dispatches: for each stretch its latents, keys and values made of them, attention over those. */
export function expandedDispatches(
  problem: MlaProblem,
  expansion: Expansion,
  queries: Scratch,
): Dispatch[] {
  const { attrs: { heads, nopeDim, ropeDim, valueDim, latentDim }, context } = problem;
  const { rows, stretches } = expansion;
  const scratch = (name: string, width: number): Scratch => ({
    ...{ kind: "scratch", name, bytes: rows * heads * width * numberBytes(expansion) },
  });
  const given: Stretches = {
    ...{ problem, expansion, queries },
    keys: scratch("expanded_keys", nopeDim + ropeDim),
    values: scratch("expanded_values", valueDim),
    latents: scratchRows("latents", rows, latentDim),
    softmax: scratchRows("softmax", 2 * context.tokens.max, 2 * heads),
  };
  const first = tilesOf(given, 0);
  const matrices = expansion.matrices &&
    matrixPrefill(first, expansion.matrices, context.tokens.max);
  return [
    ...(matrices ? [onlyIn(matrices.halve, first.runs)] : []),
    ...Array.from({ length: stretches }, (_, stretch) => {
      const tiles = tilesOf(given, stretch);
      return [
        gatherDispatch(given, stretch),
        ...productDispatches(given, stretch),
        matrices ? matrices.attend(tiles) : prefillDispatch(tiles),
      ];
    }).flat(),
  ];
}

/** The same dispatch in some steps alone. */
function onlyIn(dispatch: Dispatch, runs: (sizes: StepSizes) => boolean): Dispatch {
  return {
    ...dispatch,
    workgroups: (sizes) => runs(sizes) ? dispatch.workgroups(sizes) : [0, 0, 0],
  };
}

/** Tokens of a stretch: known to the host as a bound. */
function rowsOf({ problem, expansion }: Stretches, stretch: number): Extent {
  const { rows } = expansion;
  return {
    wgsl: "stretch_rows()",
    fixed: false,
    ofTokens: true,
    access: stretchAccess(expansion, stretch),
    of: (sizes) =>
      Math.min(rows, Math.max(0, mostRows(problem, expansion, sizes) - stretch * rows)),
  };
}

function gatherDispatch(given: Stretches, stretch: number): Dispatch {
  const { problem, expansion, keys, latents } = given;
  const { attrs, cacheFormat, context: { profile } } = problem;
  const { heads, nopeDim, ropeDim, latentDim, cache } = attrs;
  const rows = rowsOf(given, stretch);
  return composeDispatch({
    kernel: "mla_gather",
    accesses: [
      stepAccess(problem),
      plannedAccess(expansion),
      stretchAccess(expansion, stretch),
      keysAccess(cache, latentDim + ropeDim, cacheFormat, "read"),
      keptRows("expanded", nopeDim + ropeDim, expansion.format, "read_write", keys),
      writes("latents", "vec4<f32>", latents),
      constants({
        ...sizeConstants(problem),
        INVOCATIONS,
        SLOTS: expansion.slots,
        NOPE_WORDS: nopeDim / 8,
        LATENT_WORDS: latentDim / 8,
        TURNING_WORDS: ropeDim / 8,
        HEADS: heads,
      }),
    ],
    body: gatherBody,
    workgroups: (sizes) => foldGrid(rows.of(sizes), profile.maxWorkgroupsPerDimension),
  });
}

/** Keys and values of all heads: the latents of a stretch times the rows of w. */
function productDispatches(given: Stretches, stretch: number): Dispatch[] {
  const { problem, expansion, keys, values, latents } = given;
  const { attrs: { heads, nopeDim, ropeDim, valueDim }, weight, context } = problem;
  const [element, stored] = expansion.format === "f16"
    ? ["vec2<u32>", storedF16]
    : ["vec4<f32>", storedF32];
  const store = joinAccess(
    writes("expanded_keys", element, keys),
    writes("expanded_values", element, values),
    constants({ HEADS: heads, NOPE: nopeDim, KEY: nopeDim + ropeDim, VALUE: valueDim }),
    fragments(stored, storeExpanded),
  );
  return gemmDispatches(
    {
      ...{ name: "mla_expand", x: latents, y: values, weight },
      rows: rowsOf(given, stretch),
      largestRows: expansion.rows,
      outputs: heads * (nopeDim + valueDim),
      ...(context.operands && { operands: context.operands }),
    },
    context.profile,
    { store },
  );
}

/** What tiles of queries see of a stretch. */
function tilesOf(given: Stretches, stretch: number): TileProblem {
  const { problem, expansion, queries, keys, values, softmax } = given;
  const { node, attrs, context: { profile } } = problem;
  const { heads, nopeDim, ropeDim, valueDim, scale } = attrs;
  const headDim = nopeDim + ropeDim;
  const rows = rowsOf(given, stretch);
  return {
    ...{ heads, kvHeads: heads, headDim, valueDim, scale, profile },
    ...{ ready: queries, y: node.outputs[0] },
    source: joinAccess(
      ...["positions", "sequence_ids"].map((name) => reads(name, "i32", input(node, name))),
      STEP,
      plannedAccess(expansion),
      stretchAccess(expansion, stretch),
      keptRows("keys", headDim, expansion.format, "read", keys),
      keptRows("values", valueDim, expansion.format, "read", values),
      fragments(stretchSource),
    ),
    results: joinAccess(
      writes("softmax", "vec2<f32>", softmax),
      fragments(stretchResults),
    ),
    runs: (sizes) => rows.of(sizes) > 0,
  };
}
