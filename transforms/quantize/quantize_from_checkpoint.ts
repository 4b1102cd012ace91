/**
 * What the transforms share that keep packed weights as the checkpoint stores them: the eager graph
 * dequantizes, the rewritten one passes codes and scales to the op.
 *
 * Before and after, for an expert layer (`moe`) of an FP8 checkpoint:
 * ```text
 * %1 = moe(x: x, .., w1: [@dequantize<fp8_e4m3>(..), ..], ..) {mlp: gated, ..}
 * %1 = moe(x: x, .., w1: [@codes, ..], w1_scale: [@scale, ..], w1_input_scale: [..], ..)
 *      {mlp: gated, .., format: fp8_e4m3, block: [I, H], activationQuant: static}
 * ```
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import {
  type ActivationQuant,
  type Graph,
  GraphBuilder,
  input,
  inputList,
  isOp,
  labelNode,
  type NearMiss,
  type Node,
  type PackedFormat,
  replaceNode,
  type Value,
} from "../../graph/mod.ts";
import {
  EXPERT_MATRICES,
  packedExpertAttrs,
  packedExpertInputs,
  type PackedExperts,
  packedInCheckpoint,
  packedLinearInputs,
  type PackedWeight,
} from "./packed_weights.ts";
import type { Refusal, TransformPlan } from "../core/transform.ts";

/** Fields that the transforms have in common. */
export const quantizeFields = {
  activation_quant: z.enum(["auto", "static", "dynamic", "none"]).default("auto").describe(
    "Rounding of activations before each product; auto: static where an FP8 checkpoint has input scales, none elsewhere",
  ),
  exclude: z.array(z.string()).default([]).describe(
    "Module paths to leave dequantized; * stands for any characters",
  ),
};

/** Parsed values of {@linkcode quantizeFields}. */
export type QuantizeConfig = z.output<z.ZodObject<typeof quantizeFields>>;

/** A layer of packed experts. */
export interface PackedMoe {
  readonly moe: Node<"moe">;
  readonly experts: PackedExperts;
  readonly activationQuant: ActivationQuant;
}

/** A linear layer of a packed weight. */
export interface PackedLinear {
  readonly linear: Node<"linear">;
  readonly packed: PackedWeight;
  readonly activationQuant: ActivationQuant;
}

/** Finds the `moe` nodes whose experts are all packed in a format. */
export function planPackedMoes(
  graph: Graph,
  wanted: readonly PackedFormat[],
  config: QuantizeConfig,
): TransformPlan<PackedMoe> {
  const matches: PackedMoe[] = [];
  const nearMisses: NearMiss[] = [];
  const refusals: Refusal[] = [];
  for (const moe of graph.nodes.filter((node) => isOp(node, "moe"))) {
    const lists = EXPERT_MATRICES.map((name) => inputList(moe, name));
    const packed = lists.map((list) => list.map(packedInCheckpoint));
    const all = packed.flat();
    const formats = new Set(all.map((each) => each?.format));
    const format = wanted.find((each) => formats.has(each));
    if (format === undefined) continue;
    if (isExcluded(moe.scope, config.exclude)) {
      nearMisses.push({ node: labelNode(moe), reason: "its module is excluded" });
      continue;
    }
    if (formats.size > 1) {
      const plain: Value | undefined = lists.flat()[all.indexOf(undefined)];
      refusals.push({
        node: labelNode(moe),
        reason: plain
          ? `"${plain.name}" is not quantized, the layer's other experts are ${format}`
          : `its experts have formats ${[...formats].join(" and ")}`,
      });
      continue;
    }
    const [w1, w2, w3] = packed as PackedWeight[][];
    const named = lists.flat().map(({ name }, i) => ({ name, packed: all[i] as PackedWeight }));
    const activationQuant = activationsOf(format, named, config.activation_quant);
    if (typeof activationQuant === "object") {
      refusals.push({ node: labelNode(moe), reason: activationQuant.refused });
    } else matches.push({ moe, experts: { w1, w2, w3 }, activationQuant });
  }
  const formatOf = ({ experts }: PackedMoe) => experts.w1[0].format;
  return { matches, nearMisses, refusals, notes: notesOf(matches, formatOf) };
}

/** Rewrites what {@linkcode planPackedMoes} found. */
export function packMoes(graph: Graph, matches: readonly PackedMoe[]): void {
  for (const { moe, experts, activationQuant } of matches) {
    const current = graph.current(moe);
    const b = new GraphBuilder(graph, { scope: moe.scope, before: current });
    const packed = packedExpertInputs(b, moe, experts, activationQuant === "static");
    const inputs = { ...current.inputs, ...packed };
    const attrs = { ...moe.attrs, ...packedExpertAttrs(experts), activationQuant };
    replaceNode(graph, moe, b.op("moe", inputs, attrs));
  }
}

/** Finds the `linear` nodes whose weight is packed in a format. */
export function planPackedLinears(
  graph: Graph,
  wanted: readonly PackedFormat[],
  config: QuantizeConfig,
): TransformPlan<PackedLinear> {
  const matches: PackedLinear[] = [];
  const nearMisses: NearMiss[] = [];
  const refusals: Refusal[] = [];
  for (const linear of graph.nodes.filter((node) => isOp(node, "linear"))) {
    const packed = packedInCheckpoint(input(linear, "w"));
    if (!packed || !wanted.includes(packed.format)) continue;
    if (isExcluded(linear.scope, config.exclude)) {
      nearMisses.push({ node: labelNode(linear), reason: "its module is excluded" });
      continue;
    }
    const named = [{ name: input(linear, "w").name, packed }];
    const activationQuant = activationsOf(packed.format, named, config.activation_quant);
    if (typeof activationQuant === "object") {
      refusals.push({ node: labelNode(linear), reason: activationQuant.refused });
    } else matches.push({ linear, packed, activationQuant });
  }
  const formatOf = ({ packed }: PackedLinear) => packed.format;
  return { matches, nearMisses, refusals, notes: notesOf(matches, formatOf) };
}

/** Rewrites what {@linkcode planPackedLinears} found. */
export function packLinears(graph: Graph, matches: readonly PackedLinear[]): void {
  for (const { linear, packed, activationQuant } of matches) {
    const current = graph.current(linear);
    const b = new GraphBuilder(graph, { scope: linear.scope, before: current });
    const inputs = packedLinearInputs(b, linear, packed, activationQuant === "static");
    const { format, block } = packed;
    const attrs = { ...linear.attrs, format, activationQuant, ...(block && { block }) };
    replaceNode(graph, linear, b.op("linear", { ...current.inputs, ...inputs }, attrs));
  }
}

/** True when a module path matches one of the patterns. */
export function isExcluded(scope: string, patterns: readonly string[]): boolean {
  return patterns.some((pattern) => {
    const escaped = pattern.replaceAll(/[.+^${}()|[\]\\]/g, "\\$&").replaceAll("*", ".*");
    return new RegExp(`^${escaped.replaceAll("?", ".")}$`).test(scope);
  });
}

function activationsOf(
  format: PackedFormat,
  weights: readonly { readonly name: string; readonly packed: PackedWeight }[],
  wanted: QuantizeConfig["activation_quant"],
): ActivationQuant | { readonly refused: string } {
  if (format !== "fp8_e4m3" && format !== "fp8_block") {
    return wanted === "auto" || wanted === "none" ? "none" : {
      refused: `activation_quant rounds activations to FP8, which ${format} layers do not support`,
    };
  }
  if (wanted === "none" || wanted === "dynamic") return wanted;
  const without = weights.filter(({ packed }) => !packed.inputScale);
  if (without.length === 0) return "static";
  const scaled = weights.length - without.length;
  if (scaled === 0) {
    return wanted === "auto" ? "none" : {
      refused: "activation_quant is static, but the checkpoint has no input_scale for it",
    };
  }
  return {
    refused:
      `"${without[0].name}" has no input_scale, ${scaled} of the layer's ${weights.length} ` +
      "weights have one; set activation_quant: none to leave activations unrounded",
  };
}

function notesOf<Match extends { readonly activationQuant: ActivationQuant }>(
  matches: readonly Match[],
  formatOf: (match: Match) => PackedFormat,
): string[] {
  const kinds = Map.groupBy(matches, (match) => `${formatOf(match)} ${match.activationQuant}`);
  return [...kinds.values()].map((list) => {
    const { activationQuant } = list[0];
    const layers = `${list.length} ${list.length === 1 ? "layer keeps" : "layers keep"}`;
    const rounded = activationQuant === "none" ? "" : `, activations rounded (${activationQuant})`;
    return `${layers} ${formatOf(list[0])} weights${rounded}`;
  });
}
