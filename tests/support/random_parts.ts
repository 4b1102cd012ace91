/**
 * What random configs are made of: sizes that nothing divides, groups of experts, heads, latents, windows.
 *
 * @module
 */

import { HIDDEN_ACTIVATIONS } from "../../models/mod.ts";
import type { Dice } from "./dice.ts";
import { CONTEXT, rope } from "./random_rope.ts";

/** A config.json. */
export type Config = Record<string, unknown>;

/** Names of activations in a config.json. */
export const ACTS = Object.keys(HIDDEN_ACTIVATIONS);
/** As many of the items as there are layers, drawn one by one. */
export function types<Item>(dice: Dice, count: number, items: readonly Item[]): Item[] {
  return Array.from({ length: count }, () => dice.pick(items));
}

/** What every config has; heads and experts in odd numbers. */
export function base(dice: Dice): Config & { layers: number; headDim: number } {
  const wide = dice.maybe(0.15);
  const kvHeads = dice.from(1, wide ? 5 : 3);
  const headDim = 2 * (wide ? dice.from(17, 66) : dice.from(3, 13));
  const layers = dice.from(1, 3);
  const many = dice.maybe(0.1);
  const experts = many ? dice.from(66, 80) : dice.from(3, 9);
  return {
    layers,
    headDim,
    vocab_size: dice.from(20, 70),
    hidden_size: wide ? dice.from(49, 170) : dice.from(17, 48),
    intermediate_size: wide ? dice.from(41, 150) : dice.from(9, 40),
    moe_intermediate_size: wide ? dice.from(31, 100) : dice.from(5, 30),
    num_hidden_layers: layers,
    num_attention_heads: kvHeads * dice.from(1, wide ? 6 : 3),
    num_key_value_heads: kvHeads,
    head_dim: headDim,
    num_experts: experts,
    num_local_experts: experts,
    n_routed_experts: experts,
    num_experts_per_tok: many ? dice.from(30, 64) : dice.from(1, experts),
    hidden_act: dice.pick(ACTS),
    rms_norm_eps: dice.pick([1e-6, 1e-5, 1e-2]),
    max_position_embeddings: CONTEXT,
    tie_word_embeddings: dice.maybe(),
    attention_bias: dice.maybe(),
    norm_topk_prob: dice.maybe(),
    rope_parameters: rope(dice, headDim),
  };
}

/** Experts in groups, and how many of each. */
export function groups(dice: Dice): Config {
  const count = dice.from(1, 4);
  const size = dice.maybe(0.1) ? dice.from(17, 20) : dice.from(2, 4);
  const kept = dice.from(1, count);
  return {
    // Other names of the same number, which would win.
    ...{ num_experts: undefined, num_local_experts: undefined },
    n_routed_experts: count * size,
    n_group: count,
    topk_group: kept,
    num_experts_per_tok: dice.from(1, kept * size),
    n_shared_experts: dice.from(0, 3),
    routed_scaling_factor: dice.pick([1.0, 0.3, 2.5]),
    first_k_dense_replace: dice.from(0, 3),
  };
}

/** The same where experts are counted by `num_experts`. */
export function inGroups(dice: Dice): Config {
  const { n_routed_experts: experts, ...others } = groups(dice);
  return { ...others, n_routed_experts: undefined, num_experts: experts };
}

/** Head sizes and key heads of Gemma 4's layers, the same in all layers of a type. */
export function headsByLayer(dice: Dice, layers: readonly string[]): Config {
  const own = { head_dim: 2 * dice.from(3, 13), ...(dice.maybe() && { num_key_value_heads: 1 }) };
  const last = layers.length - 1;
  return Object.fromEntries(
    layers.flatMap((type, i) => type === "full_attention" || i === last ? [[String(i), own]] : []),
  );
}

/** Of attention. */
export const LAYER_TYPES = ["sliding_attention", "full_attention"];
/** Of MLPs. */
export const MLP_TYPES = ["dense", "sparse"];

/** Sizes of latent attention, and the groups of its families. */
export function latent(dice: Dice): Config {
  const wide = dice.maybe(0.15);
  const turning = 2 * (wide ? dice.from(7, 20) : dice.from(1, 6));
  const heads = dice.from(1, 6);
  return {
    ...groups(dice),
    head_dim: undefined,
    q_lora_rank: dice.maybe() ? dice.from(8, 30) : null,
    hidden_size: heads * dice.from(3, 9),
    num_attention_heads: heads,
    num_key_value_heads: heads,
    kv_lora_rank: wide ? dice.from(40, 160) : dice.from(9, 40),
    qk_rope_head_dim: turning,
    qk_nope_head_dim: wide ? dice.from(21, 70) : dice.from(4, 20),
    v_head_dim: wide ? dice.from(25, 70) : dice.from(4, 24),
    rope_parameters: rope(dice, turning),
    rope_interleave: dice.maybe(),
  };
}

/** Windows of Qwen's classes, which switch them on and off. */
export function windows(dice: Dice, layers: number): Config {
  const used = dice.maybe(0.7);
  const counted = dice.maybe(0.3);
  return {
    use_sliding_window: used,
    sliding_window: dice.from(1, 9),
    max_window_layers: dice.from(0, layers),
    layer_types: counted ? undefined : types(dice, layers, used ? LAYER_TYPES : ["full_attention"]),
  };
}

/** Makes what an architecture has besides. */
export type Maker = (dice: Dice, own: ReturnType<typeof base>) => Config;

/** A rotary fraction that leaves an even number of elements. */
export function part(dice: Dice, headDim: number): number {
  return 2 * dice.from(1, headDim / 2) / headDim;
}

/** Phi-MoE's class needs three numbers for every type but the default one. */
export function scaledRope(dice: Dice, headDim: number): Config {
  const parameters = rope(dice, headDim);
  if (parameters.rope_type === "default") return parameters;
  const original_max_position_embeddings = 16;
  return { ...parameters, short_mscale: 1.1, long_mscale: 1.3, original_max_position_embeddings };
}
