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
import { type Extent, extentOf, STEP } from "../../access/extent.ts";
import { operandAccess } from "../../access/operand.ts";
import { rowsAccess } from "../../access/rows.ts";
import { composeDispatch } from "../../dispatch.ts";
import {
  type DeviceProfile,
  type Dispatch,
  foldGrid,
  type Rows,
  type Scratch,
} from "../../kernel.ts";
import { laneSum } from "../../reduce/lane_sum.ts";
import { halveRowsDispatch, leftRows } from "../../matrices/halves.ts";
import { matrixProduct, rowChunks } from "../../matrices/matrices.ts";
import storeRagged from "../../matrices/store_ragged.wgsl" with { type: "text" };
import storeVec4 from "../../matrices/store_vec4.wgsl" with { type: "text" };
import { matricesOf } from "../spec.ts";
import alignBody from "./align.wgsl" with { type: "text" };
import alignOnly from "./align_only.wgsl" with { type: "text" };
import type { GemmConfig, GemmTile } from "./config.ts";
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
import matrixBlocks from "./matrix_blocks.wgsl" with { type: "text" };
import operandsF16 from "./operands_f16.wgsl" with { type: "text" };
import operandsF32 from "./operands_f32.wgsl" with { type: "text" };
import permute from "./permute.wgsl" with { type: "text" };
import { mostBlocks, type PlanBuffer, planBuffer } from "./plan_buffer.ts";
import reduceBody from "./reduce.wgsl" with { type: "text" };
import { expertRounding, type Rounded, roundScratch } from "./rounding.ts";
import rowsByPair from "./rows_by_pair.wgsl" with { type: "text" };
import rowsByPosition from "./rows_by_position.wgsl" with { type: "text" };
import skinnyBody from "./skinny_gemm.wgsl" with { type: "text" };
import { type StagedTile, stagingConstants, tileConstants } from "./tile_constants.ts";
import {
  activeWeightBytes,
  expertAccess,
  type ExpertRange,
  expertRanges,
  type ExpertWeight,
} from "./weights.ts";

/** The shader of each way of staging but matrices. */
const BODIES: Readonly<Record<StagedTile["staging"], string>> = {
  both: gemmBody,
  rows: skinnyBody,
  none: directBody,
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
      constants({ INVOCATIONS: sortInvocations(spec.profile) }),
      writes("plan", "u32", plan.scratch),
      STEP,
    ],
    body: alignBody,
    workgroups: ({ T }) => T === 0 ? [0, 1, 1] : [spec.experts, plan.slices, 1],
  });
}

/** At each of the sort's barriers a CPU changes between all invocations of a workgroup. */
function sortInvocations({ software, maxInvocations }: DeviceProfile): number {
  return Math.min(software ? 32 : 256, maxInvocations);
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
  const { staging } = product.tile;
  if (staging === "matrices") return matrixGemm(layer, product, ranges);
  const tile = { ...product.tile, staging };
  return ranges.map((range) => gemmPart(layer, product, tile, range));
}

/** Weight matrices that a product takes at once. */
function matricesIn({ spec }: Layer, { weight }: Product): number {
  return weight.which === "up" ? matricesOf(spec) : 1;
}

function gemmPart(
  layer: GroupedLayer,
  product: Product,
  tile: StagedTile,
  range: ExpertRange,
): Dispatch {
  const { spec, config } = layer;
  const { weight } = product;
  const { staging } = tile;
  const w = expertAccess("w", weight, range);
  const wordChunks = Number(w.constants.w_CHUNKS);
  return composeGemm(layer, product, range, {
    accesses: [
      rowsAccess("rows", weight.columns, { buffer: product.rows }),
      expertRounding("rows", spec, weight),
      w,
    ],
    form: joinAccess(
      ...(staging === "rows" ? [laneSum(spec.profile, tile.lanes)] : []),
      constants({
        ...tileConstants(config.blockM, tile, matricesIn(layer, product)),
        ...stagingConstants(config.blockM, tile, wordChunks, spec),
      }),
    ),
    ends: fragments(...(staging === "both" ? [OPERANDS[spec.operands]] : [])),
    element: "f32",
    body: BODIES[staging],
  });
}

/** Rows as halves, then a dispatch for each range of experts. */
function matrixGemm(
  layer: GroupedLayer,
  product: Product,
  ranges: readonly ExpertRange[],
): Dispatch[] {
  const { spec, config } = layer;
  const { weight, outputs } = product;
  const tile = { blockM: config.blockM, ...product.tile };
  const { halved, dispatch } = halveRowsDispatch({
    name: `moe_${weight.which}`,
    x: product.rows,
    ...rowsInFront(layer, product),
    columns: weight.columns,
    chunks: rowChunks(weight.columns, tile),
    weight,
  }, spec.profile);
  const quads = outputs % 4 === 0;
  const parts = ranges.map((range) => {
    const w = expertAccess("w", weight, range);
    const matrices = matricesIn(layer, product);
    const { access, body } = matrixProduct(tile, matrices, w.constants, spec.profile);
    return composeGemm(layer, product, range, {
      accesses: [leftRows(halved), w],
      form: joinAccess(constants(tileConstants(config.blockM, tile, matrices)), access),
      ends: fragments(matrixBlocks, quads ? storeVec4 : storeRagged),
      element: quads ? "vec4<f32>" : "f32",
      body,
    });
  });
  return [dispatch, ...parts];
}

/** How many rows a product reads, in a step and at most. */
function rowsInFront(
  { spec, plan }: GroupedLayer,
  { source }: Product,
): { readonly rows: Extent; readonly largest: number } {
  switch (source) {
    case ROW_KINDS.BY_TOKEN:
      return { rows: extentOf(["T"]), largest: spec.tokens.max };
    case ROW_KINDS.BY_PAIR:
      return { rows: extentOf(["T", spec.topK]), largest: spec.tokens.max * spec.topK };
    default:
      return { rows: extentOf([plan.maxPositions]), largest: plan.maxPositions };
  }
}

/** What a way of staging brings to the shader of a product. */
interface GemmParts {
  /** Both operands. */
  readonly accesses: readonly Access[];
  /** Its tile. */
  readonly form: Access;
  /** What comes behind all that the ways have in common. */
  readonly ends: Access;
  /** Of `y`. */
  readonly element: string;
  readonly body: string;
}

/** A product's shader, with what all ways of staging have in common. */
function composeGemm(
  { spec, config, plan }: GroupedLayer,
  { kernel, epilogue, weight, result, tile, outputs, source, target }: Product,
  range: ExpertRange,
  { accesses, form, ends, element, body }: GemmParts,
): Dispatch {
  const matrices = weight.which === "up" ? matricesOf(spec) : 1;
  const tiles = Math.ceil(outputs / (tile.blockN / matrices));
  return composeDispatch({
    kernel,
    accesses: [
      ...accesses,
      epilogue,
      form,
      constants({
        ...plan.constants,
        ...ROW_KINDS,
        OUTPUTS: outputs,
        SOURCE: source,
        TARGET: target,
      }),
      reads("plan", "u32", plan.scratch),
      writes("y", element, result),
      STEP,
      fragments(gemmTiles),
      ends,
    ],
    body,
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
  const { TOP_K, EXPERTS, PLAN_POSITIONS } = plan.constants;
  return composeDispatch({
    kernel: permuted ? "moe_finalize" : "moe_reduce",
    accesses: [
      // Without constants that it does not use, one shader serves steps of all sizes.
      constants({ TOP_K, EXPERTS, ROW_ELEMENTS: elements, INVOCATIONS: threads }),
      constants(permuted ? { PLAN_POSITIONS } : {}),
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
