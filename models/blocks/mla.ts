/**
 * Multi-head latent attention of eager graphs, expanded as transformers writes it: keys and values of
 * all heads are made of one latent a token, and one key that turns is shared by all heads.
 *
 * @module
 */

import type { GraphBuilder, Value, Weight } from "../../graph/mod.ts";
import {
  type AttentionBlock,
  type AttentionContext,
  mixTokens,
  type Temperature,
  tempered,
} from "./attention.ts";
import { linear, type Projection, rmsNorm } from "./basic.ts";
import type { ModelConfig } from "../config/hf_config.ts";
import type { ModelWeights } from "../weights/model_weights.ts";
import type { RopeParameters } from "../config/rope.ts";
import { applyRotary, type RotarySpec } from "./rotary.ts";

/** What a config says of latent attention. */
export interface MlaConfig extends ModelConfig {
  readonly attention_bias: boolean;
  /** Absent: queries are projected in one step. */
  readonly q_lora_rank?: number | undefined;
  readonly kv_lora_rank: number;
  readonly qk_nope_head_dim: number;
  readonly qk_rope_head_dim: number;
  readonly v_head_dim: number;
  readonly rope_parameters: RopeParameters;
}

/** transformers does not hand `rms_norm_eps` to the norms of latents. */
const LATENT_EPS = 1e-6;

/** Reads the weights of a layer; the result builds it. */
export function latentAttention(
  config: MlaConfig,
  weights: ModelWeights,
  module: string,
  rotary: RotarySpec,
  temperature?: Temperature,
): AttentionBlock {
  const { num_attention_heads: heads, hidden_size: hidden, attention_bias: biased } = config;
  const { qk_nope_head_dim: nope, qk_rope_head_dim: turning, v_head_dim: valueDim } = config;
  const latent = config.kv_lora_rank;
  const keyDim = nope + turning;
  const projection = (name: string, rows: number, columns: number, bias = false): Projection => ({
    weight: weights.matrix(`${module}.${name}`, rows, columns),
    bias: bias ? weights.vector(`${module}.${name}.bias`, rows) : undefined,
  });
  const query = readQuery(config, weights, module, projection);
  const down = projection("kv_a_proj_with_mqa", latent + turning, hidden, biased);
  const norm = weights.vector(`${module}.kv_a_layernorm.weight`, latent);
  const up = projection("kv_b_proj", heads * (nope + valueDim), latent);
  const output = projection("o_proj", hidden, heads * valueDim, biased);
  return {
    rotary,
    temperature,
    build(b, context) {
      // transformers does so behind the rotary embedding, which a factor on all of q does not mind.
      const factored = tempered(b, query(b, context.x), context);
      const byHead = splitHeads(b, factored, heads, keyDim);
      const q = concat(b, [
        part(b, byHead, 0, nope),
        turn(b, part(b, byHead, nope, keyDim), context),
      ]);
      const compressed = linear(b, "kv_a_proj_with_mqa", context.x, down.weight, down.bias);
      const normed = rmsNorm(b, "kv_a_layernorm", part(b, compressed, 0, latent), norm, LATENT_EPS);
      const expanded = linear(b, "kv_b_proj", normed, up.weight);
      const kv = splitHeads(b, expanded, heads, nope + valueDim);
      const shared = b.op("unsqueeze", { x: part(b, compressed, latent, latent + turning) }, {
        dim: 0,
      });
      const turned = b.op("expand", { x: turn(b, shared, context) }, {
        shape: [heads, context.x.shape[0], turning],
      });
      const k = concat(b, [part(b, kv, 0, nope), turned]);
      const v = part(b, kv, nope, nope + valueDim);
      const sizes = { heads, kvHeads: heads, headDim: keyDim };
      const scale = keyDim ** -0.5 * yarnScale(config.rope_parameters) ** 2;
      const mixed = mixTokens(b, { ...sizes, scale }, { q, k, v }, context);
      const merged = b.op("reshape", { x: b.op("transpose", { x: mixed }, { dims: [0, 1] }) }, {
        shape: [context.x.shape[0], heads * valueDim],
      });
      return linear(b, "o_proj", merged, output.weight, output.bias);
    },
  };
}

/** Queries of all heads [T, heads · (nope + turning)], in one step or through a latent. */
function readQuery(
  config: MlaConfig,
  weights: ModelWeights,
  module: string,
  projection: (name: string, rows: number, columns: number, bias?: boolean) => Projection,
): (b: GraphBuilder, x: Value) => Value {
  const { num_attention_heads: heads, hidden_size: hidden, q_lora_rank: rank } = config;
  const rows = heads * (config.qk_nope_head_dim + config.qk_rope_head_dim);
  if (rank === undefined) {
    const { weight } = projection("q_proj", rows, hidden);
    return (b, x) => linear(b, "q_proj", x, weight);
  }
  const down = projection("q_a_proj", rank, hidden, config.attention_bias);
  const norm: Weight = weights.vector(`${module}.q_a_layernorm.weight`, rank);
  const up = projection("q_b_proj", rows, rank);
  return (b, x) => {
    const latent = linear(b, "q_a_proj", x, down.weight, down.bias);
    return linear(b, "q_b_proj", rmsNorm(b, "q_a_layernorm", latent, norm, LATENT_EPS), up.weight);
  };
}

/** YaRN's `mscale_all_dim`, which multiplies the scale of the scores twice. */
function yarnScale(parameters: RopeParameters): number {
  const { rope_type: type } = parameters;
  const all = Number(parameters.mscale_all_dim ?? 0);
  const factor = Number(parameters.factor ?? 1);
  if (type === "default" || all === 0 || factor <= 1) return 1;
  return 0.1 * all * Math.log(factor) + 1;
}

function part(b: GraphBuilder, x: Value, start: number, end: number): Value {
  return b.op("slice", { x }, { dim: -1, start, end });
}

function concat(b: GraphBuilder, xs: Value[]): Value {
  return b.op("concat", { xs }, { dim: -1 });
}

function turn(b: GraphBuilder, x: Value, { rotary }: AttentionContext): Value {
  return rotary ? applyRotary(b, x, rotary) : x;
}

function splitHeads(b: GraphBuilder, x: Value, heads: number, dim: number): Value {
  const split = b.op("reshape", { x }, { shape: [x.shape[0], heads, dim] });
  return b.op("transpose", { x: split }, { dims: [0, 1] });
}
