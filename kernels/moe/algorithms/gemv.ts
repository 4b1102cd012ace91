/**
 * MoE layers for few tokens: output-centric kernels, two dispatches a layer, no sort, no slot
 * buffer. Slot by slot (`moe_gate_up`, `moe_down`) or expert by expert (`moe_gate_up_experts`,
 * `moe_down_experts`).
 *
 * @module
 */

import { composeShader, instantiate, type ShaderConstants, STEP_TYPE } from "../../compose.ts";
import type { Access } from "../../access/access.ts";
import type { Dispatch, Scratch, StepSizes } from "../../kernel.ts";
import { joinAccess, rowsAccess, vectorAccess } from "../../access/weights.ts";
import vector from "../../access/vector.wgsl" with { type: "text" };
import downBody from "./down.wgsl" with { type: "text" };
import downExpertsBody from "./down_experts.wgsl" with { type: "text" };
import gateUpBody from "./gate_up.wgsl" with { type: "text" };
import gateUpExpertsBody from "./gate_up_experts.wgsl" with { type: "text" };
import type { ExpertConfig, SlotConfig } from "./config.ts";
import { extentOf } from "../../access/extent.ts";
import { expertActivation } from "./expert_math.ts";
import { laneSum } from "../../reduce/lane_sum.ts";
import { expertRounding, roundScratch } from "./rounding.ts";
import { type DeviceMoeSpec, matricesOf, type MoeSlots } from "../spec.ts";
import {
  activeWeightBytes,
  expertAccess,
  type ExpertRange,
  expertRanges,
  moeWeight,
} from "./weights.ts";

/** What one of the four kernels differs in. */
interface Stage {
  readonly kernel: string;
  readonly body: string;
  readonly constants: ShaderConstants;
  /** Whether the shader asks for the number of tokens. */
  readonly readsStep: boolean;
  grid(sizes: StepSizes, range: ExpertRange): readonly [number, number, number];
}

/** The dispatches of a layer, slot by slot. */
export function lowerSlots(
  spec: DeviceMoeSpec,
  slots: MoeSlots,
  config: SlotConfig,
): readonly Dispatch[] {
  const { lanes, up, down } = config;
  const upOutputs = up.values / matricesOf(spec);
  const upWords = wordsOf(spec, slots, "up");
  const downWords = wordsOf(spec, slots, "down");
  return [
    ...upDispatches(spec, slots, {
      kernel: "moe_gate_up",
      body: gateUpBody,
      readsStep: false,
      constants: {
        ...upConstants(spec, lanes, up.values),
        THREADS: lanes * up.groups,
        GROUPS: up.groups,
        ...wordConstants(upWords, lanes, up.unroll),
      },
      grid: ({ T }) => [Math.ceil(spec.intermediate / (upOutputs * up.groups)), spec.topK, T],
    }),
    ...downDispatches(spec, slots, {
      kernel: "moe_down",
      body: downBody,
      readsStep: false,
      constants: {
        ...downConstants(lanes, down.values, down.groups),
        ...wordConstants(downWords, lanes, down.unroll),
      },
      grid: ({ T }) => [Math.ceil(spec.hidden / down.values), T, 1],
    }),
  ];
}

/** The dispatches of a layer, expert by expert. */
export function lowerExperts(
  spec: DeviceMoeSpec,
  slots: MoeSlots,
  config: ExpertConfig,
): readonly Dispatch[] {
  const { lanes, columns, up, down } = config;
  const maxPairs = spec.tokens.max * spec.topK;
  const upOutputs = up.values / matricesOf(spec);
  return [
    ...upDispatches(spec, slots, {
      kernel: "moe_gate_up_experts",
      body: gateUpExpertsBody,
      readsStep: true,
      constants: {
        ...upConstants(spec, lanes, up.values),
        THREADS: lanes,
        COLUMNS: columns,
        MAX_PAIRS: maxPairs,
      },
      grid: (_, { first, end }) => [Math.ceil(spec.intermediate / upOutputs), end - first, 1],
    }),
    ...downDispatches(spec, slots, {
      kernel: "moe_down_experts",
      body: downExpertsBody,
      readsStep: true,
      constants: {
        ...downConstants(lanes, down.values, down.groups),
        COLUMNS: columns,
        MAX_PAIRS: maxPairs,
        MAX_TOKENS: spec.tokens.max,
      },
      grid: () => [Math.ceil(spec.hidden / down.values), 1, 1],
    }),
  ];
}

/** Activated products, `[tokens · slots, intermediate]`. */
function actScratch(spec: DeviceMoeSpec): Scratch {
  const bytes = spec.tokens.max * spec.topK * spec.intermediate * 4;
  return { kind: "scratch", name: "moe_act", bytes };
}

function upDispatches(spec: DeviceMoeSpec, slots: MoeSlots, stage: Stage): Dispatch[] {
  const routing = spec.applyRoutingOnInput ? slots.routingWeights : undefined;
  return expertRanges(spec, slots, "up").map((range) => {
    const weight = moeWeight(spec, slots, "up");
    const access = joinAccess(
      rowsAccess("x", spec.hidden, { buffer: slots.roundedX ?? slots.x }),
      expertRounding("x", spec, slots, "up"),
      selectedAccess(slots),
      vectorAccess("input_factor", routing, 1),
      expertAccess("w_up", weight, range, spec.experts),
      vectorAccess("b_up", slots.bUp),
      expertActivation(spec),
      laneSum(spec, Number(stage.constants.LANES)),
      outputAccess("act", actScratch(spec)),
    );
    return dispatchOf(spec, stage, access, range, activeWeightBytes(spec, slots, "up", range));
  });
}

function downDispatches(spec: DeviceMoeSpec, slots: MoeSlots, stage: Stage): Dispatch[] {
  const routing = spec.applyRoutingOnInput ? undefined : slots.routingWeights;
  const { rounded, dispatches } = roundScratch(spec, {
    name: "moe_act_rounded",
    rows: actScratch(spec),
    extent: extentOf(["T", spec.topK]),
    largest: spec.tokens.max * spec.topK,
    columns: spec.intermediate,
  });
  const products = expertRanges(spec, slots, "down").map((range, i) => {
    const weight = moeWeight(spec, slots, "down");
    const access = joinAccess(
      rowsAccess("act", spec.intermediate, { buffer: rounded ?? actScratch(spec) }),
      expertRounding("act", spec, slots, "down"),
      selectedAccess(slots),
      vectorAccess("output_factor", routing, 1),
      expertAccess("w_down", weight, range, spec.experts),
      vectorAccess("b_down", slots.bDown),
      i === 0 ? vectorAccess("residual", slots.residual) : earlierSums(),
      laneSum(spec, Number(stage.constants.LANES)),
      outputAccess("y", slots.output),
    );
    return dispatchOf(spec, stage, access, range, activeWeightBytes(spec, slots, "down", range));
  });
  return [...dispatches, ...products];
}

function dispatchOf(
  spec: DeviceMoeSpec,
  stage: Stage,
  access: Access,
  range: ExpertRange,
  weightBytes: (sizes: StepSizes) => number,
): Dispatch {
  const step = stage.readsStep
    ? [{ name: "sizes", type: STEP_TYPE, access: "uniform", buffer: { kind: "step" } } as const]
    : [];
  const shader = composeShader({
    constants: {
      ...access.constants,
      ...stage.constants,
      HIDDEN: spec.hidden,
      INTERMEDIATE: spec.intermediate,
      TOP_K: spec.topK,
      MATRICES: matricesOf(spec),
    },
    buffers: [...access.buffers, ...step],
    fragments: access.fragments,
    body: stage.body,
  });
  return {
    kernel: stage.kernel,
    ...shader,
    workgroups: (sizes) => stage.grid(sizes, range),
    weightBytes,
  };
}

function upConstants(spec: DeviceMoeSpec, lanes: number, values: number): ShaderConstants {
  const matrices = matricesOf(spec);
  return {
    LANES: lanes,
    QUADS: values / 4,
    ROWS: values / matrices,
    OUTPUTS_PER_QUAD: 4 / matrices,
  };
}

function downConstants(lanes: number, values: number, groups: number): ShaderConstants {
  return {
    LANES: lanes,
    QUADS: values / 4,
    ROWS: values,
    GROUPS: groups,
    THREADS: lanes * groups,
  };
}

function selectedAccess(slots: MoeSlots): Access {
  const buffer = {
    name: "selected",
    type: "array<i32>",
    access: "read",
    buffer: slots.selectedExperts,
  } as const;
  return { buffers: [buffer], fragments: [], constants: {} };
}

function outputAccess(name: string, buffer: Scratch | MoeSlots["output"]): Access {
  const output = { name, type: "array<f32>", access: "read_write", buffer } as const;
  return { buffers: [output], fragments: [], constants: {} };
}

/** Sums of the experts before, when their weights did not fit one binding. */
function earlierSums(): Access {
  const text = instantiate(vector, { NAME: "residual", SOURCE: "y" });
  return { buffers: [], fragments: [text], constants: {} };
}

function wordsOf(spec: DeviceMoeSpec, slots: MoeSlots, which: "up" | "down"): number {
  const weight = moeWeight(spec, slots, which);
  const access = expertAccess("w", weight, { first: 0, end: spec.experts }, spec.experts);
  return Number(access.constants.w_WORDS);
}

/**
 * The words of a row in two passes: as many as whole turns of `unroll` words take, with fewer where
 * that leaves no rest, and the rest one by one.
 */
function wordConstants(words: number, lanes: number, unroll: number): ShaderConstants {
  const even = Array.from({ length: unroll }, (_, i) => unroll - i)
    .find((each) => words % (lanes * each) === 0 && 2 * each > unroll);
  const turn = even ?? unroll;
  const body = words - words % (lanes * turn);
  const passes = [[0, body, turn], [body, words, 1]].filter(([first, end]) => first < end);
  const constants = passes.map(([first, end, inFlight], i) => ({
    [`FIRST_WORD_${i}`]: first,
    [`END_WORD_${i}`]: end,
    [`UNROLL_${i}`]: inFlight,
  }));
  return Object.assign({ PASSES: passes.length }, ...constants);
}
