/**
 * What the transforms `fuse_*_moe` share: they stack the weights of a layer's experts, with their
 * scales where they are packed, and hand the layer to a backend. Weights are expressions, so
 * stacking copies nothing. Every attribute and every bias is carried over.
 *
 * Before (packed; plain weights have no scales):
 * ```text
 * %1 = moe(x: x, .., w1: [@codes, ..], w1_scale: [@scale, ..], w1_input_scale: [..], ..)
 *      {mlp: gated, activation: silu, .., format: fp8_e4m3, activationQuant: static}
 * ```
 * After, with scales in the order up of expert 0, gate of expert 0, up of expert 1, ..:
 * ```text
 * %1 = fused_moe(x: x, .., w_up: @..[E, 2I, H], w_down: @..[E, H, I], w_up_scale: @..[2E, ..],
 *      w_down_scale: @..[E, ..], x_scale: @..[E], act_scale: @..[E]) {.., backend: auto, ..}
 * ```
 *
 * @module
 */

import {
  concat,
  constant,
  type FusedMoeAttrs,
  type Graph,
  GraphBuilder,
  input,
  inputList,
  isOp,
  labelNode,
  type Node,
  replaceNode,
  stack,
  type Weight,
  type WeightFormat,
} from "../../graph/mod.ts";
import { type InputScalePolicy, type InputScales, planInputScales } from "./input_scales.ts";
import {
  type BackendChoice,
  backendRefusal,
  choiceNotes,
  chosenAttrs,
  unusedOverrides,
} from "./moe_backend_choice.ts";
import { weightOf } from "../quantize/packed_weights.ts";
import type { Refusal, TransformContext, TransformPlan } from "../core/transform.ts";

/** A layer that can be fused. */
export interface FusableMoe {
  readonly moe: Node<"moe">;
  readonly attrs: FusedMoeAttrs;
  /** Scales for static rounding of activations. */
  readonly inputScales?: InputScales;
}

/** What the plans of the transforms have in common. */
export type FusionPlan = TransformPlan<FusableMoe> & {
  readonly refusals: readonly Refusal[];
  readonly notes: readonly string[];
};

const PLAIN_FORMATS: Readonly<Partial<Record<string, WeightFormat>>> = {
  f32: "f32",
  f16: "f16",
  bf16: "bf16",
};

/** The `moe` nodes whose format is one of the given ones; `plain` stands for weights without scales. */
export function moesOf(graph: Graph, formats: readonly (WeightFormat | "plain")[]): Node<"moe">[] {
  return graph.nodes.filter((node) => isOp(node, "moe"))
    .filter(({ attrs }) => formats.includes(attrs.format ?? "plain"));
}

/** Plans the fusion of layers; a refusal of one refuses them all. */
export async function planExperts(
  moes: readonly Node<"moe">[],
  config: BackendChoice,
  context: TransformContext,
  policy: InputScalePolicy = "per_expert",
): Promise<FusionPlan> {
  const matches: FusableMoe[] = [];
  const refusals: Refusal[] = unusedOverrides(config, moes);
  for (const moe of moes) {
    const attrs = fusedAttrs(moe, chosenAttrs(config, moe.scope));
    const reason = typeof attrs === "string" ? attrs : backendRefusal(moe, attrs, context);
    if (reason !== undefined) refusals.push({ node: labelNode(moe), reason });
    else if (typeof attrs !== "string") matches.push({ moe, attrs });
  }
  const scales = await planInputScales(matches.map(({ moe }) => moe), policy, context);
  return {
    matches: matches.map((match) => {
      const inputScales = scales.byNode.get(match.moe.id);
      return inputScales ? { ...match, inputScales } : match;
    }),
    refusals: [...refusals, ...scales.refusals],
    notes: [...choiceNotes(matches.map(({ attrs }) => attrs), context), ...scales.notes],
  };
}

/** Attributes of the fused node, or why there can be none. */
function fusedAttrs(
  moe: Node<"moe">,
  chosen: ReturnType<typeof chosenAttrs>,
): FusedMoeAttrs | string {
  const [w1, w2, w3] = ["w1", "w2", "w3"].map((name) => inputList(moe, name));
  const types = new Set([...w1, ...w2, ...w3].map((value) => value.dtype));
  const format = moe.attrs.format ?? PLAIN_FORMATS[w1[0].dtype];
  if (types.size > 1) return `its weights are of several types: ${[...types].join(", ")}`;
  if (!format) {
    return `its weights are ${w1[0].dtype}, which a quantize transform has to handle first`;
  }
  const scales = ["w1", "w2", "w3"].flatMap((name) =>
    ["_scale", "_scale_2"].map((suffix) => inputList(moe, `${name}${suffix}`))
  );
  for (const list of [w1, w2, w3, ...scales]) {
    const odd = list.find((value) => String(value.shape) !== String(list[0].shape));
    if (odd) return `"${odd.name}" is [${odd.shape}], "${list[0].name}" is [${list[0].shape}]`;
  }
  return {
    ...moe.attrs,
    ...chosen,
    experts: w1.length,
    topK: Number(input(moe, "selected_experts").shape[1]),
    hidden: Number(input(moe, "x").shape[1]),
    intermediate: Number(w1[0].shape[0]),
    format,
    activationQuant: moe.attrs.activationQuant ?? "none",
  };
}

/** Rewrites one planned layer. */
export function fuseExperts(graph: Graph, { moe, attrs, inputScales }: FusableMoe): void {
  const b = new GraphBuilder(graph, { scope: moe.scope, before: graph.current(moe) });
  const { x, selected_experts, routing_weights } = graph.current(moe).inputs;
  const of = (name: string) => inputList(moe, name).map(weightOf);
  const gated = attrs.mlp === "gated";
  const upParts = (suffix: string) =>
    (gated ? ["w3", "w1"] : ["w1"]).map((name) => of(name + suffix));
  const make = (name: string, weight: Weight | undefined) => weight && b.weight(name, weight);
  const fused = b.op("fused_moe", {
    x,
    selected_experts,
    routing_weights,
    w_up: b.weight("w_up", stackRows(upParts(""))),
    w_down: b.weight("w_down", stack(of("w2"))),
    ...biases(b, moe, attrs),
    w_up_scale: make("w_up_scale", stackGrids(interleave(upParts("_scale")))),
    w_up_scale_2: make("w_up_scale_2", join(interleave(upParts("_scale_2")))),
    w_down_scale: make("w_down_scale", stackGrids(of("w2_scale"))),
    w_down_scale_2: make("w_down_scale_2", join(of("w2_scale_2"))),
    x_scale: make("x_scale", inputScales?.x),
    act_scale: make("act_scale", inputScales?.act),
  }, attrs);
  replaceNode(graph, moe, fused);
}

/** Biases, laid out like their weights; where an expert has only one of two, zeros stand for the other. */
function biases(b: GraphBuilder, moe: Node<"moe">, attrs: FusedMoeAttrs) {
  const [b1, b2, b3] = ["b1", "b2", "b3"].map((name) => inputList(moe, name).map(weightOf));
  const zeros = () =>
    Array.from({ length: attrs.experts }, () => constant(new Float32Array(attrs.intermediate)));
  const filled = (list: Weight[]) => list.length > 0 ? list : zeros();
  const parts = attrs.mlp === "gated" ? [filled(b3), filled(b1)] : [b1];
  return {
    b_up: b1.length + b3.length > 0 ? b.weight("b_up", stackRows(parts)) : undefined,
    b_down: b2.length > 0 ? b.weight("b_down", stack(b2)) : undefined,
  };
}

/** The parts of each expert concatenated by rows, and the experts stacked. */
function stackRows(parts: readonly Weight[][]): Weight {
  return stack(parts[0].map((_, e) => concat(parts.map((part) => part[e]))));
}

/** The parts of expert 0, then those of expert 1, and so on. */
function interleave(parts: readonly Weight[][]): Weight[] {
  return parts[0].flatMap((_, e) => parts.map((part) => part[e]));
}

function stackGrids(scales: readonly Weight[]): Weight | undefined {
  return scales.length > 0 ? stack(scales) : undefined;
}

function join(scales: readonly Weight[]): Weight | undefined {
  return scales.length > 0 ? concat(scales) : undefined;
}
