/**
 * Tensors that checkpoints of every family may hold and no graph reads, with the reason.
 *
 * @module
 */

import type { IgnoredTensors } from "./model_weights.ts";

/** What quantizers and trainers leave beside the weights. */
export const LEFTOVER_TENSORS: readonly IgnoredTensors[] = [
  {
    pattern: /\.weight_shape$/,
    reason: "sizes of packed matrices, which config.json gives",
  },
  {
    pattern: /\.input_global_scale$/,
    reason: "scales for rounding activations to FP4, which is not done",
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
    pattern: /(^|\.)mtp([._]|$)|\.(eh_proj|enorm|hnorm|shared_head)\b/,
    reason: "a head that predicts several tokens, which is not used",
  },
];
