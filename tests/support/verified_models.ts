/**
 * The golden models: what tests compare with transformers, and what the reference of architectures says
 * of it.
 *
 * @module
 */

import type { PackedFormat } from "../../graph/mod.ts";

/** A folder of `tests/golden` with a model and what transformers computes with it. */
export interface VerifiedModel {
  /** Name of the architecture that loads it. */
  readonly architecture: string;
  /** Values of a prompt inside: hidden states, routers, inputs and outputs of the blocks with experts. */
  readonly inside?: boolean;
  /** `config_legacy.json`: the config as transformers 4 wrote it. */
  readonly legacy?: boolean;
  /** Where experts and their names in memory, as newer exporters write them, are not those of the hub. */
  readonly kept?: boolean;
  /** `hub/config.json`: the vision model that is published, whose text this is. */
  readonly wrapped?: boolean;
}

const INSIDE = { inside: true, legacy: true } as const;
const ALL = { ...INSIDE, kept: true } as const;

/** Every golden model by its folder. */
export const VERIFIED_MODELS: Readonly<Record<string, VerifiedModel>> = {
  afmoe: { architecture: "afmoe", ...ALL },
  aria_text: { architecture: "aria_text", ...INSIDE },
  axk1: { architecture: "axk1", ...ALL },
  cohere2_moe: { architecture: "cohere2_moe", ...ALL },
  dbrx: { architecture: "dbrx", ...INSIDE },
  deepseek_v2: { architecture: "deepseek_v2", ...ALL },
  deepseek_v2_grouped: { architecture: "deepseek_v2", ...ALL },
  deepseek_v3: { architecture: "deepseek_v3", ...ALL },
  dots1: { architecture: "dots1", ...ALL },
  ernie4_5_moe: { architecture: "ernie4_5_moe", ...ALL },
  exaone_moe: { architecture: "exaone_moe", ...ALL },
  flex_olmo: { architecture: "flex_olmo", ...ALL },
  gemma3: { architecture: "gemma3_text", legacy: true },
  gemma4: { architecture: "gemma4_text", ...INSIDE, wrapped: true },
  gemma4_dense: { architecture: "gemma4_text", legacy: true },
  glm4_moe: { architecture: "glm4_moe", ...ALL },
  glm4_moe_lite: { architecture: "glm4_moe_lite", ...ALL },
  glm4v_moe: { architecture: "glm4v_moe_text", inside: true },
  gpt_oss: { architecture: "gpt_oss", ...INSIDE },
  granitemoe: { architecture: "granitemoe", ...ALL },
  granitemoeshared: { architecture: "granitemoeshared", ...ALL },
  granitemoe_swa: { architecture: "granitemoe_swa", ...INSIDE },
  hunyuan_v1_moe: { architecture: "hunyuan_v1_moe", ...ALL },
  hy_v3: { architecture: "hy_v3", ...ALL },
  laguna: { architecture: "laguna", ...ALL },
  llama: { architecture: "llama", legacy: true },
  llama4_text: { architecture: "llama4_text", ...INSIDE },
  mellum: { architecture: "mellum", ...ALL },
  mimo_v2_flash: { architecture: "mimo_v2_flash", ...ALL },
  minimax_m2: { architecture: "minimax_m2", ...ALL },
  mistral: { architecture: "mistral", legacy: true },
  mistral4: { architecture: "mistral4", ...ALL },
  mixtral: { architecture: "mixtral", ...ALL },
  olmo2: { architecture: "olmo2", legacy: true },
  olmoe: { architecture: "olmoe", ...ALL },
  phimoe: { architecture: "phimoe", ...ALL },
  phimoe_longrope: { architecture: "phimoe" },
  qwen2: { architecture: "qwen2", legacy: true },
  qwen2_moe: { architecture: "qwen2_moe", ...ALL },
  qwen3: { architecture: "qwen3", legacy: true },
  qwen3_moe: { architecture: "qwen3_moe", ...ALL },
  qwen3_moe_longrope: { architecture: "qwen3_moe" },
  qwen3_omni_moe: { architecture: "qwen3_omni_moe_text", inside: true },
  solar_open: { architecture: "solar_open", ...ALL },
};

/** Models that have all tensors of every prompt, and `fused/` with kept names. */
export const FIRST_MODELS: readonly string[] = ["qwen3_moe", "mixtral", "olmoe", "gpt_oss"];

/** Architectures that compute of text what another one does: the golden model is read by other names. */
export const SAME_TEXT: Readonly<Record<string, string>> = { qwen3_vl_moe_text: "qwen3_moe" };

/** A model, what of its blocks matters, the format of its experts, the backend, tokens of a step. */
export type PackedBlock = readonly [
  name: string,
  what: string,
  format: PackedFormat,
  backend: "triton" | "trtllm",
  tokens: number,
];

/** Blocks with packed experts that are compared on WebGPU with the CPU, every format with each backend. */
export const PACKED_BLOCKS: readonly PackedBlock[] = [
  ["deepseek_v3", "groups, shared slots", "fp8_block", "triton", 39],
  ["deepseek_v3", "groups, shared slots", "fp8_block", "trtllm", 1],
  ["deepseek_v2_grouped", "two shared slots", "int4", "trtllm", 39],
  ["ernie4_5_moe", "two shared slots", "nvfp4", "triton", 1],
  ["glm4_moe", "a shared slot", "nvfp4", "trtllm", 39],
  ["llama4_text", "weights in front of the experts", "fp8_e4m3", "triton", 1],
  ["llama4_text", "weights in front of the experts", "int8", "trtllm", 39],
  ["gemma4", "GELU, rows that no block divides, norms around", "int8", "triton", 39],
  ["gemma4", "GELU, rows that no block divides, norms around", "mxfp4", "trtllm", 1],
  ["gpt_oss", "biases, clamped SwiGLU", "int4", "triton", 1],
  ["qwen2_moe", "a gated MLP beside the experts", "mxfp4", "triton", 39],
  ["phimoe", "the sparse mixer", "fp8_e4m3", "trtllm", 39],
];
