/**
 * MoE layers for many tokens: sort the (token, slot) pairs by expert, two grouped GEMMs, and a sum
 * over slots; four dispatches. `grouped` gathers rows while the GEMM loads them and keeps results by
 * pair; `permuted` copies the rows to their sorted places first and leaves the routing weight to the
 * sum.
 *
 * @module
 */

import { composeShader, type ShaderBuffer, STEP_TYPE } from "../../compose.ts";
import type { Value } from "../../../graph/mod.ts";
import type { Access } from "../../access/access.ts";
import { type Dispatch, foldGrid, type Scratch } from "../../kernel.ts";
import { joinAccess, rowsAccess, vectorAccess } from "../../access/weights.ts";
import elementF32 from "./element_f32.wgsl" with { type: "text" };
import elementVec4 from "./element_vec4.wgsl" with { type: "text" };
import operandsF16 from "./operands_f16.wgsl" with { type: "text" };
import operandsF32 from "./operands_f32.wgsl" with { type: "text" };
import alignBody from "./align.wgsl" with { type: "text" };
import alignOnly from "./align_only.wgsl" with { type: "text" };
import finishDown from "./finish_down.wgsl" with { type: "text" };
import finishUp from "./finish_up.wgsl" with { type: "text" };
import directBody from "./direct_gemm.wgsl" with { type: "text" };
import gemmTiles from "./gemm_tiles.wgsl" with { type: "text" };
import gemmBody from "./grouped_gemm.wgsl" with { type: "text" };
import residualPresent from "./residual.wgsl" with { type: "text" };
import residualAbsent from "./residual_absent.wgsl" with { type: "text" };
import rowsByPair from "./rows_by_pair.wgsl" with { type: "text" };
import rowsByPosition from "./rows_by_position.wgsl" with { type: "text" };
import permute from "./permute.wgsl" with { type: "text" };
import skinnyBody from "./skinny_gemm.wgsl" with { type: "text" };
import reduceBody from "./reduce.wgsl" with { type: "text" };
import type { GemmConfig, GemmTile, Staging } from "./config.ts";
import { extentOf } from "../../access/extent.ts";
import { expertActivation } from "./expert_math.ts";
import { expertRounding, roundScratch } from "./rounding.ts";
import { mostBlocks, type PlanBuffer, planBuffer } from "./plan_buffer.ts";
import { laneSum } from "../../reduce/lane_sum.ts";
import { type DeviceMoeSpec, matricesOf, type MoeSlots } from "../spec.ts";
import { stagingConstants, tileConstants } from "./tile_constants.ts";
import {
  activeWeightBytes,
  expertAccess,
  type ExpertRange,
  expertRanges,
  moeWeight,
  type MoeWeightName,
} from "./weights.ts";

/** The shader of each way of staging. */
const BODIES: Readonly<Record<Staging, string>> = {
  both: gemmBody,
  rows: skinnyBody,
  none: directBody,
};

/** What both operands are kept as where both are staged; the other kernels keep f32. */
const OPERANDS = { f32: operandsF32, f16: operandsF16 };

/** Values of `SOURCE` and `TARGET`: which row of a buffer belongs to a sorted position. */
const ROW_KINDS = { BY_TOKEN: 0, BY_PAIR: 1, BY_POSITION: 2 };

/** A layer being lowered. */
interface Layer {
  readonly spec: DeviceMoeSpec;
  readonly slots: MoeSlots;
  readonly config: GemmConfig;
  readonly plan: PlanBuffer;
  readonly permuted: boolean;
}

/** One of the two products. */
interface Product {
  readonly which: MoeWeightName;
  readonly kernel: string;
  readonly rows: Value | Scratch;
  readonly result: Scratch;
  readonly outputs: number;
  readonly tile: GemmTile;
  readonly source: number;
  readonly target: number;
  readonly epilogue: Access;
}

/** The dispatches of a layer. */
export function lowerGrouped(
  spec: DeviceMoeSpec,
  slots: MoeSlots,
  config: GemmConfig,
): readonly Dispatch[] {
  const permuted = config.algorithm === "permuted";
  const layer: Layer = { spec, slots, config, plan: planBuffer(spec, config), permuted };
  const { rounded, dispatches } = roundActivated(layer);
  return [
    sort(layer),
    ...gemm(layer, upProduct(layer)),
    ...dispatches,
    ...gemm(layer, downProduct(layer, rounded ?? activated(layer))),
    reduce(layer),
  ];
}

function sort(layer: Layer): Dispatch {
  const { spec, slots, plan, permuted } = layer;
  const threads = Math.min(256, spec.profile.maxInvocations);
  const copy = permuted
    ? copyAccess(layer)
    : { buffers: [], fragments: [alignOnly], constants: {} };
  const shader = composeShader({
    constants: { ...plan.constants, ...copy.constants, THREADS: threads },
    buffers: [
      { name: "selected", type: "array<i32>", access: "read", buffer: slots.selectedExperts },
      ...copy.buffers,
      { name: "plan", type: "array<u32>", access: "read_write", buffer: plan.scratch },
      stepBuffer(),
    ],
    fragments: copy.fragments,
    body: alignBody,
  });
  return {
    kernel: permuted ? "moe_permute" : "moe_align",
    ...shader,
    workgroups: ({ T }) => T === 0 ? [0, 1, 1] : [spec.experts, plan.slices, 1],
  };
}

/** What copying rows adds to the sort. */
function copyAccess(layer: Layer): Access {
  const { spec, slots, plan } = layer;
  const { alias, elements, type } = elementsOf(spec.hidden);
  const routing = spec.applyRoutingOnInput ? slots.routingWeights : undefined;
  const factor = vectorAccess("input_factor", routing, 1);
  return {
    buffers: [
      { name: "x", type, access: "read", buffer: slots.roundedX ?? slots.x },
      ...factor.buffers,
      { name: "permuted", type, access: "read_write", buffer: permutedRows(layer) },
    ],
    fragments: [alias, permute, ...factor.fragments],
    constants: { ROW_ELEMENTS: elements, SLICE_COLUMNS: Math.ceil(elements / plan.slices) },
  };
}

function upProduct(layer: Layer): Product {
  const { spec, slots, config, permuted } = layer;
  // Permuted rows were multiplied while they were copied.
  const routing = spec.applyRoutingOnInput && !permuted ? slots.routingWeights : undefined;
  return {
    which: "up",
    kernel: "moe_gemm_up",
    rows: permuted ? permutedRows(layer) : slots.roundedX ?? slots.x,
    result: activated(layer),
    outputs: spec.intermediate,
    tile: config.up,
    source: permuted ? ROW_KINDS.BY_POSITION : ROW_KINDS.BY_TOKEN,
    target: permuted ? ROW_KINDS.BY_POSITION : ROW_KINDS.BY_PAIR,
    epilogue: joinAccess(
      vectorAccess("input_factor", routing, 1),
      vectorAccess("bias", slots.bUp),
      expertActivation(spec),
      { buffers: [], fragments: [finishUp], constants: {} },
    ),
  };
}

function downProduct(layer: Layer, rows: Product["rows"]): Product {
  const { spec, slots, config, permuted } = layer;
  const routing = spec.applyRoutingOnInput || permuted ? undefined : slots.routingWeights;
  const kind = permuted ? ROW_KINDS.BY_POSITION : ROW_KINDS.BY_PAIR;
  return {
    which: "down",
    kernel: "moe_gemm_down",
    rows,
    result: expertRows(layer),
    outputs: spec.hidden,
    tile: config.down,
    source: kind,
    target: kind,
    epilogue: joinAccess(
      vectorAccess("output_factor", routing, 1),
      vectorAccess("bias", slots.bDown),
      { buffers: [], fragments: [finishDown], constants: {} },
    ),
  };
}

function gemm(layer: Layer, product: Product): Dispatch[] {
  const { spec, slots } = layer;
  return expertRanges(spec, slots, product.which).map((range) => gemmPart(layer, product, range));
}

function gemmPart(layer: Layer, product: Product, range: ExpertRange): Dispatch {
  const { spec, slots, config, plan } = layer;
  const { which, tile, outputs } = product;
  const matrices = which === "up" ? matricesOf(spec) : 1;
  const weight = moeWeight(spec, slots, which);
  const access = joinAccess(
    rowsAccess("rows", weight.columns, { buffer: product.rows }),
    expertRounding("rows", spec, slots, which),
    expertAccess("w", weight, range, spec.experts),
    product.epilogue,
    ...(tile.staging === "rows" ? [laneSum(spec, tile.lanes)] : []),
  );
  const shader = composeShader({
    constants: {
      ...access.constants,
      ...plan.constants,
      ...ROW_KINDS,
      ...tileConstants(config.blockM, tile, matrices),
      ...stagingConstants(config.blockM, tile, Number(access.constants.w_PARTS), spec),
      OUTPUTS: outputs,
      SOURCE: product.source,
      TARGET: product.target,
    },
    buffers: [
      ...access.buffers,
      { name: "plan", type: "array<u32>", access: "read", buffer: plan.scratch },
      { name: "y", type: "array<f32>", access: "read_write", buffer: product.result },
      stepBuffer(),
    ],
    fragments: [
      ...access.fragments,
      gemmTiles,
      ...(tile.staging === "both" ? [OPERANDS[spec.operands]] : []),
    ],
    body: BODIES[tile.staging],
  });
  const tiles = Math.ceil(outputs / (tile.blockN / matrices));
  return {
    kernel: product.kernel,
    ...shader,
    workgroups: ({ T }) =>
      foldGrid(
        mostBlocks(T * spec.topK, spec.experts, config.blockM) * tiles,
        spec.profile.maxWorkgroupsPerDimension,
      ),
    weightBytes: activeWeightBytes(spec, slots, which, range),
  };
}

function reduce(layer: Layer): Dispatch {
  const { spec, slots, plan, permuted } = layer;
  const { alias, elements, type } = elementsOf(spec.hidden);
  const routing = permuted && !spec.applyRoutingOnInput ? slots.routingWeights : undefined;
  const factor = vectorAccess("output_factor", routing, 1);
  const threads = Math.min(256, spec.profile.maxInvocations);
  const buffers: ShaderBuffer[] = [
    { name: "rows", type, access: "read", buffer: expertRows(layer) },
    { name: "selected", type: "array<i32>", access: "read", buffer: slots.selectedExperts },
    ...factor.buffers,
  ];
  if (permuted) {
    buffers.push({ name: "plan", type: "array<u32>", access: "read", buffer: plan.scratch });
  }
  if (slots.residual) {
    buffers.push({ name: "residual", type, access: "read", buffer: slots.residual });
  }
  const shader = composeShader({
    constants: { ...plan.constants, ROW_ELEMENTS: elements, THREADS: threads },
    buffers: [
      ...buffers,
      { name: "y", type, access: "read_write", buffer: slots.output },
      stepBuffer(),
    ],
    fragments: [
      alias,
      ...factor.fragments,
      permuted ? rowsByPosition : rowsByPair,
      slots.residual ? residualPresent : residualAbsent,
    ],
    body: reduceBody,
  });
  return {
    kernel: permuted ? "moe_finalize" : "moe_reduce",
    ...shader,
    workgroups: ({ T }) =>
      foldGrid(Math.ceil(T * elements / threads), spec.profile.maxWorkgroupsPerDimension),
  };
}

/** Rows of x at their sorted places. */
function permutedRows({ spec, plan }: Layer): Scratch {
  return scratch("moe_permuted", plan.maxPositions * spec.hidden);
}

/** Activated products, by pair or by sorted position. */
function activated({ spec, plan, permuted }: Layer): Scratch {
  const rows = permuted ? plan.maxPositions : spec.tokens.max * spec.topK;
  return scratch("moe_act", rows * spec.intermediate);
}

/** Activated products rounded, where the layer does so by a dispatch. */
function roundActivated(layer: Layer) {
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
function expertRows({ spec, plan, permuted }: Layer): Scratch {
  const rows = permuted ? plan.maxPositions : spec.tokens.max * spec.topK;
  return scratch("moe_rows", rows * spec.hidden);
}

function scratch(name: string, elements: number): Scratch {
  return { kind: "scratch", name, bytes: elements * 4 };
}

/** Rows as vectors where their length allows. */
function elementsOf(columns: number): { alias: string; elements: number; type: string } {
  return columns % 4 === 0
    ? { alias: elementVec4, elements: columns / 4, type: "array<vec4<f32>>" }
    : { alias: elementF32, elements: columns, type: "array<f32>" };
}

function stepBuffer(): ShaderBuffer {
  return { name: "sizes", type: STEP_TYPE, access: "uniform", buffer: { kind: "step" } };
}
