/**
 * MoE layers for few tokens: output-centric kernels, two dispatches a layer, no sort, no slot
 * buffer. Slot by slot (`moe_gate_up`, `moe_down`) or expert by expert (`moe_gate_up_experts`,
 * `moe_down_experts`).
 *
 * @module
 */

import { input } from "../../../graph/mod.ts";
import { type Access, constants, fragments, reads, writes } from "../../access/access.ts";
import { extentOf, STEP } from "../../access/extent.ts";
import { boundOperand, operandAccess } from "../../access/operand.ts";
import { rowsAccess } from "../../access/rows.ts";
import type { ShaderConstants } from "../../compose.ts";
import { composeDispatch } from "../../dispatch.ts";
import type { Dispatch, ExpertChoice, Scratch, StepSizes } from "../../kernel.ts";
import { laneSum, sureSubgroup } from "../../reduce/lane_sum.ts";
import { weightRowBytes } from "../../access/weights.ts";
import { expertChoiceTerms, expertsOf } from "../router_choice.ts";
import { type DeviceMoeSpec, matricesOf, upRows } from "../spec.ts";
import type { ExpertConfig, SlotConfig } from "./config.ts";
import downBody from "./down.wgsl" with { type: "text" };
import downExpertsBody from "./down_experts.wgsl" with { type: "text" };
import { expertActivation } from "./expert_math.ts";
import choiceText from "./expert_choice.wgsl" with { type: "text" };
import selectedText from "./expert_selected.wgsl" with { type: "text" };
import gateUpBody from "./gate_up.wgsl" with { type: "text" };
import gateUpExpertsBody from "./gate_up_experts.wgsl" with { type: "text" };
import { inputFactor, type Layer, layerScratch, outputFactor, selectedExperts } from "./layer.ts";
import { expertRounding, roundScratch } from "./rounding.ts";
import {
  activeWeightBytes,
  expertAccess,
  type ExpertRange,
  expertRanges,
  type ExpertWeight,
  wordsOfRow,
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

/** A layer whose weights are read by chunks, as every word of them meets x in memory. */
function byChunks(layer: Layer): Layer {
  // A CPU reads wide words faster.
  const chunkWords = !layer.spec.profile.software;
  return { ...layer, up: { ...layer.up, chunkWords }, down: { ...layer.down, chunkWords } };
}

/** Why the kernels of a configuration want experts that are chosen, or undefined when they choose. */
export function refuseSlotChoice(
  { lanes, up }: SlotConfig,
  spec: DeviceMoeSpec,
): string | undefined {
  const { applyRoutingOnInput, format, hidden, experts, profile } = spec;
  if (applyRoutingOnInput) return "weights of the choice multiply what the experts read";
  if (weightRowBytes(format, hidden) * upRows(spec) * experts > profile.maxBindingBytes) {
    return "the experts are bound in parts";
  }
  return (lanes * up.groups) % sureSubgroup(profile) === 0
    ? undefined
    : "workgroups are no whole subgroups";
}

/** The dispatches of a layer, slot by slot. */
export function lowerBySlot(given: Layer, config: SlotConfig): readonly Dispatch[] {
  const layer = byChunks(given);
  const { spec } = layer;
  const { lanes, up, down } = config;
  const upOutputs = up.values / matricesOf(spec);
  const rowGroups = Math.ceil(spec.intermediate / (upOutputs * up.groups));
  const { choice } = layer.values;
  return [
    ...upDispatches(layer, {
      kernel: "moe_gate_up",
      body: gateUpBody,
      readsStep: false,
      experts: choice ? choiceAccess(layer, choice, rowGroups) : [
        selectedExperts(layer),
        fragments(selectedText),
      ],
      constants: {
        ...upConstants(spec, lanes, up.values),
        INVOCATIONS: lanes * up.groups,
        GROUPS: up.groups,
        ...wordConstants(wordsOfRow(layer.up), lanes, up.unroll),
      },
      // One workgroup more for each token keeps the choice.
      grid: ({ T }) => [rowGroups + (choice ? 1 : 0), spec.topK, T],
    }),
    ...downDispatches(layer, {
      kernel: "moe_down",
      body: downBody,
      readsStep: false,
      constants: {
        ...downConstants(lanes, down.values, down.groups),
        ...wordConstants(wordsOfRow(layer.down), lanes, down.unroll),
      },
      grid: ({ T }) => [Math.ceil(spec.hidden / down.values), T, 1],
    }),
  ];
}

/** The dispatches of a layer, expert by expert. */
export function lowerByExpert(given: Layer, config: ExpertConfig): readonly Dispatch[] {
  const layer = byChunks(given);
  const { spec } = layer;
  const { lanes, columns, up, down } = config;
  const maxPairs = spec.tokens.max * spec.topK;
  const upOutputs = up.values / matricesOf(spec);
  return [
    ...upDispatches(layer, {
      kernel: "moe_gate_up_experts",
      body: gateUpExpertsBody,
      experts: [selectedExperts(layer)],
      readsStep: true,
      constants: {
        ...upConstants(spec, lanes, up.values),
        INVOCATIONS: lanes,
        COLUMNS: columns,
        MAX_PAIRS: maxPairs,
      },
      grid: (_, { first, end }) => [Math.ceil(spec.intermediate / upOutputs), end - first, 1],
    }),
    ...downDispatches(layer, {
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
function actScratch({ tokens, topK, intermediate }: DeviceMoeSpec): Scratch {
  return layerScratch("moe_act", tokens.max * topK * intermediate);
}

/** The choice of each workgroup's expert from the router's logits. */
function choiceAccess(
  { spec: { profile } }: Layer,
  { router, logits, invocations }: ExpertChoice,
  rowGroups: number,
): Access[] {
  const width = sureSubgroup(profile);
  const [selected, weights] = router.outputs;
  const rows = Number(input(router, "w").shape[0]);
  return [
    reads("logits", "f32", logits),
    writes("selected", "i32", selected),
    writes("routing_weights", "f32", weights),
    fragments(choiceText),
    expertChoiceTerms({ node: router, experts: rows }),
    constants({
      CHOICE_LANES: width,
      SCORES: Math.ceil(expertsOf(router) / width),
      ROW_GROUPS: rowGroups,
      ROUTER_INVOCATIONS: invocations,
    }),
  ];
}

/** The first product, and where its experts come from. */
interface UpStage extends Stage {
  readonly experts: readonly Access[];
}

function upDispatches(layer: Layer, stage: UpStage): Dispatch[] {
  const { spec, up } = layer;
  return expertRanges(spec, up).map((range) =>
    dispatchOf(layer, stage, up, range, [
      rowsAccess("x", spec.hidden, { buffer: layer.x }),
      expertRounding("x", spec, up),
      ...stage.experts,
      inputFactor(layer),
      expertAccess("w_up", up, range),
      operandAccess("b_up", up.bias, "numbers"),
      expertActivation(spec),
      laneSum(spec.profile, Number(stage.constants.LANES)),
      writes("act", "f32", actScratch(spec)),
    ])
  );
}

function downDispatches(layer: Layer, stage: Stage): Dispatch[] {
  const { spec, values, down } = layer;
  const { rounded, dispatches } = roundScratch(spec, {
    name: "moe_act_rounded",
    rows: actScratch(spec),
    extent: extentOf(["T", spec.topK]),
    largest: spec.tokens.max * spec.topK,
    columns: spec.intermediate,
  });
  const products = expertRanges(spec, down).map((range, i) =>
    dispatchOf(layer, stage, down, range, [
      rowsAccess("act", spec.intermediate, { buffer: rounded ?? actScratch(spec) }),
      expertRounding("act", spec, down),
      selectedExperts(layer),
      outputFactor(layer),
      expertAccess("w_down", down, range),
      operandAccess("b_down", down.bias, "numbers"),
      // Later ranges add to the sums of the experts before.
      i === 0
        ? operandAccess("residual", values.residual, "numbers")
        : boundOperand("residual", "y"),
      laneSum(spec.profile, Number(stage.constants.LANES)),
      writes("y", "f32", values.output),
    ])
  );
  return [...dispatches, ...products];
}

function dispatchOf(
  { spec }: Layer,
  stage: Stage,
  weight: ExpertWeight,
  range: ExpertRange,
  accesses: readonly Access[],
): Dispatch {
  return composeDispatch({
    kernel: stage.kernel,
    accesses: [
      ...accesses,
      constants({
        ...stage.constants,
        HIDDEN: spec.hidden,
        INTERMEDIATE: spec.intermediate,
        TOP_K: spec.topK,
        MATRICES: matricesOf(spec),
      }),
      ...(stage.readsStep ? [STEP] : []),
    ],
    body: stage.body,
    workgroups: (sizes) => stage.grid(sizes, range),
    weightBytes: activeWeightBytes(spec, weight, range),
  });
}

function upConstants(spec: DeviceMoeSpec, lanes: number, values: number): ShaderConstants {
  const matrices = matricesOf(spec);
  return {
    LANES: lanes,
    ...quadConstants(values),
    ROWS: values / matrices,
    OUTPUTS_PER_QUAD: Math.min(4, values) / matrices,
  };
}

function downConstants(lanes: number, values: number, groups: number): ShaderConstants {
  return {
    LANES: lanes,
    ...quadConstants(values),
    ROWS: values,
    GROUPS: groups,
    INVOCATIONS: lanes * groups,
  };
}

/** Weight rows in fours, or two alone. */
function quadConstants(values: number): ShaderConstants {
  return { QUADS: Math.ceil(values / 4), WIDTH: Math.min(4, values) };
}

/**
 * The words of a row in one or two passes: as many as whole rounds of `unroll` words for each lane take,
 * with fewer where that leaves no rest, then the rest at once.
 */
function wordConstants(words: number, lanes: number, unroll: number): ShaderConstants {
  const even = Array.from({ length: unroll }, (_, i) => unroll - i)
    .find((each) => words % (lanes * each) === 0 && 2 * each > unroll);
  const inFlight = even ?? unroll;
  const body = words - words % (lanes * inFlight);
  const rest = Math.ceil((words - body) / lanes);
  const passes = [[0, body, inFlight], [body, words, rest]].filter(([first, end]) => first < end);
  const constants = passes.map(([first, end, words], i) => ({
    [`FIRST_WORD_${i}`]: first,
    [`END_WORD_${i}`]: end,
    [`UNROLL_${i}`]: words,
    [`ENDS_${i}`]: (end - first) % (lanes * words) !== 0,
  }));
  return Object.assign({ PASSES: passes.length }, ...constants);
}
