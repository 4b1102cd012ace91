/**
 * Whole models around the MoE layers of `shapes.ts`: what the released models have beside their experts, as a
 * `config.json`. The twins of the layers have twins of the models.
 *
 * @module
 */

import { ConfigError } from "../graph/mod.ts";
import { MOE_SHAPES, MOE_TWINS, type MoeShape } from "./shapes.ts";

/** A model without weights. */
export interface ModelSizes {
  /** That of its MoE layer. */
  readonly name: string;
  /** Layers of the released model, or of its twin. */
  readonly layers: number;
  /** Its `config.json` with so many layers. */
  config(layers: number): Readonly<Record<string, unknown>>;
}

/** Sizes beside those of the experts. */
interface Rest {
  readonly layers: number;
  readonly vocabulary: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
}

/** What a family calls its sizes. */
type Family = (shape: MoeShape, rest: Rest) => Readonly<Record<string, unknown>>;

const olmoe: Family = (shape) => ({
  architectures: ["OlmoeForCausalLM"],
  ...{ model_type: "olmoe", intermediate_size: shape.intermediate, num_experts: shape.experts },
  ...{ max_position_embeddings: 4096, norm_topk_prob: false, rms_norm_eps: 1e-5 },
  rope_theta: 10000,
});

const qwen3Moe: Family = (shape, { headDim }) => ({
  architectures: ["Qwen3MoeForCausalLM"],
  ...{ model_type: "qwen3_moe", head_dim: headDim, num_experts: shape.experts },
  ...{ moe_intermediate_size: shape.intermediate, intermediate_size: 8 * shape.intermediate },
  ...{ max_position_embeddings: 40960, norm_topk_prob: true, rms_norm_eps: 1e-6 },
  rope_theta: 1000000,
});

const mixtral: Family = (shape) => ({
  architectures: ["MixtralForCausalLM"],
  ...{ model_type: "mixtral", intermediate_size: shape.intermediate },
  ...{ num_local_experts: shape.experts, max_position_embeddings: 32768, rms_norm_eps: 1e-5 },
  rope_theta: 1000000,
});

/** The experts are stored in MXFP4, everything else in bf16, as released. */
const gptOss: Family = (shape, { headDim, layers }) => ({
  architectures: ["GptOssForCausalLM"],
  ...{ model_type: "gpt_oss", head_dim: headDim },
  // MXFP4 has a scale for 32 columns; the sizes of the released model are multiples of that.
  ...{ hidden_size: to32(shape.hidden), intermediate_size: to32(shape.intermediate) },
  ...{ num_local_experts: shape.experts, max_position_embeddings: 131072, rms_norm_eps: 1e-5 },
  ...{ attention_bias: true, sliding_window: 128, swiglu_limit: 7, rope_theta: 150000 },
  layer_types: Array.from(
    { length: layers },
    (_, i) => i % 2 === 0 ? "sliding_attention" : "full_attention",
  ),
  rope_scaling: {
    ...{ rope_type: "yarn", factor: 32, original_max_position_embeddings: 4096 },
    ...{ beta_fast: 32, beta_slow: 1, truncate: false },
  },
  quantization_config: { quant_method: "mxfp4" },
});

const deepseekV2: Family = (shape, { headDim }) => ({
  architectures: ["DeepseekV2ForCausalLM"],
  ...{ model_type: "deepseek_v2", moe_intermediate_size: shape.intermediate },
  // Of the one dense layer; the released model has 10,944, which no sum of the others gives.
  ...{ intermediate_size: shape.hidden === 2048 ? 10944 : 8 * shape.intermediate },
  ...{ n_routed_experts: shape.experts, n_shared_experts: 2, first_k_dense_replace: 1 },
  ...{ kv_lora_rank: 4 * headDim, q_lora_rank: null, qk_nope_head_dim: headDim },
  ...{ qk_rope_head_dim: headDim / 2, v_head_dim: headDim, topk_method: "greedy" },
  ...{ n_group: 1, topk_group: 1, routed_scaling_factor: 1, norm_topk_prob: false },
  ...{ max_position_embeddings: 163840, rms_norm_eps: 1e-6, rope_theta: 10000 },
  rope_scaling: {
    ...{ type: "yarn", factor: 40, mscale: 0.707, mscale_all_dim: 0.707 },
    ...{ original_max_position_embeddings: 4096, beta_fast: 32, beta_slow: 1 },
  },
});

/** Of the models' `config.json` on the Hugging Face hub, by the names of the layers. */
const FAMILIES: Readonly<Record<string, readonly [Family, Rest]>> = {
  "Mixtral-8x7B": [mixtral, rest(32, 32000, 32, 8, 128)],
  "Qwen3-30B-A3B": [qwen3Moe, rest(48, 151936, 32, 4, 128)],
  "OLMoE-1B-7B": [olmoe, rest(16, 50304, 16, 16, 128)],
  "gpt-oss-20b": [gptOss, rest(24, 201088, 64, 8, 64)],
  "DeepSeek-V2-Lite": [deepseekV2, rest(27, 102400, 16, 16, 128)],
};

/** Layers of a twin: enough for both kinds of attention of gpt-oss, and for DeepSeek's dense layer. */
const TWIN_LAYERS = 2;

/** All models, or their twins. */
export function modelSizes(twins: boolean): readonly ModelSizes[] {
  return (twins ? MOE_TWINS : MOE_SHAPES).map((shape, i) => {
    const [family, full] = FAMILIES[MOE_SHAPES[i].name];
    const sizes = twins ? twinOf(full) : full;
    return {
      name: shape.name,
      layers: sizes.layers,
      config: (layers) => configOf(shape, { ...sizes, layers }, family),
    };
  });
}

/** A model by its name or a part of it. */
export function modelCalled(name: string, known: readonly ModelSizes[]): ModelSizes {
  const found = known.find((model) => model.name.toLowerCase().includes(name.toLowerCase()));
  if (found) return found;
  throw new ConfigError(
    "bench/unknown-model",
    `Cannot measure model "${name}": expected ${known.map((model) => model.name).join(", ")}`,
  );
}

function configOf(shape: MoeShape, sizes: Rest, family: Family) {
  return {
    ...{ hidden_size: shape.hidden, num_hidden_layers: sizes.layers, hidden_act: "silu" },
    ...{ num_attention_heads: sizes.heads, num_key_value_heads: sizes.kvHeads },
    ...{ num_experts_per_tok: shape.topK, vocab_size: sizes.vocabulary },
    ...{ tie_word_embeddings: false, eos_token_id: 1, torch_dtype: "bfloat16" },
    ...family(shape, sizes),
  };
}

function rest(
  layers: number,
  vocabulary: number,
  heads: number,
  kvHeads: number,
  headDim: number,
): Rest {
  return { layers, vocabulary, heads, kvHeads, headDim };
}

function to32(size: number): number {
  return Math.ceil(size / 32) * 32;
}

function twinOf({ vocabulary, heads, kvHeads, headDim }: Rest): Rest {
  const quarter = (count: number) => Math.max(1, count / 4);
  return {
    ...{ layers: TWIN_LAYERS, vocabulary: Math.ceil(vocabulary / 16) },
    ...{ heads: quarter(heads), kvHeads: quarter(kvHeads), headDim: headDim / 2 },
  };
}
