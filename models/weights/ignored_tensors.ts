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

/** What speaks in a model that listens, looks and speaks. */
export const SPEECH: IgnoredTensors = {
  pattern: /^(talker|code2wav)\./,
  reason: "a part of the speaking model; text alone is loaded",
};
