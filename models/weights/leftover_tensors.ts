/**
 * Tensors that checkpoints of every family may hold and no graph reads, with the reason.
 *
 * @module
 */

import type { IgnoredTensors } from "./model_weights.ts";

/**
 * What quantizers, trainers and old versions of transformers leave beside the weights of a model with
 * this config. Layers behind the last one are explained only where the config says that they predict
 * further tokens.
 */
export function leftoverTensors(config: Readonly<Record<string, unknown>>): IgnoredTensors[] {
  const last = Number(config.num_hidden_layers);
  const predicting = Number(config.num_nextn_predict_layers ?? 0);
  const isPredicting = (name: string) => {
    const layer = Number(/\.layers\.(\d+)\./.exec(name)?.[1] ?? -1);
    return layer >= last && layer < last + predicting;
  };
  return [...LEFTOVERS, { pattern: { test: isPredicting }, reason: PREDICTION }];
}

const PREDICTION = "a layer that predicts further tokens, which is not used";

const LEFTOVERS: readonly IgnoredTensors[] = [
  {
    pattern: /\.rotary_emb\.(inv_freq|cos_cached|sin_cached)$/,
    reason: "computed from the rope parameters of config.json",
  },
  {
    pattern: /\.weight_shape$/,
    reason: "sizes of packed matrices, which config.json gives",
  },
  {
    pattern: /\.input_global_scale$/,
    reason: "scales for rounding activations to FP4, which is not done",
  },
  {
    pattern: /\.(k_scale|v_scale|kv_scale)$/,
    reason: "scales of a KV cache in FP8, used with kv_cache_dtype: fp8",
  },
  {
    pattern: /\.(input_zero_point|output_scale|output_zero_point)$/,
    reason: "rounding of activations to integers, which is not done",
  },
  {
    pattern:
      /^(optimizer|optim|ema|lr_scheduler|rng_state)[._]|\.(exp_avg|exp_avg_sq|momentum_buffer)$/,
    reason: "state of a training run",
  },
  {
    pattern:
      /^((thinker|model)\.)?(vision_tower|vision_model|visual|audio_tower|multi_modal_projector|mm_projector|embed_vision|embed_audio)\./,
    reason: "a part of the vision or audio model; text alone is loaded",
  },
  {
    pattern: /(^|\.)mtp([._]|$)|\.(eh_proj|enorm|hnorm|shared_head)\b/,
    reason: PREDICTION,
  },
];
