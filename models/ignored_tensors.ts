/**
 * Tensors that checkpoints hold and graphs need not, with the reason.
 *
 * @module
 */

import type { ModelConfig } from "./hf_config.ts";
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

/** What no text model reads, whatever its family. */
export const ALWAYS_IGNORED: readonly IgnoredTensors[] = [
  {
    pattern:
      /^(model\.)?(vision_tower|vision_model|visual|audio_tower|multi_modal_projector|embed_vision|embed_audio)\./,
    reason: "a part of the vision or audio model; text alone is loaded",
  },
  { pattern: /^(model\.)?mtp\./, reason: "it predicts several tokens at once, which is not used" },
];

/** Layers behind the last one, which DeepSeek's and GLM's checkpoints have for several tokens at once. */
export function laterLayers({ num_hidden_layers: layers }: ModelConfig): IgnoredTensors {
  return {
    pattern: { test: (name) => Number(/^model\.layers\.(\d+)\./.exec(name)?.[1] ?? -1) >= layers },
    reason: "it predicts several tokens at once, which is not used",
  };
}
