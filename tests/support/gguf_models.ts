/**
 * Models in the hub's form as the GGUF files that llama.cpp's converter makes of them
 * (https://github.com/ggml-org/llama.cpp/blob/master/convert_hf_to_gguf.py), written without the
 * product's reader.
 *
 * @module
 */

import type { HostTensor } from "../../graph/mod.ts";
import { type GgufTensorToWrite, type MetadataValue } from "./write_gguf.ts";

/** A config.json. */
export type HfConfig = Readonly<Record<string, unknown>>;

/** A tensor of real numbers. */
export interface RealTensor {
  readonly shape: readonly number[];
  readonly values: Float32Array<ArrayBuffer>;
}

/** Names of `general.architecture` by `model_type`. */
const ARCHITECTURES: Readonly<Record<string, string>> = {
  qwen3_moe: "qwen3moe",
  olmoe: "olmoe",
  mixtral: "llama",
  gpt_oss: "gpt-oss",
  qwen2_moe: "qwen2moe",
  glm4_moe: "glm4moe",
  minimax_m2: "minimax-m2",
  deepseek_v2: "deepseek2",
  deepseek_v3: "deepseek2",
  granitemoe: "granitemoe",
};

/** Modules of a layer by the hub's names. */
const MODULES: Readonly<Record<string, string>> = {
  "input_layernorm": "attn_norm",
  "self_attn.q_proj": "attn_q",
  "self_attn.k_proj": "attn_k",
  "self_attn.v_proj": "attn_v",
  "self_attn.o_proj": "attn_output",
  "self_attn.q_norm": "attn_q_norm",
  "self_attn.k_norm": "attn_k_norm",
  "mlp.gate": "ffn_gate_inp",
  "mlp.router": "ffn_gate_inp",
  "block_sparse_moe.router.layer": "ffn_gate_inp",
  "mlp.gate_proj": "ffn_gate",
  "mlp.up_proj": "ffn_up",
  "mlp.down_proj": "ffn_down",
  "mlp.shared_expert_gate": "ffn_gate_inp_shexp",
  "self_attn.q_a_proj": "attn_q_a",
  "self_attn.q_a_layernorm": "attn_q_a_norm",
  "self_attn.q_b_proj": "attn_q_b",
  "self_attn.kv_a_proj_with_mqa": "attn_kv_a_mqa",
  "self_attn.kv_a_layernorm": "attn_kv_a_norm",
  "self_attn.kv_b_proj": "attn_kv_b",
  "block_sparse_moe.gate": "ffn_gate_inp",
};

const PROJECTIONS: Readonly<Record<string, string>> = {
  gate_proj: "gate",
  up_proj: "up",
  down_proj: "down",
  w1: "gate",
  w3: "up",
  w2: "down",
};

/** The metadata of a config, with a tokenizer of no texts. */
export function ggufMetadata(config: HfConfig): Record<string, MetadataValue> {
  const type = String(config.model_type);
  const architecture = ARCHITECTURES[type];
  const number = (key: string) => Number(config[key]);
  const rope = config.rope_parameters as Record<string, number | string>;
  const own: Record<string, MetadataValue> = {
    "block_count": number("num_hidden_layers"),
    "context_length": number("max_position_embeddings"),
    "embedding_length": number("hidden_size"),
    "feed_forward_length": number("intermediate_size"),
    "attention.head_count": number("num_attention_heads"),
    "attention.head_count_kv": number("num_key_value_heads"),
    "attention.layer_norm_rms_epsilon": number("rms_norm_eps"),
    "rope.freq_base": { float: Number(rope.rope_theta) },
    "expert_count": Number(
      config.n_routed_experts ?? config.num_experts ?? config.num_local_experts,
    ),
    "expert_used_count": number("num_experts_per_tok"),
    "vocab_size": number("vocab_size"),
  };
  if (config.head_dim !== undefined) {
    own["attention.key_length"] = number("head_dim");
    own["attention.value_length"] = number("head_dim");
    own["rope.dimension_count"] = number("head_dim");
  }
  if (config.moe_intermediate_size !== undefined) {
    own["expert_feed_forward_length"] = number("moe_intermediate_size");
  }
  if (type === "granitemoe") {
    own["attention.scale"] = { float: number("attention_multiplier") };
    own["embedding_scale"] = { float: number("embedding_multiplier") };
    own["residual_scale"] = { float: number("residual_multiplier") };
    own["logit_scale"] = { float: number("logits_scaling") };
  }
  if (type === "minimax_m2") own["expert_feed_forward_length"] = number("intermediate_size");
  if (rope.partial_rotary_factor !== undefined) {
    own["rope.dimension_count"] = number("head_dim") * Number(rope.partial_rotary_factor);
  }
  if (type === "qwen2_moe") {
    own["expert_shared_feed_forward_length"] = number("shared_expert_intermediate_size");
  }
  if (config.n_routed_experts !== undefined) Object.assign(own, groupedKeys(config));
  if (type.startsWith("deepseek")) Object.assign(own, latentKeys(config, rope));
  if (type === "gpt_oss") {
    own["expert_feed_forward_length"] = number("intermediate_size");
    own["attention.sliding_window"] = number("sliding_window");
    own["rope.scaling.type"] = "yarn";
    own["rope.scaling.factor"] = { float: Number(rope.factor) };
    own["rope.scaling.original_context_length"] = Number(rope.original_max_position_embeddings);
  }
  const prefixed = Object.entries(own).map(([key, value]) => [`${architecture}.${key}`, value]);
  return {
    "general.architecture": architecture,
    ...Object.fromEntries(prefixed),
    "tokenizer.ggml.model": "none",
  };
}

/** Keys of routers with groups and a correction. */
function groupedKeys(config: HfConfig): Record<string, MetadataValue> {
  const v2 = config.model_type === "deepseek_v2";
  return {
    "expert_shared_count": Number(config.n_shared_experts),
    "leading_dense_block_count": Number(config.first_k_dense_replace),
    "expert_gating_func": v2 ? 1 : 2,
    "expert_weights_norm": config.norm_topk_prob === true,
    "expert_weights_scale": { float: Number(config.routed_scaling_factor) },
    "expert_group_count": Number(config.n_group),
    "expert_group_used_count": Number(config.topk_group),
  };
}

/** Keys of latent attention: V2's as files had them at first, V3's as they have them now. */
function latentKeys(
  config: HfConfig,
  rope: Readonly<Record<string, number | string>>,
): Record<string, MetadataValue> {
  const number = (key: string) => Number(config[key]);
  const keys = number("qk_nope_head_dim") + number("qk_rope_head_dim");
  const latent = number("kv_lora_rank");
  const isNew = config.model_type === "deepseek_v3";
  return {
    "attention.kv_lora_rank": latent,
    "rope.dimension_count": number("qk_rope_head_dim"),
    ...(config.q_lora_rank ? { "attention.q_lora_rank": number("q_lora_rank") } : {}),
    ...(isNew
      ? {
        "attention.head_count_kv": 1,
        "attention.key_length": latent + number("qk_rope_head_dim"),
        "attention.value_length": latent,
        "attention.key_length_mla": keys,
        "attention.value_length_mla": number("v_head_dim"),
      }
      : { "attention.key_length": keys, "attention.value_length": number("v_head_dim") }),
    ...(rope.rope_type === "yarn"
      ? {
        "rope.scaling.type": "yarn",
        "rope.scaling.factor": { float: Number(rope.factor) },
        "rope.scaling.original_context_length": Number(rope.original_max_position_embeddings),
        "rope.scaling.yarn_log_multiplier": { float: 0.1 * Number(rope.mscale_all_dim) },
      }
      : {}),
  };
}

/** The tensors of a model by llama.cpp's names. */
export function ggufTensors(
  config: HfConfig,
  tensors: ReadonlyMap<string, HostTensor>,
): Map<string, RealTensor> {
  const result = new Map<string, RealTensor>();
  const experts = new Map<string, RealTensor[]>();
  for (const [name, tensor] of tensors) {
    const real = { shape: tensor.shape, values: toReal(tensor) };
    const expert = name.match(/^model\.layers\.(\d+)\.\w+\.experts\.(\d+)\.(\w+)\.weight$/);
    if (expert) {
      const key = `blk.${expert[1]}.ffn_${PROJECTIONS[expert[3]]}_exps.weight`;
      const list = experts.get(key) ?? [];
      list[Number(expert[2])] = real;
      experts.set(key, list);
    } else {
      for (const [key, value] of renamed(name, real, config)) result.set(key, value);
    }
  }
  for (const [key, list] of experts) result.set(key, stacked(list));
  return result;
}

/** F32, as every type can be compared with. */
export function inF32({ shape, values }: RealTensor): GgufTensorToWrite {
  return { type: 0, shape, data: new Uint8Array(values.buffer) };
}

function renamed(name: string, real: RealTensor, config: HfConfig): [string, RealTensor][] {
  const [, layer, rest] = name.match(/^model\.layers\.(\d+)\.(.*)$/) ?? [];
  if (layer === undefined) {
    const names: Record<string, string> = {
      "model.embed_tokens.weight": "token_embd.weight",
      "model.norm.weight": "output_norm.weight",
      "lm_head.weight": "output.weight",
    };
    return [[names[name], real]];
  }
  const block = `blk.${layer}`;
  if (rest.endsWith("e_score_correction_bias")) return [[`${block}.exp_probs_b.bias`, real]];
  const shared = rest.match(/^mlp\.shared_experts?\.(\w+)\.weight$/);
  if (shared) return [[`${block}.ffn_${PROJECTIONS[shared[1]]}_shexp.weight`, real]];
  if (rest === "mlp.shared_expert_gate.weight") {
    return [[`${block}.ffn_gate_inp_shexp.weight`, { ...real, shape: [real.values.length] }]];
  }
  if (rest === "self_attn.kv_b_proj.weight" && config.model_type === "deepseek_v3") {
    return splitLatent(block, real, config);
  }
  if (rest === "block_sparse_moe.input_linear.weight") return splitGateUp(block, real);
  if (rest === "block_sparse_moe.output_linear.weight") {
    return [[`${block}.ffn_down_exps.weight`, real]];
  }
  if (rest === "self_attn.sinks") return [[`${block}.attn_sinks.weight`, real]];
  if (rest.startsWith("mlp.experts.")) return splitExperts(block, rest.slice(12), real);
  const [, module, suffix] = rest.match(/^(.*)\.(weight|bias)$/) ?? [];
  if (module === "post_attention_layernorm") {
    const isPost = ["gpt_oss", "glm4_moe"].includes(String(config.model_type));
    const norm = isPost ? "post_attention_norm" : "ffn_norm";
    return [[`${block}.${norm}.${suffix}`, real]];
  }
  const part = MODULES[module];
  if (part === undefined) throw new Error(`no name for ${name}`);
  const heads: Record<string, number> = {
    attn_q: Number(config.num_attention_heads),
    attn_k: Number(config.num_key_value_heads),
  };
  const permuted = ["mixtral", "granitemoe"].includes(String(config.model_type)) && part in heads
    ? interleaved(real, heads[part])
    : real;
  return [[`${block}.${part}.${suffix}`, permuted]];
}

/** kv_b_proj [heads · (keys + values), latent] as k_b [heads, latent, keys], v_b [heads, values, latent]. */
function splitLatent(block: string, { shape, values }: RealTensor, config: HfConfig) {
  const [keys, size] = [Number(config.qk_nope_head_dim), Number(config.v_head_dim)];
  const [heads, latent] = [Number(config.num_attention_heads), shape[1]];
  const part = (head: number, start: number, rows: number) => {
    const from = (head * (keys + size) + start) * latent;
    return values.slice(from, from + rows * latent);
  };
  const list = Array.from({ length: heads }, (_, head) => head);
  const k = stacked(list.map((head) => ({ shape: [keys, latent], values: part(head, 0, keys) })));
  const v = stacked(
    list.map((head) => ({ shape: [size, latent], values: part(head, keys, size) })),
  );
  return [
    [`${block}.attn_k_b.weight`, transposed(k)],
    [`${block}.attn_v_b.weight`, v],
  ] as [string, RealTensor][];
}

/** Granite: input_linear [E, 2I, H], gate rows first. */
function splitGateUp(block: string, { shape, values }: RealTensor): [string, RealTensor][] {
  const [count, rows, columns] = shape;
  const half = rows / 2 * columns;
  const part = (start: number) =>
    stacked(Array.from({ length: count }, (_, e) => ({
      shape: [rows / 2, columns],
      values: values.slice(e * 2 * half + start, e * 2 * half + start + half),
    })));
  return [
    [`${block}.ffn_gate_exps.weight`, part(0)],
    [`${block}.ffn_up_exps.weight`, part(half)],
  ];
}

/** gpt-oss: gate_up_proj [E, H, 2I] whose columns alternate, down_proj [E, I, H], and biases. */
function splitExperts(block: string, name: string, real: RealTensor): [string, RealTensor][] {
  const bias = name.endsWith("_bias");
  const suffix = bias ? "bias" : "weight";
  const turned = bias ? real : transposed(real);
  if (name.startsWith("down_proj")) return [[`${block}.ffn_down_exps.${suffix}`, turned]];
  return [
    [`${block}.ffn_gate_exps.${suffix}`, everySecond(turned, 0)],
    [`${block}.ffn_up_exps.${suffix}`, everySecond(turned, 1)],
  ];
}

/** [E, A, B] as [E, B, A]. */
function transposed({ shape: [count, a, b], values }: RealTensor): RealTensor {
  const result = new Float32Array(values.length);
  for (let e = 0; e < count; e++) {
    for (let i = 0; i < a; i++) {
      for (let j = 0; j < b; j++) result[(e * b + j) * a + i] = values[(e * a + i) * b + j];
    }
  }
  return { shape: [count, b, a], values: result };
}

/** Rows 0, 2, .. or 1, 3, .. of each expert. */
function everySecond({ shape: [count, rows, columns = 1], values }: RealTensor, first: number) {
  const kept = rows / 2;
  const result = new Float32Array(count * kept * columns);
  for (let e = 0; e < count; e++) {
    for (let row = 0; row < kept; row++) {
      const from = (e * rows + 2 * row + first) * columns;
      result.set(values.subarray(from, from + columns), (e * kept + row) * columns);
    }
  }
  return { shape: columns === 1 ? [count, kept] : [count, kept, columns], values: result };
}

/** Row j of the first half of a head beside row j of the second: `permute` of the converter. */
function interleaved({ shape, values }: RealTensor, heads: number): RealTensor {
  const [rows, columns] = shape;
  const half = rows / heads / 2;
  const result = new Float32Array(values.length);
  for (let row = 0; row < rows; row++) {
    const [head, place] = [Math.floor(row / (2 * half)), row % (2 * half)];
    const to = head * 2 * half + 2 * (place % half) + Math.floor(place / half);
    result.set(values.subarray(row * columns, (row + 1) * columns), to * columns);
  }
  return { shape, values: result };
}

function stacked(list: readonly RealTensor[]): RealTensor {
  const size = list[0].values.length;
  const values = new Float32Array(list.length * size);
  list.forEach((each, i) => values.set(each.values, i * size));
  return { shape: [list.length, ...list[0].shape], values };
}

function toReal({ dtype, data }: HostTensor): Float32Array<ArrayBuffer> {
  if (dtype !== "bf16") return Float32Array.from(data, Number);
  return new Float32Array(
    Uint32Array.from(Float64Array.from(data, Number), (bits) => bits << 16).buffer,
  );
}
