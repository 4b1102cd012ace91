/**
 * Llama 4's text model: experts as batched products with routing on their input, RoPE of adjacent
 * pairs and chunked attention in most layers, no RoPE and a temperature in the others. After
 * `modeling_llama4.py` of transformers.
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import type { GraphBuilder, Value } from "../../graph/mod.ts";
import { activate } from "../blocks/activation.ts";
import { defineArchitecture } from "../architecture.ts";
import type { AttentionSpec } from "../blocks/attention.ts";
import { classDefaults } from "../config/class_defaults.ts";
import { countSchema, sizeSchema, sparseConfigFields } from "../config/config_fields.ts";
import { decoder, plainAttention } from "../blocks/decoder.ts";
import type { ModelWeights } from "../weights/model_weights.ts";
import { denseMlp, type MlpBuilder } from "../blocks/moe_block.ts";
import { ROPE_TYPES } from "../config/rope.ts";
import { rotaryOf, type RotarySpec } from "../blocks/rotary.ts";

const flags = z.array(z.union([z.int().min(0).max(1), z.boolean()]));

const configSchema = z.looseObject({
  ...sparseConfigFields,
  intermediate_size: sizeSchema,
  intermediate_size_mlp: sizeSchema,
  attention_chunk_size: sizeSchema.optional(),
  attn_temperature_tuning: z.union([z.boolean(), z.int()]).default(true),
  floor_scale: z.number().positive().default(8192),
  attn_scale: z.number().default(0.1),
  use_qk_norm: z.boolean().default(true),
  interleave_moe_layer_step: sizeSchema.default(1),
  moe_layers: z.array(countSchema).optional(),
  no_rope_layers: flags.optional(),
  no_rope_layer_interval: sizeSchema.default(4),
  layer_types: z.array(z.enum(["chunked_attention", "full_attention"])).optional(),
});

type Config = z.output<typeof configSchema>;

/** Llama 4 Scout and Maverick. */
export const llama4 = defineArchitecture({
  name: "llama4_text",
  hfNames: ["Llama4ForCausalLM", "Llama4ForConditionalGeneration"],
  features: [
    "sigmoid of the chosen logits on the experts' input, shared expert, dense layers between",
    "chunked attention, layers without RoPE, temperature by position, L2 norm of q and k",
    "RoPE of adjacent pairs",
    ROPE_TYPES,
  ],
  reading: {
    defaults: classDefaults("llama4_text"),
    names: { num_local_experts: "num_experts" },
  },
  config: configSchema,
  build(b, config, weights) {
    const rotary = rotaryOf(config, { layout: "interleaved" });
    const { interleave_moe_layer_step: step } = config;
    const sparse = (index: number) =>
      config.moe_layers?.includes(index) ?? (index + 1) % step === 0;
    const { hidden_size: hidden, hidden_act: activation } = config;
    const dense = { hidden, intermediate: config.intermediate_size_mlp, activation };
    decoder(b, config, weights, (index, module) => ({
      attention: attentionOf(config, weights, index, `${module}.self_attn`, rotary),
      mlp: sparse(index)
        ? batchedMlp(config, weights, `${module}.feed_forward`)
        : denseMlp(weights, `${module}.feed_forward`, dense),
      mlpName: "feed_forward",
    }));
  },
});

function attentionOf(
  config: Config,
  weights: ModelWeights,
  index: number,
  module: string,
  rotary: RotarySpec,
): AttentionSpec {
  const list = config.no_rope_layers?.length ? config.no_rope_layers : undefined;
  const turns = list ? Boolean(list[index]) : (index + 1) % config.no_rope_layer_interval !== 0;
  const { layer_types: types, rms_norm_eps: eps } = config;
  const chunked = types ? types[index] === "chunked_attention" : turns;
  return {
    ...plainAttention(config, weights, module, {
      bias: config.attention_bias,
      rotary: turns ? rotary : null,
    }),
    qkNorm: turns && config.use_qk_norm ? { over: "head", eps, afterRope: true } : undefined,
    chunk: chunked ? config.attention_chunk_size : undefined,
    ...(!turns && config.attn_temperature_tuning &&
      { temperature: { scale: config.attn_scale, floor: config.floor_scale, first: 1 } }),
  };
}

/**
 * transformers' form: every expert computes all tokens, each multiplied with its score, which is zero
 * where the expert is not chosen; the results are summed over the experts.
 */
function batchedMlp(config: Config, weights: ModelWeights, module: string): MlpBuilder {
  const { num_experts: experts, hidden_size: hidden, intermediate_size: inner } = config;
  const { hidden_act: activation, num_experts_per_tok: topK } = config;
  const router = weights.matrix(`${module}.router`, experts, hidden);
  const gateUp = weights.tensor(`${module}.experts.gate_up_proj`, [experts, hidden, 2 * inner]);
  const down = weights.tensor(`${module}.experts.down_proj`, [experts, inner, hidden]);
  const shared = denseMlp(weights, `${module}.shared_expert`, {
    ...{ hidden, intermediate: inner, activation },
  });
  return (b, x) => {
    const scores = b.within("router", () => scoresOf(b, x, b.weight("weight", router), topK));
    const routed = b.within("experts", () => {
      const turned = b.op("unsqueeze", { x: b.op("transpose", { x: scores }, { dims: [0, 1] }) }, {
        dim: -1,
      });
      const copies = b.op("expand", { x: b.op("unsqueeze", { x }, { dim: 0 }) }, {
        shape: [experts, x.shape[0], hidden],
      });
      const input = b.op("mul", { a: copies, b: turned });
      const both = b.op("matmul", { a: input, b: b.weight("gate_up_proj", gateUp) });
      const part = (start: number) =>
        b.op("slice", { x: both }, { dim: -1, start, end: start + inner });
      const gated = b.op("mul", { a: part(inner), b: activate(b, part(0), activation) });
      const outputs = b.op("matmul", { a: gated, b: b.weight("down_proj", down) });
      return b.op("sum", { x: outputs }, { dim: 0, keepdim: false });
    });
    return b.op("add", { a: b.within("shared_expert", () => shared(b, x)), b: routed });
  };
}

/** [T, E]: the sigmoid of the chosen logits, zero elsewhere. */
function scoresOf(b: GraphBuilder, x: Value, weight: Value, k: number): Value {
  const logits = b.op("linear", { x, w: weight });
  const [chosen, selected] = b.node("topk", { x: logits }, { k }).outputs;
  const weights = b.op("sigmoid", { x: chosen });
  return b.op("scatter", { x: weights, indices: selected }, { classes: Number(logits.shape[1]) });
}
