/**
 * DBRX: LayerNorm, clamped q, k and v, and experts in flat matrices. After `modeling_dbrx.py` of
 * transformers.
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import { reshape, select, slice, transpose } from "../../graph/mod.ts";
import { hiddenActSchema } from "../blocks/activation.ts";
import { defineArchitecture } from "../architecture.ts";
import type { AttentionSpec } from "../blocks/attention.ts";
import { classDefaults } from "../config/class_defaults.ts";
import { sizeSchema } from "../config/config_fields.ts";
import { decoder } from "../blocks/decoder.ts";
import { baseConfigFields } from "../config/hf_config.ts";
import type { ExpertWeights, ModelWeights } from "../weights/model_weights.ts";
import { type MlpBuilder, sparseMlp } from "../blocks/moe_block.ts";
import { ROPE_TYPES } from "../config/rope.ts";
import { rotaryOf } from "../blocks/rotary.ts";

const configSchema = z.looseObject({
  ...baseConfigFields,
  // LayerNorm's own default, whatever a config says: the class has no key for it.
  rms_norm_eps: z.unknown().default(1e-5).transform(() => 1e-5),
  attn_config: z.looseObject({
    clip_qkv: z.number().positive().nullish(),
    kv_n_heads: sizeSchema.default(1),
  }).default({ kv_n_heads: 1 }),
  ffn_config: z.looseObject({
    ffn_act_fn: z.looseObject({ name: hiddenActSchema.default("silu") }).nullish()
      .transform((given) => given ?? { name: "silu" as const }),
    ffn_hidden_size: sizeSchema.default(3584),
    moe_num_experts: sizeSchema.default(4),
    moe_top_k: sizeSchema.default(1),
    // The p of the p-norm that weights are divided by; released models have 1, the sum.
    moe_normalize_expert_weights: z.number().positive().nullish().default(1),
  }).prefault({}),
  // The class refuses it.
  tie_word_embeddings: z.literal(false).default(false),
});

type Config = z.output<typeof configSchema>;

const attentionSchema = z.looseObject({ rope_theta: z.number().optional() });

/** The class's names of what other classes call as we do. */
const NAMES = {
  d_model: "hidden_size",
  n_heads: "num_attention_heads",
  n_layers: "num_hidden_layers",
  max_seq_len: "max_position_embeddings",
};

/** DBRX-base and instruct. */
export const dbrx = defineArchitecture({
  name: "dbrx",
  hfNames: ["DbrxForCausalLM"],
  features: [
    "softmax router, renormalised",
    "LayerNorm without biases, clip_qkv, grouped-query attention",
    ROPE_TYPES,
  ],
  reading: { defaults: classDefaults("dbrx"), names: NAMES },
  config: configSchema,
  remarks: ({ attn_config: own }) => {
    const theta = attentionSchema.safeParse(own).data?.rope_theta;
    return theta === undefined
      ? []
      : [`attn_config.rope_theta ${theta} has no effect: the class reads rope_theta alone`];
  },
  build(b, config, weights) {
    decoder(b, config, weights, (_index, module) => ({
      attention: attentionOf(config, weights, `${module}.norm_attn_norm.attn`),
      attentionName: "norm_attn_norm.attn",
      mlp: mlpOf(config, weights, `${module}.ffn`),
      mlpName: "ffn",
      norms: { beforeAttention: "norm_attn_norm.norm_1", beforeMlp: "norm_attn_norm.norm_2" },
    }), {
      names: { model: "transformer", layers: "blocks", embed: "wte", norm: "norm_f" },
      norm: "layer",
    });
  },
});

/** q, k and v lie in one matrix. */
function attentionOf(config: Config, weights: ModelWeights, module: string): AttentionSpec {
  const { num_attention_heads: heads, hidden_size: hidden, attn_config: own } = config;
  const headDim = Math.floor(hidden / heads);
  const kv = own.kv_n_heads * headDim;
  const joined = weights.matrix(`${module}.Wqkv`, hidden + 2 * kv, hidden);
  return {
    heads,
    kvHeads: own.kv_n_heads,
    headDim,
    q: { weight: slice(joined, 0, 0, hidden) },
    k: { weight: slice(joined, 0, hidden, hidden + kv) },
    v: { weight: slice(joined, 0, hidden + kv, hidden + 2 * kv) },
    o: { weight: weights.matrix(`${module}.out_proj`, hidden, hidden) },
    outputName: "out_proj",
    rotary: rotaryOf(config, { headDim }),
    ...(typeof own.clip_qkv === "number" && { clip: own.clip_qkv }),
  };
}

function mlpOf(config: Config, weights: ModelWeights, module: string): MlpBuilder {
  const { hidden_size: hidden, ffn_config: own } = config;
  const { moe_num_experts: experts, ffn_hidden_size: intermediate } = own;
  const { moe_normalize_expert_weights: power } = own;
  return sparseMlp({
    ...{ experts, hidden, intermediate },
    activation: own.ffn_act_fn.name,
    router: {
      name: "router.layer",
      weight: weights.matrix(`${module}.router.layer`, experts, hidden),
      topK: own.moe_top_k,
      scoring: "softmax",
      renormalize: power === null ? false : power === 1 ? true : { power },
    },
    weights: readExperts(weights, `${module}.experts.mlp`, { experts, hidden, intermediate }),
  });
}

/** w1 (gate), v1 (up) and w2 are [E · I, H]; transformers multiplies w2 from the right. */
function readExperts(
  weights: ModelWeights,
  module: string,
  { experts, hidden, intermediate }: { experts: number; hidden: number; intermediate: number },
): ExpertWeights[] {
  const [w1, v1, w2] = ["w1", "v1", "w2"].map((name) =>
    reshape(weights.tensor(`${module}.${name}`, [experts * intermediate, hidden]), [
      experts,
      intermediate,
      hidden,
    ])
  );
  const turned = transpose(w2, 1, 2);
  return Array.from({ length: experts }, (_, e) => ({
    w1: select(w1, 0, e),
    w2: select(turned, 0, e),
    w3: select(v1, 0, e),
  }));
}
