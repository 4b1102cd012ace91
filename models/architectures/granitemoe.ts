/**
 * Granite MoE, with and without a shared MLP or sliding windows: four multipliers, and a softmax over the
 * chosen experts. After `modeling_granitemoe.py`, `modeling_granitemoeshared.py` and
 * `modeling_granitemoe_swa.py` of transformers.
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import { slice } from "../../graph/mod.ts";
import { defineArchitecture } from "../architecture.ts";
import { classDefaults } from "../config/class_defaults.ts";
import {
  countSchema,
  layerTypesSchema,
  sizeSchema,
  sparseConfigFields,
} from "../config/config_fields.ts";
import { decoder, plainAttention } from "../blocks/decoder.ts";
import { type ModelWeights, PROJECTION_NAMES } from "../weights/model_weights.ts";
import {
  gatedMlp,
  type MlpBuilder,
  type SharedExpertSpec,
  sharedOutput,
} from "../blocks/moe_block.ts";
import { ROPE_TYPES } from "../config/rope.ts";
import type { AttentionSpec } from "../blocks/attention.ts";
import { rotaryOf } from "../blocks/rotary.ts";
import { routedMlp } from "../blocks/routed_mlp.ts";

const configSchema = z.looseObject({
  ...sparseConfigFields,
  intermediate_size: sizeSchema,
  shared_intermediate_size: countSchema.default(0),
  embedding_multiplier: z.number().default(1),
  attention_multiplier: z.number().default(1),
  residual_multiplier: z.number().default(1),
  logits_scaling: z.number().positive().default(1),
});

type Config = z.output<typeof configSchema>;

const FEATURES = [
  "softmax router over the chosen experts",
  "multipliers of embeddings, residuals, attention and logits",
  "attention biases, tied embeddings",
  ROPE_TYPES,
];

const NAMES = { num_local_experts: "num_experts" };

/** Granite-3.x MoE. */
export const graniteMoe = defineArchitecture({
  name: "granitemoe",
  hfNames: ["GraniteMoeForCausalLM"],
  features: FEATURES,
  reading: { defaults: classDefaults("granitemoe"), names: NAMES },
  config: configSchema,
  build: (b, config, weights) => build(b, config, weights, 0),
});

/** Granite MoE with a shared MLP. */
export const graniteMoeShared = defineArchitecture({
  name: "granitemoeshared",
  hfNames: ["GraniteMoeSharedForCausalLM"],
  features: ["shared MLP", ...FEATURES],
  reading: { defaults: classDefaults("granitemoeshared"), names: NAMES },
  config: configSchema,
  build: (b, config, weights) => build(b, config, weights, config.shared_intermediate_size),
});

const windowSchema = z.looseObject({
  ...configSchema.shape,
  sliding_window: sizeSchema,
  layer_types: layerTypesSchema,
  layer_rope_theta: z.array(z.number().nonnegative()).optional(),
});

/** Granite MoE with windows, sinks, and a base of the rotary embedding for each layer. */
export const graniteMoeSwa = defineArchitecture({
  name: "granitemoe_swa",
  hfNames: ["GraniteMoeSWAForCausalLM"],
  features: [
    "sliding window by layer_types, sinks, RoPE or none by layer_rope_theta, shared MLP",
    ...FEATURES,
  ],
  reading: { defaults: classDefaults("granitemoe_swa"), names: NAMES },
  config: windowSchema,
  build(b, config, weights) {
    const { num_attention_heads: heads, layer_types: types, rope_parameters: rope } = config;
    build(b, config, weights, config.shared_intermediate_size, (index, module) => {
      const theta = config.layer_rope_theta?.[index] ?? rope.rope_theta;
      const turned = { ...config, rope_parameters: { ...rope, rope_theta: theta } };
      const sliding = types ? types[index] === "sliding_attention" : index % 4 !== 0;
      return {
        rotary: theta === 0 ? undefined : rotaryOf(turned),
        window: sliding ? config.sliding_window : undefined,
        sinks: weights.vector(`${module}.sinks`, heads),
      };
    });
  },
});

type Build = Parameters<Parameters<typeof defineArchitecture>[0]["build"]>;

function build(
  b: Build[0],
  config: Config,
  weights: ModelWeights,
  shared: number,
  more: (index: number, module: string) => Partial<AttentionSpec> = () => ({}),
): void {
  decoder(b, config, weights, (index, module) => ({
    attention: {
      ...plainAttention(config, weights, `${module}.self_attn`, { bias: config.attention_bias }),
      scale: config.attention_multiplier,
      ...more(index, `${module}.self_attn`),
    },
    mlp: mlpOf(config, weights, module, shared),
    mlpName: "",
  }), {
    embeddingScale: config.embedding_multiplier,
    residualScale: config.residual_multiplier,
    logitScale: 1 / config.logits_scaling,
  });
}

function mlpOf(
  config: Config,
  weights: ModelWeights,
  module: string,
  sharedSize: number,
): MlpBuilder {
  const { hidden_size: hidden, hidden_act: activation } = config;
  const routed = routedMlp(weights, [`${module}.block_sparse_moe`], {
    ...{ hidden, activation, intermediate: config.intermediate_size },
    experts: config.num_experts,
    topK: config.num_experts_per_tok,
    scoring: "softmax_chosen",
    gates: ["router.layer", "router"],
    source: {
      ...PROJECTION_NAMES,
      stacks: [{ gateUp: "input_linear.weight", down: "output_linear.weight" }],
    },
  });
  const experts: MlpBuilder = (b, x) => b.within("block_sparse_moe", () => routed(b, x));
  if (sharedSize === 0) return experts;
  const shared = sharedMlp(
    weights,
    `${module}.shared_mlp`,
    { hidden, size: sharedSize },
    activation,
  );
  return (b, x) => b.op("add", { a: experts(b, x), b: sharedOutput(b, x, shared) });
}

/** The shared MLP keeps gate and up in one matrix, gate rows first. */
function sharedMlp(
  weights: ModelWeights,
  module: string,
  { hidden, size }: { hidden: number; size: number },
  activation: Config["hidden_act"],
): SharedExpertSpec {
  const both = weights.matrix(`${module}.input_linear`, 2 * size, hidden);
  const mlp = {
    w1: slice(both, 0, 0, size),
    w2: weights.matrix(`${module}.output_linear`, hidden, size),
    w3: slice(both, 0, size, 2 * size),
  };
  return { name: "shared_mlp", build: (b, x) => gatedMlp(b, x, mlp, activation) };
}
