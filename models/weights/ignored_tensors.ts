/**
 * Tensors that checkpoints hold and graphs need not, with the reason.
 *
 * @module
 */

import type { IgnoredTensors } from "./model_weights.ts";

/** Buffers that old versions of transformers saved with the weights. */
export const ROTARY_BUFFERS: IgnoredTensors = {
  pattern: /\.rotary_emb\.(inv_freq|cos_cached|sin_cached)$/,
  reason: "computed from the rope parameters of config.json",
};

/** The head of a model whose config ties it to the embedding. */
export const TIED_HEAD: IgnoredTensors = {
  pattern: /^lm_head\.weight$/,
  reason: "the head is tied to the embedding",
};
