/**
 * Aria's text model: Llama's attention, a softmax over the chosen experts, which are stored as stacks to be
 * multiplied from the right, and shared experts in one MLP. After `modeling_aria.py` of transformers.
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import { defineArchitecture } from "../architecture.ts";
import { classDefaults } from "../config/class_defaults.ts";
import { countSchema, sizeSchema, sparseConfigFields } from "../config/config_fields.ts";
import { decoder, plainAttention } from "../blocks/decoder.ts";
import {
  denseMlp,
  type DenseMlpSpec,
  type SharedExpertSpec,
  sharedOutput,
} from "../blocks/moe_block.ts";
import type { ModelWeights } from "../weights/model_weights.ts";
import { ROPE_TYPES } from "../config/rope.ts";
import { biasAlone, routedMlp } from "../blocks/routed_mlp.ts";

const configSchema = z.looseObject({
  ...sparseConfigFields,
  intermediate_size: sizeSchema,
  moe_num_shared_experts: countSchema.default(2),
  mlp_bias: z.boolean().default(false),
});

/** Aria's text. */
export const aria = defineArchitecture({
  name: "aria_text",
  hfNames: ["AriaTextForCausalLM", "AriaForConditionalGeneration"],
  features: [
    "text alone; softmax router over the chosen experts, shared experts",
    "grouped-query attention, biases",
    ROPE_TYPES,
  ],
  reading: {
    defaults: classDefaults("aria_text"),
    names: { moe_num_experts: "num_experts", moe_topk: "num_experts_per_tok" },
  },
  config: configSchema,
  build(b, config, weights) {
    const { hidden_size: hidden, intermediate_size: intermediate, mlp_bias: bias } = config;
    const size = config.moe_num_shared_experts * intermediate;
    const dense = { hidden, intermediate: size, activation: config.hidden_act, bias };
    decoder(b, config, weights, (_index, module) => {
      const routed = routedMlp(weights, [`${module}.mlp`], {
        ...{ hidden, intermediate },
        experts: config.num_experts,
        topK: config.num_experts_per_tok,
        scoring: "softmax_chosen",
        gates: ["router"],
        source: { stacks: [{ gateUp: "experts.fc1.weight", down: "experts.fc2.weight" }] },
        // Routed experts have SiLU whatever hidden_act says; shared ones obey it.
        activation: "silu",
      });
      const shared = sharedOf(weights, `${module}.mlp.shared_experts`, dense);
      return {
        attention: plainAttention(config, weights, `${module}.self_attn`, {
          bias: config.attention_bias,
        }),
        mlp: (b, x) =>
          shared ? b.op("add", { a: routed(b, x), b: sharedOutput(b, x, shared) }) : routed(b, x),
      };
    });
  },
});

/** With no shared experts an MLP of no width is left, and of that its last bias. */
function sharedOf(
  weights: ModelWeights,
  module: string,
  spec: DenseMlpSpec,
): SharedExpertSpec | undefined {
  if (spec.intermediate > 0) {
    return { name: "shared_experts", build: denseMlp(weights, module, spec) };
  }
  return spec.bias ? biasAlone(weights, [module], spec.hidden) : undefined;
}
