/**
 * gpt-oss: attention with sinks in every other layer of a sliding window, and experts with biases
 * and a clamped SwiGLU, in bf16 or MXFP4. After `modeling_gpt_oss.py` of transformers.
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import {
  cast,
  dequantize,
  type GraphBuilder,
  reshape,
  select,
  slice,
  transpose,
  type Value,
  type Weight,
} from "../../graph/mod.ts";
import { defineArchitecture } from "../architecture.ts";
import { linear } from "../blocks/basic.ts";
import { classDefaults } from "../config/class_defaults.ts";
import { decoder, plainAttention } from "../blocks/decoder.ts";
import { baseConfigFields, moeConfigFields } from "../config/hf_config.ts";
import type { ModelWeights } from "../weights/model_weights.ts";
import { expertLoop, type MlpBuilder } from "../blocks/moe_block.ts";
import type { Routing } from "../blocks/moe_router.ts";

const configSchema = z.looseObject({
  ...baseConfigFields,
  ...moeConfigFields,
  attention_bias: z.boolean().default(true),
  intermediate_size: z.int().positive(),
  sliding_window: z.int().positive().optional(),
  layer_types: z.array(z.enum(["sliding_attention", "full_attention"])).optional(),
}).superRefine(({ layer_types: types, sliding_window: window }, context) => {
  // Without a list every second layer slides; lists are checked for all families.
  if (types !== undefined || window !== undefined) return;
  context.addIssue({
    code: "invalid_type",
    expected: "number",
    path: ["sliding_window"],
    input: undefined,
  });
});

type Config = z.output<typeof configSchema>;

/** Factor in the sigmoid of the experts' activation; transformers has no key for it. */
const ALPHA = 1.702;

/** Where gate and up are clamped: transformers does not read `swiglu_limit`. */
const LIMIT = 7;

/** gpt-oss-20b and gpt-oss-120b. */
export const gptOss = defineArchitecture({
  name: "gpt_oss",
  hfNames: ["GptOssForCausalLM"],
  features: [
    "grouped-query attention with biases and a sink per head",
    "sliding window by layer_types",
    "router with bias, softmax over the chosen experts",
    "experts with biases and clamped SwiGLU, bf16 or MXFP4",
    "RoPE: yarn (with or without truncate), default, linear, dynamic, llama3",
  ],
  reading: {
    defaults: classDefaults("gpt_oss"),
    names: { num_local_experts: "num_experts" },
    rope: {
      whenMissing: {
        rope_type: "yarn",
        factor: 32,
        beta_fast: 32,
        beta_slow: 1,
        truncate: false,
        original_max_position_embeddings: 4096,
      },
    },
  },
  config: configSchema,
  assumes: { swiglu_limit: LIMIT, hidden_act: "silu" },
  build(b, config, weights) {
    const { num_attention_heads: heads, attention_bias: bias } = config;
    decoder(b, config, weights, (index, module) => ({
      attention: {
        ...plainAttention(config, weights, `${module}.self_attn`, { bias }),
        sinks: weights.vector(`${module}.self_attn.sinks`, heads),
        window: isSliding(config, index) ? config.sliding_window : undefined,
      },
      mlp: mlpOf(config, weights, `${module}.mlp`),
    }));
  },
});

/** transformers alternates, sliding first, where the config has no list. */
function isSliding({ layer_types: types }: Config, index: number): boolean {
  return types ? types[index] === "sliding_attention" : index % 2 === 0;
}

function mlpOf(config: Config, weights: ModelWeights, module: string): MlpBuilder {
  const { num_experts: count, hidden_size: hidden, num_experts_per_tok: topK } = config;
  const router = {
    weight: weights.matrix(`${module}.router`, count, hidden),
    bias: weights.vector(`${module}.router.bias`, count),
  };
  const experts = readExperts(config, weights, `${module}.experts`);
  return (b, x) => {
    const routing = b.within("router", () => {
      const logits = b.op("linear", {
        x,
        w: b.weight("weight", router.weight),
        bias: b.weight("bias", router.bias),
      });
      return chooseExperts(b, logits, topK);
    });
    return expertLoop(
      b,
      x,
      routing,
      count,
      (b, rows, expert) => clampedMlp(b, rows, experts[expert], LIMIT),
    );
  };
}

/** The k largest logits, and the softmax of these alone. */
function chooseExperts(b: GraphBuilder, logits: Value, k: number): Routing {
  const [chosen, selected] = b.node("topk", { x: logits }, { k }).outputs;
  return { selected, weights: b.op("softmax", { x: chosen }, { dim: -1 }) };
}

/** One projection of an expert. */
interface Projection {
  readonly weight: Weight;
  readonly bias: Weight;
}

/** The projections of one expert. */
interface Expert {
  readonly gate: Projection;
  readonly up: Projection;
  readonly down: Projection;
}

/** `down · ((clamp(up, ±limit) + 1) ⊙ (g · sigmoid(1.702 g)))` with `g = min(gate, limit)`. */
function clampedMlp(b: GraphBuilder, x: Value, expert: Expert, limit: number): Value {
  const project = (name: "gate" | "up" | "down", of: Value) =>
    linear(b, `${name}_proj`, of, expert[name].weight, expert[name].bias);
  const gate = b.op("clamp", { x: project("gate", x) }, { max: limit });
  const up = b.op("clamp", { x: project("up", x) }, { min: -limit, max: limit });
  const scaled = b.op("mul", { a: gate, b: b.scalar(ALPHA) });
  const glu = b.op("mul", { a: gate, b: b.op("sigmoid", { x: scaled }) });
  const shifted = b.op("add", { a: up, b: b.scalar(1) });
  return project("down", b.op("mul", { a: shifted, b: glu }));
}

/** Rows of `gate_up` alternate: gate, up, gate, up. */
function readExperts(config: Config, weights: ModelWeights, module: string): Expert[] {
  const { num_experts: count, hidden_size: hidden, intermediate_size: inner } = config;
  if (weights.has(`${module}.0.gate_proj.bias`)) {
    return readSeparateExperts(config, weights, module);
  }
  const gateUp = readStack(weights, `${module}.gate_up_proj`, count, 2 * inner, hidden);
  const down = readStack(weights, `${module}.down_proj`, count, hidden, inner);
  return Array.from({ length: count }, (_, e) => ({
    gate: everySecond(gateUp(e), 0),
    up: everySecond(gateUp(e), 1),
    down: down(e),
  }));
}

/** The projections of each expert by itself, as GGUF files give them. */
function readSeparateExperts(config: Config, weights: ModelWeights, module: string): Expert[] {
  const { num_experts: count, hidden_size: hidden, intermediate_size: inner } = config;
  return Array.from({ length: count }, (_, e) => {
    const project = (name: string, rows: number, columns: number) => ({
      weight: weights.matrix(`${module}.${e}.${name}`, rows, columns),
      bias: weights.vector(`${module}.${e}.${name}.bias`, rows),
    });
    return {
      gate: project("gate_proj", inner, hidden),
      up: project("up_proj", inner, hidden),
      down: project("down_proj", hidden, inner),
    };
  });
}

/** Rows 0, 2, 4, .. or 1, 3, 5, .. of a projection. */
function everySecond({ weight, bias }: Projection, first: 0 | 1): Projection {
  const pick = (of: Weight) => slice(of, 0, first, of.shape[0], 2);
  return {
    // Codes and scales have the same rows, so a packed weight stays one.
    weight: weight.kind === "dequantize"
      ? dequantize("mxfp4", pick(weight.payload), weight.scales.map(pick))
      : pick(weight),
    bias: pick(bias),
  };
}

/**
 * The projections of all experts: `{name}` [E, columns, rows] in bf16, which transformers multiplies
 * from the right, or `{name}_blocks` and `{name}_scales`, which hold the rows themselves.
 */
function readStack(
  weights: ModelWeights,
  name: string,
  count: number,
  rows: number,
  columns: number,
): (expert: number) => Projection {
  const biases = cast(weights.tensor(`${name}_bias`, [count, rows]), "f32");
  const withBias = (weight: Weight, expert: number) => ({
    weight,
    bias: select(biases, 0, expert),
  });
  if (!weights.has(`${name}_blocks`)) {
    // One transposed weight for all experts: its reader holds one of them at a time.
    const turned = transpose(weights.tensor(name, [count, columns, rows]), 1, 2);
    return (expert) => withBias(select(turned, 0, expert), expert);
  }
  const blocks = Math.ceil(columns / 32);
  const codes = weights.tensor(`${name}_blocks`, [count, rows, blocks, 16], ["u8"]);
  const scales = weights.tensor(`${name}_scales`, [count, rows, blocks], ["u8"]);
  const payload = reshape(codes, [count, rows, blocks * 16]);
  return (expert) =>
    withBias(
      dequantize("mxfp4", select(payload, 0, expert), [select(scales, 0, expert)]),
      expert,
    );
}
