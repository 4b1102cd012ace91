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

/** By `model_type`. */
const RELATIVES: Readonly<Record<string, Relative>> = {
  deepseek_v32: { nearest: "deepseek_v3", missing: "sparse attention by an indexer" },
  flex_olmo: { nearest: "olmoe", missing: "norms behind attention and experts" },
  gemma2: { nearest: "gemma3_text", missing: "soft caps of scores" },
  glm_moe_dsa: { nearest: "glm4_moe_lite", missing: "sparse attention by an indexer" },
  granitemoehybrid: { nearest: "granitemoeshared", missing: "Mamba-2 layers" },
  jamba: { nearest: "mixtral", missing: "Mamba layers" },
  kimi_linear: { nearest: "deepseek_v3", missing: "layers of Kimi delta attention" },
  lfm2_moe: { nearest: "qwen3_moe", missing: "layers of short convolutions" },
  longcat_flash: {
    nearest: "deepseek_v3",
    missing: "two attentions a layer, experts that pass their input on",
  },
  minimax: { nearest: "minimax_m2", missing: "layers of lightning attention" },
  nemotron_h: { nearest: "granitemoeshared", missing: "Mamba-2 layers, one block a layer" },
  olmo3: { nearest: "olmo2", missing: "sliding windows by layer type" },
  phi3: { nearest: "llama", missing: "projections of q, k and v in one tensor" },
  qwen2: { nearest: "qwen3", missing: "biases of q, k and v alone" },
  qwen3_5_moe: QWEN_DELTA,
  qwen3_5_moe_text: QWEN_DELTA,
  qwen3_next: QWEN_DELTA,
};

/** A sentence about the nearest family that loads, or undefined for types that are not known. */
export function relativeOf(type: unknown): string | undefined {
  if (typeof type !== "string" || !Object.hasOwn(RELATIVES, type)) return undefined;
  const { nearest, missing } = RELATIVES[type];
  return `Choose a model of ${nearest}, its nearest relative that loads; of ${type} is missing: ${missing}`;
}
