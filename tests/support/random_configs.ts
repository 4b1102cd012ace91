/**
 * Random configs of every architecture, as a config.json says them: sizes that nothing divides,
 * layers of all kinds, every type of rotary embedding.
 *
 * @module
 */

import { Dice } from "./dice.ts";
import {
  ACTS,
  base,
  groups,
  headsByLayer,
  inGroups,
  latent,
  LAYER_TYPES,
  type Maker,
  MLP_TYPES,
  part,
  scaledRope,
  types,
  windows,
} from "./random_parts.ts";
import { CONTEXT, respelled, rope, ropeOfLayers } from "./random_rope.ts";

/** What each architecture has besides, by the name in `architectures`. */
const MAKERS: Readonly<Record<string, Maker>> = {
  AfmoeForCausalLM: (dice, { layers }) => ({
    num_shared_experts: dice.from(0, 3),
    num_dense_layers: dice.from(0, 3),
    route_scale: dice.pick([1, 2.8]),
    sliding_window: dice.from(1, 9),
    layer_types: types(dice, layers, LAYER_TYPES),
    mup_enabled: dice.maybe(),
    attention_bias: false,
  }),
  AriaTextForCausalLM: (dice, own) => ({
    hidden_size: Number(own.num_attention_heads) * dice.from(3, 9),
    moe_num_experts: own.num_experts,
    moe_topk: own.num_experts_per_tok,
    moe_num_shared_experts: dice.from(0, 3),
    mlp_bias: dice.maybe(0.3),
  }),
  AXK1ForCausalLM: (dice) => ({ ...latent(dice), q_lora_rank: dice.from(8, 30) }),
  Cohere2MoeForCausalLM: (dice, { layers }) => ({
    rms_norm_eps: dice.maybe() ? dice.pick([1e-6, 1e-2]) : null,
    layer_norm_eps: dice.pick([1e-5, 1e-2]),
    logit_scale: dice.pick([0.0625, 1, 1.5]),
    num_shared_experts: dice.from(0, 3),
    shared_expert_combination_strategy: dice.pick(["average", "sum"]),
    expert_selection_fn: dice.pick(["softmax", "sigmoid"]),
    prefix_dense_intermediate_size: dice.maybe() ? dice.from(9, 40) : null,
    prefix_dense_sliding_window_pattern: dice.from(1, 2),
    sliding_window_pattern: dice.from(1, 3),
    sliding_window: dice.from(1, 9),
    first_k_dense_replace: dice.from(0, layers),
    ...(dice.maybe(0.4) && { layer_types: types(dice, layers, LAYER_TYPES) }),
    ...(dice.maybe(0.4) && { mlp_layer_types: types(dice, layers, MLP_TYPES) }),
  }),
  DbrxForCausalLM: (dice) => {
    const [kvHeads, headDim, experts] = [dice.from(1, 2), 2 * dice.from(3, 10), dice.from(3, 7)];
    const heads = kvHeads * dice.from(1, 3);
    return {
      d_model: heads * headDim,
      n_heads: heads,
      n_layers: 2,
      max_seq_len: CONTEXT,
      hidden_size: undefined,
      num_attention_heads: undefined,
      num_key_value_heads: undefined,
      num_hidden_layers: undefined,
      max_position_embeddings: undefined,
      head_dim: undefined,
      tie_word_embeddings: false,
      rope_parameters: rope(dice, headDim),
      attn_config: { rope_theta: 5, kv_n_heads: kvHeads, clip_qkv: dice.maybe() ? 0.7 : null },
      ffn_config: {
        ffn_act_fn: { name: dice.pick(ACTS) },
        ffn_hidden_size: dice.from(5, 30),
        moe_num_experts: experts,
        moe_top_k: dice.from(1, experts),
        moe_normalize_expert_weights: dice.pick([null, 1, 2, 0.5]),
      },
    };
  },
  DeepseekV2ForCausalLM: (dice) => ({
    ...latent(dice),
    topk_method: dice.pick(["greedy", "group_limited_greedy"]),
    mlp_bias: dice.maybe(),
  }),
  DeepseekV3ForCausalLM: latent,
  Dots1ForCausalLM: (dice, { layers }) => ({
    ...groups(dice),
    sliding_window: dice.from(1, 9),
    layer_types: types(dice, layers, LAYER_TYPES),
  }),
  Ernie4_5_MoeForCausalLM: (dice, { num_experts, num_experts_per_tok }) => ({
    use_bias: dice.maybe(),
    moe_layer_end_index: dice.pick([-1, -1, 1]),
    moe_num_experts: num_experts,
    moe_k: num_experts_per_tok,
    moe_num_shared_experts: dice.from(0, 3),
    moe_layer_start_index: dice.from(0, 2),
    moe_layer_interval: dice.from(1, 3),
    moe_norm_min: dice.pick([1e-12, 0.7]),
  }),
  ExaoneMoeForCausalLM: (dice, { layers }) => ({
    ...inGroups(dice),
    num_shared_experts: dice.from(0, 3),
    ...(dice.maybe()
      ? { sliding_window: dice.from(1, 9), layer_types: types(dice, layers, LAYER_TYPES) }
      : { sliding_window: null }),
  }),
  FlexOlmoForCausalLM: () => ({}),
  Gemma3ForCausalLM: (dice, { layers, num_attention_heads: heads }) => ({
    hidden_size: Number(heads) * dice.from(3, 9),
    hidden_activation: dice.pick(ACTS),
    query_pre_attn_scalar: dice.from(3, 40),
    sliding_window: dice.from(1, 9),
    ...(dice.maybe()
      ? { layer_types: types(dice, layers, LAYER_TYPES) }
      : { sliding_window_pattern: dice.from(1, 3) }),
    final_logit_softcapping: dice.pick([null, 5, 30]),
    rope_parameters: {
      sliding_attention: ropeOfLayers(dice),
      full_attention: ropeOfLayers(dice),
    },
  }),
  Gemma4ForCausalLM: (dice, own) => {
    const layerTypes = types(dice, own.layers, LAYER_TYPES);
    return {
      ...(dice.maybe(0.3) && { per_layer_config: headsByLayer(dice, layerTypes) }),
      hidden_activation: dice.pick(ACTS),
      top_k_experts: own.num_experts_per_tok,
      attention_k_eq_v: dice.maybe(),
      enable_moe_block: dice.maybe(0.7),
      hidden_size_per_layer_input: 0,
      sliding_window: dice.from(1, 9),
      layer_types: layerTypes,
      global_head_dim: 2 * dice.from(3, 13),
      num_global_key_value_heads: dice.maybe() ? 1 : null,
      final_logit_softcapping: dice.pick([null, 5, 30]),
      rope_parameters: {
        sliding_attention: ropeOfLayers(dice),
        full_attention: {
          rope_type: "proportional",
          partial_rotary_factor: dice.number(),
          rope_theta: dice.pick([1e4, 1e6]),
          ...(dice.maybe() && { factor: 2 }),
        },
      },
    };
  },
  Glm4MoeForCausalLM: (dice, { headDim }) => {
    const fraction = part(dice, headDim);
    return {
      ...groups(dice),
      use_qk_norm: dice.maybe(),
      rope_parameters: rope(dice, Math.floor(headDim * fraction), fraction),
    };
  },
  Glm4MoeLiteForCausalLM: (dice, { layers }) => ({
    ...latent(dice),
    mlp_layer_types: types(dice, layers, MLP_TYPES),
  }),
  Glm4vMoeForConditionalGeneration: (dice, { headDim }) => {
    const fraction = part(dice, headDim);
    return {
      ...groups(dice),
      rope_parameters: rope(dice, Math.floor(headDim * fraction), fraction),
    };
  },
  GptOssForCausalLM: (dice, { layers }) => ({
    sliding_window: dice.from(1, 9),
    layer_types: dice.maybe() ? types(dice, layers, LAYER_TYPES) : undefined,
    attention_bias: dice.maybe(),
  }),
  GraniteMoeForCausalLM: (dice) => ({
    embedding_multiplier: 0.5 + dice.number(),
    attention_multiplier: 0.05 + dice.number(),
    residual_multiplier: dice.pick([1, 0.7]),
    logits_scaling: dice.pick([1, 1.5, 0.3]),
  }),
  GraniteMoeSharedForCausalLM: (dice) => ({
    shared_intermediate_size: dice.pick([0, 12, 20]),
    residual_multiplier: 0.2 + dice.number(),
    attention_multiplier: 0.05 + dice.number(),
  }),
  GraniteMoeSWAForCausalLM: (dice, { layers }) => ({
    shared_intermediate_size: dice.pick([0, 12]),
    attention_multiplier: 0.05 + dice.number(),
    sliding_window: dice.from(1, 9),
    layer_types: dice.maybe() ? types(dice, layers, LAYER_TYPES) : undefined,
    layer_rope_theta: dice.maybe() ? types(dice, layers, [0, 1e4, 5e5]) : undefined,
  }),
  HunYuanMoEV1ForCausalLM: (dice, { layers }) => ({
    ...(dice.maybe(0.4) && {
      rope_parameters: { rope_type: "dynamic", rope_theta: 1e4, alpha: 50, factor: 1 },
    }),
    moe_topk: dice.maybe() ? dice.from(1, 3) : types(dice, layers, [1, 2, 3]),
  }),
  HYV3ForCausalLM: (dice, { layers }) => ({
    num_shared_experts: dice.from(0, 3),
    router_scaling_factor: dice.pick([1, 2.8]),
    mlp_bias: dice.maybe(),
    mlp_layer_types: types(dice, layers, MLP_TYPES),
  }),
  LagunaForCausalLM: (dice, { layers, headDim, num_key_value_heads: kvHeads }) => {
    const partial = () => ({ ...ropeOfLayers(dice), partial_rotary_factor: part(dice, headDim) });
    return {
      gating: dice.pick([true, "per-head", "per-element"]),
      num_attention_heads_per_layer: dice.maybe(0.7)
        ? Array.from({ length: layers }, () => Number(kvHeads) * dice.from(1, 4))
        : undefined,
      shared_expert_intermediate_size: dice.from(5, 30),
      moe_routed_scaling_factor: dice.pick([1.0, 2.5]),
      moe_router_logit_softcapping: dice.pick([0.0, 0.0, 1.5]),
      sliding_window: dice.from(1, 9),
      layer_types: types(dice, layers, LAYER_TYPES),
      mlp_layer_types: dice.maybe() ? types(dice, layers, MLP_TYPES) : undefined,
      rope_parameters: { sliding_attention: partial(), full_attention: partial() },
    };
  },
  Llama4ForCausalLM: (dice, { layers }) => ({
    intermediate_size_mlp: dice.from(9, 40),
    attention_chunk_size: dice.from(2, 9),
    floor_scale: dice.from(2, 6),
    attn_scale: dice.number(),
    attn_temperature_tuning: dice.maybe(),
    use_qk_norm: dice.maybe(),
    interleave_moe_layer_step: dice.from(1, 3),
    no_rope_layers: types(dice, layers, [0, 1]),
    layer_types: types(dice, layers, ["chunked_attention", "full_attention"]),
  }),
  LlamaForCausalLM: (dice, own) => ({
    hidden_size: Number(own.num_attention_heads) * dice.from(3, 9),
    mlp_bias: dice.maybe(),
  }),
  MellumForCausalLM: (dice, { layers }) => ({
    sliding_window: dice.from(1, 9),
    layer_types: types(dice, layers, LAYER_TYPES),
    mlp_layer_types: types(dice, layers, MLP_TYPES),
    rope_parameters: {
      sliding_attention: ropeOfLayers(dice),
      full_attention: ropeOfLayers(dice),
    },
  }),
  MiMoV2FlashForCausalLM: (dice, own) => {
    const fraction = part(dice, own.headDim);
    const parameters = () => ({ ...ropeOfLayers(dice), partial_rotary_factor: fraction });
    const kvHeads = dice.from(1, 2);
    return {
      ...groups(dice),
      num_key_value_heads: kvHeads,
      num_attention_heads: 2 * kvHeads * dice.from(1, 2),
      v_head_dim: dice.from(5, 24),
      sliding_window: dice.from(1, 9),
      attention_value_scale: dice.pick([1, 0.7]),
      layer_types: types(dice, own.layers, LAYER_TYPES),
      mlp_layer_types: types(dice, own.layers, MLP_TYPES),
      rope_parameters: { sliding_attention: parameters(), full_attention: parameters() },
    };
  },
  MiniMaxM2ForCausalLM: (dice, { headDim }) => {
    const fraction = part(dice, headDim);
    return { rope_parameters: rope(dice, Math.floor(headDim * fraction), fraction) };
  },
  MistralForCausalLM: (dice) => ({ sliding_window: dice.maybe() ? dice.from(1, 9) : null }),
  Mistral4ForCausalLM: (dice) => {
    const own = latent(dice);
    const [turning, nope] = [Number(own.qk_rope_head_dim), Number(own.qk_nope_head_dim)];
    return {
      ...own,
      rope_parameters: {
        ...{ rope_type: "yarn", rope_theta: dice.pick([1e4, 1e6]), factor: dice.pick([4, 16]) },
        ...{ original_max_position_embeddings: dice.pick([3, 16]), beta_fast: 8, beta_slow: 1 },
        ...{
          mscale: 1.0,
          mscale_all_dim: dice.pick([1.0, 0.5]),
          llama_4_scaling_beta: dice.number(),
        },
        ...(dice.maybe() && { partial_rotary_factor: turning / (turning + nope) }),
      },
    };
  },
  MixtralForCausalLM: (dice) => ({ sliding_window: dice.maybe() ? dice.from(1, 9) : null }),
  Olmo2ForCausalLM: () => ({}),
  OlmoeForCausalLM: (dice, { num_attention_heads: heads }) => {
    const headDim = 2 * dice.from(3, 9);
    return {
      ...{ head_dim: undefined, hidden_size: Number(heads) * headDim },
      rope_parameters: rope(dice, headDim),
      clip_qkv: dice.maybe() ? 0.8 : null,
    };
  },
  PhimoeForCausalLM: (dice, { headDim }) => ({
    num_experts_per_tok: dice.pick([1, 2, 3]),
    num_local_experts: dice.from(3, 9),
    rope_parameters: scaledRope(dice, headDim),
    lm_head_bias: dice.maybe(),
    router_jitter_noise: dice.pick([0.01, 0.3]),
    tie_word_embeddings: false,
    sliding_window: dice.maybe() ? dice.from(1, 9) : null,
  }),
  Qwen2ForCausalLM: (dice, { layers }) => windows(dice, layers),
  Qwen2MoeForCausalLM: (dice, own) => ({
    qkv_bias: dice.maybe(),
    shared_expert_intermediate_size: dice.maybe()
      ? 2 * Number(own.moe_intermediate_size)
      : dice.from(5, 40),
    decoder_sparse_step: dice.from(1, 3),
    ...windows(dice, own.layers),
    mlp_only_layers: dice.maybe() ? [dice.from(0, own.layers - 1)] : [],
  }),
  Qwen3ForCausalLM: (dice, { layers }) => windows(dice, layers),
  Qwen3MoeForCausalLM: (dice, { layers }) => ({
    decoder_sparse_step: dice.from(1, 3),
    mlp_only_layers: dice.maybe() ? [dice.from(0, layers - 1)] : [],
    use_sliding_window: dice.maybe(),
    sliding_window: dice.from(1, 9),
  }),
  Qwen3OmniMoeForConditionalGeneration: (dice, { layers }) => ({
    decoder_sparse_step: dice.from(1, 3),
    mlp_only_layers: dice.maybe() ? [dice.from(0, layers - 1)] : [],
  }),
  Qwen3VLMoeForConditionalGeneration: (dice, { layers }) => ({
    decoder_sparse_step: dice.from(1, 2),
    mlp_only_layers: dice.maybe() ? [dice.from(0, layers - 1)] : [],
  }),
  SolarOpenForCausalLM: groups,
};

/** Architectures that there are random configs of. */
export const RANDOM_FAMILIES: readonly string[] = Object.keys(MAKERS);

/** Keys that a config may leave to its class without becoming another size. */
const OPTIONAL = [
  ...["attention_bias", "decoder_sparse_step", "hidden_act", "mlp_bias", "mlp_layer_types"],
  ...["mlp_only_layers", "moe_norm_min", "norm_topk_prob", "rms_norm_eps", "rope_interleave"],
  ...["routed_scaling_factor", "sliding_window", "tie_word_embeddings", "topk_method"],
];

/** Keys inside of the rotary parameters alone: the class does not look beside them. */
const ONE_SPELLING = /^(Cohere2|Gemma|Laguna|Mellum|MiMo|Mistral4|Phimoe)/;

/** A valid config of an architecture, the same for the same seed. */
export function randomConfig(architecture: string, seed: number): Record<string, unknown> {
  const name = [...architecture].reduce((hash, c) => (31 * hash + c.charCodeAt(0)) >>> 0, 7);
  const dice = new Dice(seed + name % 1000);
  const own = base(dice);
  const { layers: _, headDim: __, ...config } = own;
  const all = { ...config, ...MAKERS[architecture](dice, own), architectures: [architecture] };
  const spelled = ONE_SPELLING.test(architecture) ? all : respelled(dice, all);
  const left = OPTIONAL.filter(() => dice.maybe(0.15));
  return Object.fromEntries(
    Object.entries(spelled).filter(([key, value]) => value !== undefined && !left.includes(key)),
  );
}
