/**
 * MoE layers for many tokens: sort the (token, slot) pairs by expert, two grouped GEMMs, and a sum
 * over slots; four dispatches. `grouped` gathers rows while the GEMM loads them and keeps results
 * by pair; `permuted` copies the rows to their sorted places first and leaves the routing weight to
 * the sum.
 *
 * @module
 */

import {
  type Access,
  constants,
  fragments,
  joinAccess,
  reads,
  writes,
} from "../../access/access.ts";
import { extentOf, STEP } from "../../access/extent.ts";
import { operandAccess } from "../../access/operand.ts";
import { rowsAccess } from "../../access/rows.ts";
import { composeDispatch } from "../../dispatch.ts";
import { type Dispatch, foldGrid, type Rows, type Scratch } from "../../kernel.ts";
import { laneSum } from "../../reduce/lane_sum.ts";
import { matricesOf } from "../spec.ts";
import alignBody from "./align.wgsl" with { type: "text" };
import alignOnly from "./align_only.wgsl" with { type: "text" };
import type { GemmConfig, GemmTile, Staging } from "./config.ts";
import directBody from "./direct_gemm.wgsl" with { type: "text" };
import elementF32 from "./element_f32.wgsl" with { type: "text" };
import elementVec4 from "./element_vec4.wgsl" with { type: "text" };
import { expertActivation } from "./expert_math.ts";
import finishDown from "./finish_down.wgsl" with { type: "text" };
import finishUp from "./finish_up.wgsl" with { type: "text" };
import gemmTiles from "./gemm_tiles.wgsl" with { type: "text" };
import gemmBody from "./grouped_gemm.wgsl" with { type: "text" };
import {
  inputFactor,
  type Layer,
  layerScratch,
  noFactor,
  outputFactor,
  selectedExperts,
} from "./layer.ts";
import matrixBody from "./matrix_gemm.wgsl" with { type: "text" };
import { matrixParts } from "./matrices.ts";
import operandsF16 from "./operands_f16.wgsl" with { type: "text" };
import operandsF32 from "./operands_f32.wgsl" with { type: "text" };
import permute from "./permute.wgsl" with { type: "text" };
import { mostBlocks, type PlanBuffer, planBuffer } from "./plan_buffer.ts";
import reduceBody from "./reduce.wgsl" with { type: "text" };
import { expertRounding, type Rounded, roundScratch } from "./rounding.ts";
import rowsByPair from "./rows_by_pair.wgsl" with { type: "text" };
import rowsByPosition from "./rows_by_position.wgsl" with { type: "text" };
import skinnyBody from "./skinny_gemm.wgsl" with { type: "text" };
import { stagingConstants, tileConstants } from "./tile_constants.ts";
import {
  activeWeightBytes,
  expertAccess,
  type ExpertRange,
  expertRanges,
  type ExpertWeight,
} from "./weights.ts";

/** The shader of each way of staging. */
const BODIES: Readonly<Record<Staging, string>> = {
  both: gemmBody,
  rows: skinnyBody,
  none: directBody,
  matrices: matrixBody,
};

/** What both operands are kept as where both are staged; the other kernels keep f32. */
const OPERANDS = { f32: operandsF32, f16: operandsF16, auto: operandsF32 };

/** Values of `SOURCE` and `TARGET`: which row of a buffer belongs to a sorted position. */
const ROW_KINDS = { BY_TOKEN: 0, BY_PAIR: 1, BY_POSITION: 2 };

/** A layer with the plan of its sort. */
interface GroupedLayer extends Layer {
  readonly config: GemmConfig;
  readonly plan: PlanBuffer;
  readonly permuted: boolean;
}

/** One of the two products. */
interface Product {
  readonly kernel: string;
  readonly weight: ExpertWeight;
  readonly rows: Rows;
  readonly result: Scratch;
  readonly outputs: number;
  readonly tile: GemmTile;
  readonly source: number;
  readonly target: number;
  readonly epilogue: Access;
}

/** The dispatches of a layer. */
export function lowerGrouped(given: Layer, config: GemmConfig): readonly Dispatch[] {
  const permuted = config.algorithm === "permuted";
  const layer = { ...given, config, plan: planBuffer(given.spec, config), permuted };
  const { rounded, dispatches } = roundActivated(layer);
  return [
    sort(layer),
    ...gemm(layer, upProduct(layer)),
    ...dispatches,
    ...gemm(layer, downProduct(layer, rounded ?? activated(layer))),
    reduce(layer),
  ];
}

function sort(layer: GroupedLayer): Dispatch {
  const { spec, plan, permuted } = layer;
  return composeDispatch({
    kernel: permuted ? "moe_permute" : "moe_align",
    accesses: [
      constants(plan.constants),
      selectedExperts(layer),
      permuted ? copyAccess(layer) : fragments(alignOnly),
      constants({ INVOCATIONS: Math.min(256, spec.profile.maxInvocations) }),
      writes("plan", "u32", plan.scratch),
      STEP,
    ],
    body: alignBody,
    workgroups: ({ T }) => T === 0 ? [0, 1, 1] : [spec.experts, plan.slices, 1],
  });
}

/** What copying rows adds to the sort. */
function copyAccess(layer: GroupedLayer): Access {
  const { spec, plan, x } = layer;
  const { alias, elements } = elementsOf(spec.hidden);
  return joinAccess(
    reads("x", "Element", x),
    fragments(alias, permute),
    inputFactor(layer),
    writes("permuted", "Element", permutedRows(layer)),
    constants({ ROW_ELEMENTS: elements, SLICE_COLUMNS: Math.ceil(elements / plan.slices) }),
  );
}

function upProduct(layer: GroupedLayer): Product {
  const { spec, config, permuted, up } = layer;
  return {
    kernel: "moe_gemm_up",
    weight: up,
    rows: permuted ? permutedRows(layer) : layer.x,
    result: activated(layer),
    outputs: spec.intermediate,
    tile: config.up,
    source: permuted ? ROW_KINDS.BY_POSITION : ROW_KINDS.BY_TOKEN,
    target: permuted ? ROW_KINDS.BY_POSITION : ROW_KINDS.BY_PAIR,
    epilogue: joinAccess(
      // Permuted rows were multiplied while they were copied.
      permuted ? noFactor("input_factor") : inputFactor(layer),
      operandAccess("bias", up.bias, "numbers"),
      expertActivation(spec),
      fragments(finishUp),
    ),
  };
}

function downProduct(layer: GroupedLayer, rows: Rows): Product {
  const { spec, config, permuted, down } = layer;
  const kind = permuted ? ROW_KINDS.BY_POSITION : ROW_KINDS.BY_PAIR;
  return {
    kernel: "moe_gemm_down",
    weight: down,
    rows,
    result: expertRows(layer),
    outputs: spec.hidden,
    tile: config.down,
    source: kind,
    target: kind,
    epilogue: joinAccess(
      permuted ? noFactor("output_factor") : outputFactor(layer),
      operandAccess("bias", down.bias, "numbers"),
      fragments(finishDown),
    ),
  };
}

function gemm(layer: GroupedLayer, product: Product): Dispatch[] {
  const ranges = expertRanges(layer.spec, product.weight);
  return ranges.map((range) => gemmPart(layer, product, range));
}

function gemmPart(layer: GroupedLayer, product: Product, range: ExpertRange): Dispatch {
  const { spec, config, plan } = layer;
  const { weight, tile, outputs } = product;
  const matrices = weight.which === "up" ? matricesOf(spec) : 1;
  const w = expertAccess("w", weight, range);
  const wordChunks = Number(w.constants.w_CHUNKS);
  const tiles = Math.ceil(outputs / (tile.blockN / matrices));
  const parts = tile.staging === "matrices"
    ? matrixParts(config.blockM, tile, matrices, spec)
    : undefined;
  return composeDispatch({
    kernel: product.kernel,
    accesses: [
      rowsAccess("rows", weight.columns, { buffer: product.rows }),
      expertRounding("rows", spec, weight),
      w,
      product.epilogue,
      ...(tile.staging === "rows" ? [laneSum(spec.profile, tile.lanes)] : []),
      constants({
        ...plan.constants,
        ...ROW_KINDS,
        ...tileConstants(config.blockM, tile, matrices),
        ...stagingConstants(config.blockM, tile, wordChunks, spec),
        ...parts?.constants,
        OUTPUTS: outputs,
        SOURCE: product.source,
        TARGET: product.target,
      }),
      reads("plan", "u32", plan.scratch),
      writes("y", "f32", product.result),
      STEP,
      fragments(
        gemmTiles,
        ...(tile.staging === "both" ? [OPERANDS[spec.operands]] : parts?.fragments ?? []),
      ),
    ],
    body: BODIES[tile.staging],
    workgroups: ({ T }) =>
      foldGrid(
        mostBlocks(T * spec.topK, spec.experts, config.blockM) * tiles,
        spec.profile.maxWorkgroupsPerDimension,
      ),
    weightBytes: activeWeightBytes(spec, weight, range),
  });
}

function reduce(layer: GroupedLayer): Dispatch {
  const { spec, values, plan, permuted } = layer;
  const { alias, elements } = elementsOf(spec.hidden);
  const threads = Math.min(256, spec.profile.maxInvocations);
  return composeDispatch({
    kernel: permuted ? "moe_finalize" : "moe_reduce",
    accesses: [
      constants({ ...plan.constants, ROW_ELEMENTS: elements, INVOCATIONS: threads }),
      reads("rows", "Element", expertRows(layer)),
      selectedExperts(layer),
      fragments(alias),
      permuted ? outputFactor(layer) : noFactor("output_factor"),
      permuted
        ? joinAccess(reads("plan", "u32", plan.scratch), fragments(rowsByPosition))
        : fragments(rowsByPair),
      operandAccess("residual", values.residual, "elements"),
      writes("y", "Element", values.output),
      STEP,
    ],
    body: reduceBody,
    workgroups: ({ T }) =>
      foldGrid(Math.ceil(T * elements / threads), spec.profile.maxWorkgroupsPerDimension),
  });
}

/** Rows of x at their sorted places. */
function permutedRows({ spec, plan }: GroupedLayer): Scratch {
  return layerScratch("moe_permuted", plan.maxPositions * spec.hidden);
}

/** Activated products, by pair or by sorted position. */
function activated({ spec, plan, permuted }: GroupedLayer): Scratch {
  const rows = permuted ? plan.maxPositions : spec.tokens.max * spec.topK;
  return layerScratch("moe_act", rows * spec.intermediate);
}

/** Activated products rounded, where the layer does so by a dispatch. */
function roundActivated(layer: GroupedLayer): Rounded {
  const { spec, plan, permuted } = layer;
  return roundScratch(spec, {
    name: "moe_act_rounded",
    rows: activated(layer),
    // Places that no pair was sorted to are rounded too, and read by nobody.
    extent: extentOf(permuted ? [plan.maxPositions] : ["T", spec.topK]),
    largest: permuted ? plan.maxPositions : spec.tokens.max * spec.topK,
    columns: spec.intermediate,
  });
}

/** Results of the experts, by pair or by sorted position. */
function expertRows({ spec, plan, permuted }: GroupedLayer): Scratch {
  const rows = permuted ? plan.maxPositions : spec.tokens.max * spec.topK;
  return layerScratch("moe_rows", rows * spec.hidden);
}

/** Rows as vectors where their length allows: the type `Element`, and how many a row has. */
function elementsOf(columns: number): { alias: string; elements: number } {
  return columns % 4 === 0
    ? { alias: elementVec4, elements: columns / 4 }
    : { alias: elementF32, elements: columns };
}
