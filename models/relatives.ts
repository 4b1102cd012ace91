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

const GLM4V: Relative = { nearest: "glm4_moe", missing: MISSING.sections };

const INKLING: Relative = {
  nearest: "gemma3_text",
  missing: "logits by relative position, short convolutions, a router with experts of its own",
};

const MINIMAX_M3: Relative = {
  nearest: "minimax_m2",
  missing:
    "sparse attention over blocks that an indexer chooses, norms of 1 + weight, clamped SwiGLU",
};

const OMNI: Relative = {
  nearest: "qwen3_vl_moe_text",
  missing: "a config and weights below a thinker, speech",
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
  glm4v_moe: GLM4V,
  glm4v_moe_text: GLM4V,
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
  qwen3_omni_moe: OMNI,
  qwen3_omni_moe_text: OMNI,
  qwen3_omni_moe_thinker: OMNI,
  qwen4_exp: QWEN4,
  qwen4_exp_text: QWEN4,
  step3p5: STEP,
  step3p7: STEP,
  zaya: {
    nearest: "qwen3_moe",
    missing: "attention over convolved projections, scaled residuals, a router that is an MLP",
  },
};

/** A sentence about the nearest family that loads, or undefined for types that are not known. */
export function relativeOf(type: unknown): string | undefined {
  if (typeof type !== "string" || !Object.hasOwn(RELATIVES, type)) return undefined;
  const { nearest, missing } = RELATIVES[type];
  return `Choose a model of ${nearest}, its nearest relative that loads; of ${type} is missing: ${missing}`;
}
