/**
 * The MoE layers that benches and tuned tables are about: exact sizes of released models, and
 * scaled-down twins with the same ratios that a software adapter runs in seconds.
 *
 * @module
 */

import type { MoeActivation } from "../graph/mod.ts";

/** Sizes of one MoE layer. */
export interface MoeShape {
  readonly name: string;
  readonly hidden: number;
  readonly intermediate: number;
  readonly experts: number;
  readonly topK: number;
  readonly activation: MoeActivation;
  /** Whether experts have biases. */
  readonly bias: boolean;
}

/** Sizes from the models' `config.json` on the Hugging Face hub. */
export const MOE_SHAPES: readonly MoeShape[] = [
  shape("Mixtral-8x7B", 4096, 14336, 8, 2),
  shape("Qwen3-30B-A3B", 2048, 768, 128, 8),
  shape("OLMoE-1B-7B", 2048, 1024, 64, 8),
  { ...shape("gpt-oss-20b", 2880, 2880, 32, 4), activation: "swiglu_oai", bias: true },
  shape("DeepSeek-V2-Lite", 2048, 1408, 64, 6),
];

/** The same layers with hidden and intermediate sizes a sixteenth, experts a quarter (at least 8). */
export const MOE_TWINS: readonly MoeShape[] = MOE_SHAPES.map((full) => ({
  ...full,
  name: `${full.name} twin`,
  hidden: sixteenth(full.hidden),
  intermediate: sixteenth(full.intermediate),
  experts: Math.max(8, full.experts / 4),
}));

function shape(
  name: string,
  hidden: number,
  intermediate: number,
  experts: number,
  topK: number,
): MoeShape {
  return { name, hidden, intermediate, experts, topK, activation: "silu", bias: false };
}

/** A sixteenth, rounded up to whole 16-byte chunks of bf16. */
function sixteenth(size: number): number {
  return Math.ceil(size / 128) * 8;
}
