/**
 * `fuse_moe`: stacks the weights of all experts and hands the layer to a fused backend. Weights are
 * expressions, so stacking copies nothing. Every attribute and every bias is carried over.
 *
 * Before:
 * ```text
 * %1 = moe(x: x, selected_experts: ids, routing_weights: weights, w1: [..], w2: [..], w3: [..])
 *      {mlp: gated, activation: silu, applyRoutingOnInput: false}
 * ```
 * After, with rows 0..I-1 of `w_up` from w3 and rows I..2I-1 from w1:
 * ```text
 * %1 = fused_moe(x: x, selected_experts: ids, routing_weights: weights, w_up: @..[E, 2I, H],
 *      w_down: @..[E, H, I]) {.., backend: auto, experts: E, topK: K, hidden: H, intermediate: I,
 *      format: bf16, activationQuant: none}
 * ```
 *
 * @module
 */

import { z } from "zod";
import {
  concat,
  constant,
  type FusedMoeAttrs,
  type Graph,
  GraphBuilder,
  input,
  inputList,
  isOp,
  type Node,
  placeOf,
  replaceNode,
  stack,
  type Value,
  type Weight,
  type WeightFormat,
} from "../graph/mod.ts";
import { moeBackend, moeBackendNames, moeBackends, type MoeSpec } from "../kernels/mod.ts";
import { defineTransform, type NearMiss, type TransformContext } from "./transform.ts";

/**
 * Names of MoE backends for the type checker. A program that registers a backend of its own adds
 * its name by declaration merging.
 */
export interface MoeBackendTypes {
  auto: unknown;
  reference: unknown;
  triton: unknown;
  trtllm: unknown;
}

/** Name of a MoE backend. */
export type MoeBackendName = keyof MoeBackendTypes;

interface Match {
  readonly moe: Node<"moe">;
  readonly attrs: FusedMoeAttrs;
}

const PLAIN_FORMATS: Readonly<Partial<Record<string, WeightFormat>>> = {
  f32: "f32",
  f16: "f16",
  bf16: "bf16",
};

/** The schema knows the backends registered so far, so it is made when it is asked for. */
function configOf(names: readonly string[]) {
  const [first, ...rest] = names as readonly MoeBackendName[];
  const backend = z.enum([first, ...rest]);
  return z.object({
    backend: backend.default("auto").describe("Implementation of the fused op"),
    overrides: z.array(z.strictObject({
      match: z.string().describe("Module path; * stands for any characters, ? for one"),
      backend: backend.describe("Backend of the layers that match"),
    })).default([]).describe("Backends of single layers; the last entry that matches decides"),
  });
}

let config: ReturnType<typeof configOf> | undefined;
let configNames = "";

/** See the module's documentation. */
export const fuseMoe = defineTransform({
  key: "fuse_moe",
  stage: "post_load_fusion",
  summary: "Stack expert weights and replace `moe` by a fused backend",
  base: { after: ["match_moe_pattern"], expect_mem_change: true },
  get config() {
    const names = moeBackendNames();
    if (config === undefined || configNames !== names.join()) {
      config = configOf(names);
      configNames = names.join();
    }
    return config;
  },
  plan(graph, config, context) {
    const moes = graph.nodes.filter((node) => isOp(node, "moe"));
    const matches: Match[] = [];
    const refusals: NearMiss[] = unusedOverrides(config.overrides, moes);
    const notes: string[] = [];
    for (const moe of moes) {
      const backend = config.overrides.findLast(({ match }) => glob(match).test(moe.scope))
        ?.backend ?? config.backend;
      const attrs = fusedAttrs(moe, backend);
      const reason = typeof attrs === "string" ? attrs : unsupported(moe, attrs, context);
      if (reason !== undefined) refusals.push({ node: placeOf(moe), reason });
      else if (typeof attrs !== "string") matches.push({ moe, attrs });
    }
    for (const [backend, used] of Map.groupBy(matches, ({ attrs }) => attrs.backend)) {
      notes.push(
        `${used.length} ${used.length === 1 ? "layer" : "layers"} with backend ${backend}`,
      );
    }
    return { matches, refusals, notes };
  },
  apply(graph, plan) {
    for (const match of plan.matches) fuse(graph, match);
  },
});

/** Attributes of the fused node, or why it cannot be. */
function fusedAttrs(moe: Node<"moe">, backend: string): FusedMoeAttrs | string {
  const [w1, w2, w3] = ["w1", "w2", "w3"].map((name) => inputList(moe, name));
  const types = new Set([...w1, ...w2, ...w3].map((value) => value.dtype));
  const format = PLAIN_FORMATS[w1[0].dtype];
  if (types.size > 1) return `its weights are of several types: ${[...types].join(", ")}`;
  if (!format) {
    return `its weights are ${w1[0].dtype}; quantized weights have transforms of their own`;
  }
  for (const list of [w1, w2, w3]) {
    const odd = list.find((value) => String(value.shape) !== String(list[0].shape));
    if (odd) return `"${odd.name}" is [${odd.shape}], "${list[0].name}" is [${list[0].shape}]`;
  }
  return {
    ...moe.attrs,
    backend,
    experts: w1.length,
    topK: Number(input(moe, "selected_experts").shape[1]),
    hidden: Number(input(moe, "x").shape[1]),
    intermediate: Number(w1[0].shape[0]),
    format,
    activationQuant: "none",
  };
}

/** Why the chosen backend cannot serve the layer, with the reasons of all others. */
function unsupported(
  moe: Node<"moe">,
  attrs: FusedMoeAttrs,
  context: TransformContext,
): string | undefined {
  const spec = specOf(moe, attrs, context);
  const reason = moeBackend(attrs.backend).supports(spec);
  if (reason === undefined) return undefined;
  const others = moeBackends().filter(({ name }) => name !== attrs.backend).map((backend) =>
    `${backend.name}: ${backend.supports(spec) ?? "can"}`
  );
  return `backend ${attrs.backend}: ${reason} (${others.join("; ")})`;
}

function specOf(moe: Node<"moe">, attrs: FusedMoeAttrs, context: TransformContext): MoeSpec {
  const { target: { profile }, settings } = context;
  const { alpha = 1.702, limit = 7, ...rest } = attrs;
  return {
    ...rest,
    alpha,
    limit,
    scope: moe.scope,
    tokens: { min: 1, max: settings.maxNumTokens },
    biasUp: inputList(moe, "b1").length + inputList(moe, "b3").length > 0,
    biasDown: inputList(moe, "b2").length > 0,
    residual: false,
    ...(profile && { profile }),
  };
}

function fuse(graph: Graph, { moe, attrs }: Match): void {
  const b = new GraphBuilder(graph, { scope: moe.scope, before: graph.current(moe) });
  const { x, selected_experts, routing_weights } = graph.current(moe).inputs;
  const [w1, w2, w3, b1, b2, b3] = ["w1", "w2", "w3", "b1", "b2", "b3"].map((name) =>
    weightsOf(moe, name)
  );
  const rows = (parts: readonly Weight[][]) =>
    stack(w1.map((_, e) => concat(parts.map((part) => part[e]))));
  const zeros = () => w1.map(() => constant(new Float32Array(attrs.intermediate)));
  const filled = (biases: Weight[]) => biases.length > 0 ? biases : zeros();
  const gated = attrs.mlp === "gated";
  const biased = b1.length + b3.length > 0;
  const fused = b.op("fused_moe", {
    x,
    selected_experts,
    routing_weights,
    w_up: b.weight("w_up", rows(gated ? [w3, w1] : [w1])),
    w_down: b.weight("w_down", stack(w2)),
    b_up: biased ? b.weight("b_up", rows(gated ? [filled(b3), filled(b1)] : [b1])) : undefined,
    b_down: b2.length > 0 ? b.weight("b_down", stack(b2)) : undefined,
  }, attrs);
  replaceNode(graph, moe, fused);
}

function weightsOf(node: Node, name: string): Weight[] {
  return inputList(node, name).map((value: Value) => {
    if (value.weight) return value.weight;
    throw new TypeError(`"${value.name}" is no weight`);
  });
}

/** An override that names no layer is a mistake, not a wish. */
function unusedOverrides(
  overrides: readonly { match: string }[],
  moes: readonly Node[],
): NearMiss[] {
  if (moes.length === 0) return [];
  return overrides.filter(({ match }) => !moes.some((moe) => glob(match).test(moe.scope)))
    .map(({ match }) => ({
      node: match,
      reason: `no MoE layer matches it; they are ${moes[0].scope} .. ${
        moes[moes.length - 1].scope
      }`,
    }));
}

function glob(pattern: string): RegExp {
  const escaped = pattern.replaceAll(/[.+^${}()|[\]\\]/g, "\\$&");
  return new RegExp(`^${escaped.replaceAll("*", ".*").replaceAll("?", ".")}$`);
}
