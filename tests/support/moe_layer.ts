/**
 * Random MoE layers as cases of `fused_moe`.
 *
 * @module
 */

import type { FusedMoeAttrs, MoeActivation, MoeOperands, Node } from "../../graph/mod.ts";
import type { Dispatch, LoweringContext } from "../../kernels/kernel.ts";
import type { GemmTile, MoeConfig } from "../../kernels/moe/algorithms/config.ts";
import { lowerConfig } from "../../kernels/moe/select.ts";
import { moeSpecOf, moeValuesOf } from "../../kernels/moe/spec.ts";
import {
  activation,
  integerInput,
  type OpCase,
  randomF32,
  randomNumbers,
  randomWeight,
} from "./op_case.ts";

/** What to vary; the rest has sizes that no tile divides. */
export interface LayerOptions {
  readonly tokens?: number;
  readonly hidden?: number;
  readonly intermediate?: number;
  readonly experts?: number;
  readonly topK?: number;
  readonly mlp?: "gated" | "plain";
  readonly activation?: MoeActivation;
  readonly dtype?: "f32" | "f16" | "bf16";
  readonly bias?: boolean;
  readonly residual?: boolean;
  readonly applyRoutingOnInput?: boolean;
  /** Chosen experts [T, K]; random and distinct for each token when absent. */
  readonly selected?: readonly number[];
  readonly backend?: string;
  readonly operands?: MoeOperands;
  /** Factor on the weights. */
  readonly scale?: number;
  readonly seed?: number;
}

/** A layer as a case for {@linkcode runOp}. */
export function moeLayer(options: LayerOptions = {}): OpCase<"fused_moe"> {
  const { tokens = 5, hidden = 40, intermediate = 24, experts = 6, topK = 2 } = options;
  const { mlp = "gated", dtype = "bf16", seed = 1, scale = 0.3 } = options;
  const upRows = intermediate * (mlp === "gated" ? 2 : 1);
  const sizes = { T: tokens };
  const attrs: FusedMoeAttrs = {
    ...{ backend: options.backend ?? "auto", experts, topK, hidden, intermediate, mlp },
    activation: options.activation ?? "silu",
    applyRoutingOnInput: options.applyRoutingOnInput ?? false,
    format: dtype,
    activationQuant: "none",
    ...(options.operands && { operands: options.operands }),
  };
  const bias = (count: number, at: number) =>
    options.bias
      ? {
        dtype: "f32",
        shape: [experts, count],
        data: randomF32(experts * count, at),
        weight: true,
      } as const
      : undefined;
  return {
    op: "fused_moe",
    attrs,
    sizes,
    inputs: {
      x: activation(["T", hidden], sizes, seed),
      selected_experts: integerInput(
        ["T", topK],
        options.selected ?? randomExperts(tokens, topK, experts, seed),
      ),
      routing_weights: activation(["T", topK], sizes, seed + 1),
      w_up: randomWeight(dtype, [experts, upRows, hidden], seed + 2, scale),
      w_down: randomWeight(dtype, [experts, hidden, intermediate], seed + 3, scale),
      b_up: bias(upRows, seed + 4),
      b_down: bias(hidden, seed + 5),
      residual: options.residual ? activation(["T", hidden], sizes, seed + 6) : undefined,
    },
  };
}

/** Distinct experts for every token. */
function randomExperts(tokens: number, topK: number, experts: number, seed: number): number[] {
  const next = randomNumbers(seed + 100);
  return Array.from({ length: tokens }, () => {
    const keys = Array.from({ length: experts }, (_, id) => ({ id, key: next() }));
    return keys.sort((a, b) => a.key - b.key).slice(0, topK).map(({ id }) => id);
  }).flat();
}

/** Lowers a node with one configuration instead of by its backend. */
export function lowerWith(config: MoeConfig) {
  return (node: Node<"fused_moe">, context: LoweringContext): readonly Dispatch[] =>
    lowerConfig(
      { ...moeSpecOf(node, context), profile: context.profile },
      moeValuesOf(node),
      asWideAsSubgroups(config, context.profile.subgroupSize),
    );
}

/** Without staging, a row of invocations is a subgroup, whatever size the device has. */
function asWideAsSubgroups(config: MoeConfig, subgroupSize: number): MoeConfig {
  if (!("blockM" in config)) return config;
  const fit = (tile: GemmTile): GemmTile =>
    tile.staging === "none" ? { ...tile, blockN: tile.threadN * subgroupSize } : tile;
  return { ...config, up: fit(config.up), down: fit(config.down) };
}
