/**
 * What a family of GGUF files is: the config.json that its metadata stands for, and the hub's names of
 * its tensors.
 *
 * Names and keys: https://github.com/ggml-org/llama.cpp/blob/master/gguf-py/gguf/constants.py and
 * `tensor_mapping.py` beside it.
 *
 * @module
 */

import type { GgufMetadata } from "./gguf_metadata.ts";

/** Sizes of a file that the metadata does not say. */
export interface FileFacts {
  /** Rows of the embedding. */
  readonly vocabSize: number;
  /** There is no tensor for the head: it is the embedding. */
  readonly isTied: boolean;
  has(tensor: string): boolean;
  /** Rows of a tensor's matrices. */
  rowsOf(tensor: string): number;
}

/** One family. */
export interface GgufFamily {
  /** Values of `general.architecture`. */
  readonly architectures: readonly string[];
  /** Name under `architectures` in config.json. */
  readonly hfName: string | ((metadata: GgufMetadata) => string);
  readonly modelType: string | ((metadata: GgufMetadata) => string);
  /** Keys of config.json besides those that {@linkcode commonConfig} makes. */
  config(metadata: GgufMetadata, facts: FileFacts): Record<string, unknown>;
  /** Modules of a layer whose names differ from the usual ones. */
  readonly layerModules?: Readonly<Record<string, string>>;
  /** Projections of the experts in the hub's names; default `gate_proj`, `up_proj`, `down_proj`. */
  readonly experts?: { readonly module: string; readonly names: Readonly<Record<string, string>> };
  /** Rows of q and k are interleaved for the rotation that llama.cpp uses. */
  readonly interleavesHeads?: boolean;
}

/** Makes a family; exists so that every file of one reads alike. */
export function defineGgufFamily(family: GgufFamily): GgufFamily {
  return family;
}

/** Modules outside of layers. */
export const MODEL_MODULES: Readonly<Record<string, string>> = {
  token_embd: "model.embed_tokens",
  output_norm: "model.norm",
  output: "lm_head",
};

/** Modules of a layer. */
export const LAYER_MODULES: Readonly<Record<string, string>> = {
  attn_norm: "input_layernorm",
  attn_q: "self_attn.q_proj",
  attn_k: "self_attn.k_proj",
  attn_v: "self_attn.v_proj",
  attn_output: "self_attn.o_proj",
  attn_q_norm: "self_attn.q_norm",
  attn_k_norm: "self_attn.k_norm",
  ffn_norm: "post_attention_layernorm",
  ffn_gate: "mlp.gate_proj",
  ffn_up: "mlp.up_proj",
  ffn_down: "mlp.down_proj",
  ffn_gate_inp: "mlp.gate",
  exp_probs_b: "mlp.gate.e_score_correction_bias",
  ffn_gate_shexp: "mlp.shared_experts.gate_proj",
  ffn_up_shexp: "mlp.shared_experts.up_proj",
  ffn_down_shexp: "mlp.shared_experts.down_proj",
};

/** Experts as most families name them. */
export const EXPERTS = {
  module: "mlp.experts",
  names: { gate: "gate_proj", up: "up_proj", down: "down_proj" },
} as const;

/** Keys of config.json that all families have. */
export function commonConfig(
  family: GgufFamily,
  metadata: GgufMetadata,
  facts: FileFacts,
): Record<string, unknown> {
  const hidden = metadata.number("embedding_length");
  const heads = metadata.sameInAllLayers("attention.head_count");
  const headDim = metadata.optionalNumber("attention.key_length") ?? hidden / heads;
  return {
    architectures: [nameOf(family.hfName, metadata)],
    model_type: nameOf(family.modelType, metadata),
    hidden_act: "silu",
    vocab_size: facts.vocabSize,
    hidden_size: hidden,
    num_hidden_layers: metadata.number("block_count"),
    num_attention_heads: heads,
    num_key_value_heads: metadata.values.has(`${metadata.architecture}.attention.head_count_kv`)
      ? metadata.sameInAllLayers("attention.head_count_kv")
      : heads,
    head_dim: headDim,
    rms_norm_eps: metadata.number("attention.layer_norm_rms_epsilon"),
    max_position_embeddings: metadata.number("context_length"),
    rope_parameters: ropeOf(metadata, headDim),
    tie_word_embeddings: facts.isTied,
    num_experts: metadata.optionalNumber("expert_count") ?? 0,
    num_experts_per_tok: metadata.optionalNumber("expert_used_count") ?? 0,
    bos_token_id: metadata.plainNumber("tokenizer.ggml.bos_token_id"),
    eos_token_id: metadata.plainNumber("tokenizer.ggml.eos_token_id"),
  };
}

function nameOf(name: GgufFamily["hfName"], metadata: GgufMetadata): string {
  return typeof name === "string" ? name : name(metadata);
}

function ropeOf(metadata: GgufMetadata, headDim: number): Record<string, unknown> {
  const type = metadata.optionalText("rope.scaling.type") ?? "none";
  const rotary = metadata.optionalNumber("rope.dimension_count") ?? headDim;
  const scaling = {
    factor: metadata.optionalNumber("rope.scaling.factor"),
    original_max_position_embeddings: metadata.optionalNumber(
      "rope.scaling.original_context_length",
    ),
  };
  return {
    rope_theta: metadata.optionalNumber("rope.freq_base") ?? 10000,
    ...(rotary !== headDim && { partial_rotary_factor: rotary / headDim }),
    rope_type: type === "none" ? "default" : type,
    ...(type !== "none" && withoutUndefined(scaling)),
  };
}

/** The keys that have a value. */
export function withoutUndefined(values: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
}
