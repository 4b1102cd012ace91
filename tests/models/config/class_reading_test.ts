/**
 * What transformers' classes make of single keys of a config.json, by reading `configuration_*.py` and
 * `modeling_*.py` of transformers 5.18.0: keys without effect are notes, values that its code cannot use
 * are refused, and defaults are the class's.
 */

import assert from "node:assert/strict";
import { findArchitecture, normalizeConfig } from "../../../models/mod.ts";

const FILE = "config.json";

function configure(architecture: string, keys: Record<string, unknown>) {
  const raw = normalizeConfig({ architectures: [architecture], ...keys }, FILE);
  return findArchitecture(raw, FILE).configure(raw, FILE);
}

const YARN = { rope_type: "yarn", factor: 4.0 };
const LONG = { rope_type: "longrope", short_factor: [1], long_factor: [2] };
const SCALES = { short_mscale: 1.1, long_mscale: 1.3 };

/** An architecture, keys, and a note that they cause. */
const NOTED: readonly (readonly [string, Record<string, unknown>, string])[] = [
  [
    "DbrxForCausalLM",
    { attn_config: { rope_theta: 5e5 } },
    "attn_config.rope_theta 500000 has no effect: the class reads rope_theta alone",
  ],
  [
    "PhimoeForCausalLM",
    { num_experts_per_tok: 99 },
    "num_experts_per_tok 99 has no effect: the sparse mixer chooses 2 experts",
  ],
  [
    "GptOssForCausalLM",
    { swiglu_limit: 5 },
    "swiglu_limit 5 has no effect: gpt_oss does not read it",
  ],
  [
    "GptOssForCausalLM",
    { hidden_act: "relu" },
    'hidden_act "relu" has no effect: gpt_oss does not read it',
  ],
  [
    "DeepseekV3ForCausalLM",
    { mlp_bias: true },
    "mlp_bias true has no effect: deepseek_v3 does not read it",
  ],
  [
    "DeepseekV3ForCausalLM",
    { mlp_layer_types: ["dense"], num_hidden_layers: 1 },
    'mlp_layer_types ["dense"] has no effect: deepseek_v3 does not read it',
  ],
  [
    "Gemma4ForCausalLM",
    { enable_moe_block: true, ...experts(), rope_scaling: YARN },
    "rope_scaling has no effect: this family reads rope_parameters alone",
  ],
  [
    "MiMoV2FlashForCausalLM",
    { rope_parameters: { full_attention: { ...YARN, truncate: false } } },
    "truncate has no effect: it is not read inside of a layer type's parameters",
  ],
  [
    "MixtralForCausalLM",
    { partial_rotary_factor: 0.5 },
    "partial_rotary_factor 0.5 has no effect: this family turns whole heads",
  ],
];

function experts() {
  return {
    ...{ hidden_size_per_layer_input: 0, num_experts: 8, top_k_experts: 2 },
    moe_intermediate_size: 16,
  };
}

for (const [architecture, keys, note] of NOTED) {
  Deno.test(`${architecture} notes ${JSON.stringify(keys)}`, () => {
    const { notes } = configure(architecture, keys);
    assert.ok(notes.includes(note), `${notes}`);
  });
}

/** An architecture, keys that its code cannot use, and the end of the error. */
const REFUSED: readonly (readonly [string, Record<string, unknown>, string])[] = [
  [
    "DbrxForCausalLM",
    { tie_word_embeddings: true },
    'false for key "tie_word_embeddings", got true',
  ],
  [
    "DbrxForCausalLM",
    { ffn_config: { moe_normalize_expert_weights: 0 } },
    'more than 0 for key "ffn_config.moe_normalize_expert_weights", got 0',
  ],
  [
    "PhimoeForCausalLM",
    { rope_scaling: LONG },
    'number for key "rope_parameters.short_mscale", got none',
  ],
  [
    "PhimoeForCausalLM",
    { rope_scaling: { rope_type: "linear", factor: 2, ...SCALES } },
    'number for key "rope_parameters.original_max_position_embeddings", got none',
  ],
  [
    "SolarOpenForCausalLM",
    { partial_rotary_factor: 0.5 },
    'expected 1 for key "partial_rotary_factor", got 0.5',
  ],
  [
    "Glm4MoeLiteForCausalLM",
    { rope_parameters: { rope_type: "default", partial_rotary_factor: 0.5 } },
    'expected 1 for key "partial_rotary_factor", got 0.5',
  ],
  [
    "MixtralForCausalLM",
    { rope_scaling: { type: "linear", factor: 2 }, partial_rotary_factor: 0.5 },
    'expected 1 for key "partial_rotary_factor", got 0.5',
  ],
  [
    "Qwen3ForCausalLM",
    { num_hidden_layers: 1, layer_types: ["sliding_attention"], use_sliding_window: false },
    'expected no layer that slides for key "layer_types", got sliding_attention',
  ],
];

for (const [architecture, keys, end] of REFUSED) {
  Deno.test(`${architecture} refuses ${JSON.stringify(keys)}`, () => {
    assert.throws(() => configure(architecture, keys), (error: unknown) => {
      assert.ok(error instanceof Error && error.message.endsWith(end), `${error}`);
      return true;
    });
  });
}

/** An architecture, keys, and what the class makes of them. */
const READ: readonly (readonly [string, Record<string, unknown>, Record<string, unknown>])[] = [
  // A context beside the parameters wins where there is one set of them ..
  [
    "MixtralForCausalLM",
    { rope_scaling: { ...YARN, original_max_position_embeddings: 5 }, ...context(7) },
    { rope_parameters: { rope_theta: 1e6, ...YARN, truncate: true, ...context(7) } },
  ],
  // .. not for types without a context ..
  [
    "MixtralForCausalLM",
    { rope_scaling: { type: "linear", factor: 2 }, ...context(7) },
    { rope_parameters: { rope_theta: 1e6, rope_type: "linear", factor: 2 } },
  ],
  // .. not inside of layer types, which take the model's length ..
  [
    "MiMoV2FlashForCausalLM",
    {
      ...{ max_position_embeddings: 99, rope_parameters: { full_attention: YARN } },
      ...{ rope_theta: 9, ...context(7) },
    },
    {
      rope_parameters: Object.fromEntries(
        ["sliding_attention", "full_attention"].map((type) => [type, {
          ...{ rope_theta: 9, ...YARN, truncate: true },
          ...{ partial_rotary_factor: 0.334, ...context(99) },
        }]),
      ),
    },
  ],
  // .. and not for Phi-MoE, which checks its parameters first.
  [
    "PhimoeForCausalLM",
    { max_position_embeddings: 99, rope_scaling: { ...LONG, ...SCALES }, ...context(7) },
    { rope_parameters: { rope_theta: 1e6, ...LONG, ...SCALES, ...context(99) } },
  ],
  ["PhimoeForCausalLM", { num_experts_per_tok: 99 }, { num_experts_per_tok: 2 }],
  [
    "DbrxForCausalLM",
    { ffn_config: null, attn_config: null },
    {
      attn_config: { kv_n_heads: 1 },
      ffn_config: {
        ...{ ffn_act_fn: { name: "silu" }, ffn_hidden_size: 3584, moe_num_experts: 4 },
        ...{ moe_top_k: 1, moe_normalize_expert_weights: 1 },
      },
    },
  ],
  [
    "Gemma3ForConditionalGeneration",
    { text_config: { tie_word_embeddings: false } },
    { tie_word_embeddings: true },
  ],
  [
    "Gemma3ForConditionalGeneration",
    { text_config: {}, tie_word_embeddings: false },
    { tie_word_embeddings: false },
  ],
  [
    "Qwen3VLMoeForConditionalGeneration",
    { text_config: { tie_word_embeddings: true } },
    { tie_word_embeddings: false },
  ],
];

function context(tokens: number) {
  return { original_max_position_embeddings: tokens };
}

for (const [architecture, keys, values] of READ) {
  Deno.test(`${architecture} reads ${JSON.stringify(keys)} as its class does`, () => {
    const config: Readonly<Record<string, unknown>> = { ...configure(architecture, keys).config };
    for (const [key, value] of Object.entries(values)) assert.deepEqual(config[key], value, key);
  });
}
