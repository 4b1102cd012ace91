/**
 * The frame that decoder-only models share: embedding, layers with residuals, final norm, head.
 *
 * @module
 */

import type { GraphBuilder, Value, Weight } from "../graph/mod.ts";
import { attention, type AttentionSpec, linear, rmsNorm, rotaryTables } from "./blocks.ts";
import type { ModelConfig } from "./hf_config.ts";
import type { ModelWeights } from "./model_weights.ts";
import type { MlpBuilder } from "./moe_block.ts";
import { ropeFrequencies } from "./rope.ts";

/** One decoder layer. */
export interface LayerSpec {
  readonly attention: AttentionSpec;
  /** The block after attention, in scope `mlp`. */
  readonly mlp: MlpBuilder;
}

/** Builds a decoder-only model: inputs token_ids and positions [T], output "logits" [T, V]. */
export function decoder(
  b: GraphBuilder,
  config: ModelConfig,
  weights: ModelWeights,
  layer: (index: number, module: string) => LayerSpec,
): void {
  const tokenIds = b.input("token_ids", { dtype: "i32", shape: ["T"] });
  const positions = b.input("positions", { dtype: "i32", shape: ["T"] });
  const { vocab_size: vocab, hidden_size: hidden, num_hidden_layers: layers } = config;
  const specs = Array.from({ length: layers }, (_, i) => layer(i, `model.layers.${i}`));
  const norm = normOf(b, config, weights);
  const table = weights.matrix("model.embed_tokens", vocab, hidden);
  const final = b.within("model", () => {
    const embedded = b.within(
      "embed_tokens",
      () => b.op("embedding", { ids: tokenIds, w: b.weight("weight", table) }),
    );
    const rotary = rotaryTables(b, positions, frequenciesOf(config));
    const masks = causalMasks(b, positions, specs);
    const last = specs.reduce((x, spec, i) =>
      b.within(`layers.${i}`, () => {
        const mask = masks.get(spec.attention.window);
        const normed = norm("input_layernorm", x);
        const attended = attention(b, spec.attention, { x: normed, rotary, positions, mask });
        const sum = b.op("add", { a: x, b: attended });
        const input = norm("post_attention_layernorm", sum);
        return b.op("add", { a: sum, b: b.within("mlp", () => spec.mlp(b, input)) });
      }), embedded);
    return norm("norm", last);
  });
  const head = config.tie_word_embeddings ? table : weights.matrix("lm_head", vocab, hidden);
  b.graph.setOutput("logits", linear(b, "lm_head", final, head));
}

/** Norms over the hidden size, their weights named after the scope. */
function normOf(b: GraphBuilder, config: ModelConfig, weights: ModelWeights) {
  return (name: string, x: Value) => {
    const weight = normWeight(weights, `${b.scope}.${name}`, config.hidden_size);
    return rmsNorm(b, name, x, weight, config.rms_norm_eps);
  };
}

/** One mask for each window that layers without sinks have. */
function causalMasks(b: GraphBuilder, positions: Value, specs: readonly LayerSpec[]) {
  const masked = specs.filter(({ attention }) => !attention.sinks);
  const windows = new Set(masked.map(({ attention }) => attention.window));
  const mask = (window: number | undefined) =>
    b.op("attention_mask", { positions }, window === undefined ? {} : { window });
  return new Map([...windows].map((window) => [window, mask(window)]));
}

/** Sizes of the attention layers and their projections, without norms and sinks. */
export function plainAttention(
  config: ModelConfig,
  weights: ModelWeights,
  module: string,
  { bias = false }: { bias?: boolean } = {},
): AttentionSpec {
  const heads = config.num_attention_heads;
  const { num_key_value_heads: kvHeads, head_dim: headDim, hidden_size: hidden } = config;
  const projection = (name: string, rows: number, columns: number) => ({
    weight: weights.matrix(`${module}.${name}`, rows, columns),
    bias: bias ? weights.vector(`${module}.${name}.bias`, rows) : undefined,
  });
  return {
    heads,
    kvHeads,
    headDim,
    q: projection("q_proj", heads * headDim, hidden),
    k: projection("k_proj", kvHeads * headDim, hidden),
    v: projection("v_proj", kvHeads * headDim, hidden),
    o: projection("o_proj", hidden, heads * headDim),
  };
}

/** The weight of a norm. */
export function normWeight(weights: ModelWeights, module: string, size: number): Weight {
  return weights.vector(`${module}.weight`, size);
}

function frequenciesOf(config: ModelConfig) {
  return ropeFrequencies(config.rope_parameters, config.head_dim, config.max_position_embeddings);
}
