/**
 * Families that do not load, what comes nearest to them, and what they have besides.
 *
 * @module
 */

interface Relative {
  /** The name of an architecture that loads. */
  readonly nearest: string;
  /** What the family has that no architecture implements. */
  readonly missing: string;
}

const QWEN_DELTA: Relative = {
  nearest: "qwen3_moe",
  missing: "layers of the gated delta rule, gated attention, norms of 1 + weight",
};

const MISSING = {
  indexer: "sparse attention by an indexer",
  hyper: "hyper-connections in place of residuals",
  sections: "a rotary embedding in sections for images",
};

const DEEPSEEK_V4: Relative = {
  nearest: "deepseek_v3",
  missing:
    `compressed and ${MISSING.indexer}, sinks in latent attention, ${MISSING.hyper}, experts chosen by a hash of the token`,
};

const GLM5_NEXT: Relative = {
  nearest: "glm4_moe_lite",
  missing: `layers of linear attention, ${MISSING.indexer}, ${MISSING.hyper}, clamped SwiGLU`,
};

const ERNIE_VL: Relative = {
  nearest: "ernie4_5_moe",
  missing: `experts for text beside those for images, ${MISSING.sections}`,
};

const INKLING: Relative = {
  nearest: "gemma3_text",
  missing: "logits by relative position, short convolutions, a router with experts of its own",
};

const MINIMAX_M3: Relative = {
  nearest: "minimax_m2",
  missing:
    "sparse attention over blocks that an indexer chooses, norms of 1 + weight, clamped SwiGLU",
};

const QWEN4: Relative = {
  nearest: "qwen3_moe",
  missing: `${QWEN_DELTA.missing}, ${MISSING.indexer}, embeddings of n-grams, gated residuals`,
};

const STEP: Relative = {
  nearest: "afmoe",
  missing: "heads by layer, a gate for each head, norms of 1 + weight, clamped SwiGLU by layer",
};

/** By `model_type`. */
const RELATIVES: Readonly<Record<string, Relative>> = {
  axk2: {
    nearest: "axk1",
    missing: `${MISSING.indexer}, attention and norms behind gates of low rank`,
  },
  deepseek_ocr2: { nearest: "deepseek_v2", missing: "plain attention in place of latents" },
  deepseek_ocr2_text: { nearest: "deepseek_v2", missing: "plain attention in place of latents" },
  deepseek_v32: { nearest: "deepseek_v3", missing: MISSING.indexer },
  deepseek_v4: DEEPSEEK_V4,
  diffusion_gemma: { nearest: "gemma4_text", missing: "decoding by diffusion over an encoder" },
  diffusion_gemma_text: {
    nearest: "gemma4_text",
    missing: "decoding by diffusion over an encoder",
  },
  doge: {
    nearest: "qwen3_moe",
    missing: "a mask that depends on values, experts of one row that product keys choose",
  },
  ernie4_5_vl_moe: ERNIE_VL,
  ernie4_5_vl_moe_text: ERNIE_VL,
  gemma2: { nearest: "gemma3_text", missing: "soft caps of scores" },
  glm5_next: GLM5_NEXT,
  glm5_next_text: GLM5_NEXT,
  glm_moe_dsa: { nearest: "glm4_moe_lite", missing: MISSING.indexer },
  granitemoehybrid: { nearest: "granitemoeshared", missing: "Mamba-2 layers" },
  hy_v4: { nearest: "hy_v3", missing: `latent attention with an indexer, ${MISSING.hyper}` },
  inkling_mm_model: INKLING,
  inkling_text: INKLING,
  jamba: { nearest: "mixtral", missing: "Mamba layers" },
  jetmoe: {
    nearest: "granitemoe",
    missing:
      "attention whose projections of queries and outputs are experts, biases behind experts",
  },
  kimi_linear: { nearest: "deepseek_v3", missing: "layers of Kimi delta attention" },
  lfm2_moe: { nearest: "qwen3_moe", missing: "layers of short convolutions" },
  longcat_flash: {
    nearest: "deepseek_v3",
    missing: "two attentions a layer, experts that pass their input on",
  },
  minimax: { nearest: "minimax_m2", missing: "layers of lightning attention" },
  minimax_m3_vl: MINIMAX_M3,
  minimax_m3_vl_text: MINIMAX_M3,
  nemotron_h: { nearest: "granitemoeshared", missing: "Mamba-2 layers, one block a layer" },
  nemotron_h_omni: { nearest: "granitemoeshared", missing: "Mamba-2 layers, one block a layer" },
  olmo3: { nearest: "olmo2", missing: "sliding windows by layer type" },
  phi3: { nearest: "llama", missing: "projections of q, k and v in one tensor" },
  qwen3_5_moe: QWEN_DELTA,
  qwen3_5_moe_text: QWEN_DELTA,
  qwen3_next: QWEN_DELTA,
  qwen4_exp: QWEN4,
  qwen4_exp_text: QWEN4,
  step3p5: STEP,
  step3p7: STEP,
  zaya: {
    nearest: "qwen3_moe",
    missing: "attention over convolved projections, scaled residuals, a router that is an MLP",
  },
};

const LEARNED: Relative = {
  nearest: "llama",
  missing: "LayerNorm with biases, an MLP without a gate, fused projections",
};

const REMOTE = "a class of transformers, whose code would be followed";

/** Families without experts, wrappers of them, and such as transformers has no class for. */
const DENSE_RELATIVES: Readonly<Record<string, Relative>> = {
  apertus: {
    nearest: "llama",
    missing: "an activation with weights (xIELU), an MLP without a gate",
  },
  arcee: { nearest: "llama", missing: "an MLP without a gate" },
  bailing_moe: { nearest: "glm4_moe", missing: REMOTE },
  bailing_moe_v2: { nearest: "glm4_moe", missing: REMOTE },
  bloom: LEARNED,
  chatglm: { nearest: "llama", missing: REMOTE },
  cohere: { nearest: "cohere2_moe", missing: "layers without experts, norms of q and k" },
  cohere2: { nearest: "cohere2_moe", missing: "layers without experts" },
  deepseek: { nearest: "deepseek_v2", missing: "plain attention in place of latents" },
  ernie4_5: { nearest: "ernie4_5_moe", missing: "layers without experts" },
  exaone4: {
    nearest: "olmo2",
    missing: "norms of each head of q and k, RoPE in sliding layers alone",
  },
  falcon: LEARNED,
  gemma: {
    nearest: "gemma3_text",
    missing: "layers without norms of q and k or behind the blocks",
  },
  gemma3n: { nearest: "gemma3_text", missing: "inputs by layer, several residual streams" },
  gemma3n_text: { nearest: "gemma3_text", missing: "inputs by layer, several residual streams" },
  glm: {
    nearest: "llama",
    missing: "a partial rotary embedding of adjacent pairs, gate and up in one tensor",
  },
  glm4: {
    nearest: "llama",
    missing:
      "a partial rotary embedding of adjacent pairs, gate and up in one tensor, norms behind the blocks",
  },
  gpt2: LEARNED,
  gpt_neox: LEARNED,
  gptj: LEARNED,
  granite: {
    nearest: "granitemoe",
    missing: "layers without experts",
  },
  hunyuan_v1_dense: { nearest: "hunyuan_v1_moe", missing: "layers without experts" },
  lfm2: { nearest: "qwen3", missing: "layers of short convolutions" },
  ministral: { nearest: "mistral", missing: "sliding windows by layer type" },
  ministral3: { nearest: "mistral", missing: "a temperature by position" },
  mllama: { nearest: "llama", missing: "attention to images" },
  nemotron: { nearest: "llama", missing: "LayerNorm of 1 + weight, an MLP without a gate" },
  nllb_moe: { nearest: "mixtral", missing: "an encoder" },
  olmo: { nearest: "olmo2", missing: "LayerNorm without weights in front of the blocks" },
  openai_privacy_filter: { nearest: "gpt_oss", missing: "attention in both directions" },
  opt: LEARNED,
  phi: LEARNED,
  qwen2_5_vl: { nearest: "qwen2", missing: MISSING.sections },
  qwen2_vl: { nearest: "qwen2", missing: MISSING.sections },
  qwen3_5: { ...QWEN_DELTA, nearest: "qwen3" },
  qwen3_5_text: { ...QWEN_DELTA, nearest: "qwen3" },
  qwen3_vl: { nearest: "qwen3", missing: MISSING.sections },
  seed_oss: { nearest: "llama", missing: "attention with biases of q, k and v alone" },
  smallthinker: { nearest: "qwen3_moe", missing: REMOTE },
  smollm3: { nearest: "llama", missing: "layers without RoPE" },
  starcoder2: LEARNED,
  switch_transformers: { nearest: "mixtral", missing: "an encoder" },
};

/** A sentence about the nearest family that loads, or undefined for types that are not known. */
export function relativeOf(type: unknown): string | undefined {
  if (typeof type !== "string") return undefined;
  const table = [RELATIVES, DENSE_RELATIVES].find((each) => Object.hasOwn(each, type));
  if (!table) return undefined;
  const { nearest, missing } = table[type];
  return `Choose a model of ${nearest}, its nearest relative that loads; of ${type} is missing: ${missing}`;
}
