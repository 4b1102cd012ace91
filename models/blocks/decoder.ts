/**
 * The frame that decoder-only models share: embedding, layers with residuals, final norm, head.
 *
 * @module
 */

import { type GraphBuilder, shifted, type Value, type Weight } from "../../graph/mod.ts";
import {
  attention,
  type AttentionBlock,
  type AttentionSpec,
  type QkNorm,
  type Temperature,
} from "./attention.ts";
import { layerNorm, linear, rmsNorm, scaled, softCapped } from "./basic.ts";
import type { ModelConfig } from "../config/hf_config.ts";
import type { ModelWeights } from "../weights/model_weights.ts";
import type { MlpBuilder } from "./moe_block.ts";
import type { RopeParameters } from "../config/rope.ts";
import { rotaryKey, rotaryOf, type RotarySpec, type RotaryTables, rotaryTables } from "./rotary.ts";

/** Where a layer has norms, by the names of their modules. */
export interface LayerNorms {
  /** Of the layer's input. */
  readonly beforeAttention?: string;
  /** Of what attention adds. */
  readonly afterAttention?: string;
  /** Of the residual in front of the MLP. */
  readonly beforeMlp?: string;
  /** Of what the MLP adds. */
  readonly afterMlp?: string;
}

/** A norm in front of each of the two blocks. */
export const PRE_NORMS: LayerNorms = {
  beforeAttention: "input_layernorm",
  beforeMlp: "post_attention_layernorm",
};

/** One decoder layer. */
export interface LayerSpec {
  /** Plain attention by its parts, or a block that builds itself. */
  readonly attention: AttentionSpec | AttentionBlock;
  /** Name of the attention's module; default `self_attn`. */
  readonly attentionName?: string;
  /** The block after attention. */
  readonly mlp: MlpBuilder;
  /** Name of its module; default `mlp`; "" for one that consists of several modules. */
  readonly mlpName?: string;
  /** Default: a norm in front of each of the two. */
  readonly norms?: LayerNorms;
  /** The block after attention reads what attention reads, and both are added (Cohere). */
  readonly parallel?: boolean;
  /** [1] factor on the layer's result (Gemma 4). */
  readonly outputScale?: Weight;
}

/** What tells one family's frame from another's. */
export interface DecoderOptions {
  /** Names of modules; default `model`, `layers`, `embed_tokens`, `norm`. */
  readonly names?: {
    readonly model: string;
    readonly layers: string;
    readonly embed: string;
    readonly norm: string;
  };
  /** `layer`: LayerNorm. */
  readonly norm?: "rms" | "layer";
  /** LayerNorm has biases. */
  readonly normBias?: boolean;
  /** Added to the weights of norms (Gemma 3 multiplies by 1 + weight). */
  readonly normOffset?: number;
  /** Factor on embeddings. */
  readonly embeddingScale?: number;
  /** Factor on what attention and MLP add. */
  readonly residualScale?: number;
  /** Factor on logits. */
  readonly logitScale?: number;
  /** Logits l become cap · tanh(l / cap). */
  readonly logitCap?: number | undefined;
  /** The matrix of the logits has a bias. */
  readonly headBias?: boolean;
}

/** Builds a decoder-only model: inputs token_ids and positions [T], output "logits" [T, V]. */
export function decoder(
  b: GraphBuilder,
  config: ModelConfig,
  weights: ModelWeights,
  layer: (index: number, module: string) => LayerSpec,
  options: DecoderOptions = {},
): void {
  const { names = { model: "model", layers: "layers", embed: "embed_tokens", norm: "norm" } } =
    options;
  const tokenIds = b.input("token_ids", { dtype: "i32", shape: ["T"] });
  const positions = b.input("positions", { dtype: "i32", shape: ["T"] });
  const { vocab_size: vocab, num_hidden_layers: count } = config;
  const specs = Array.from(
    { length: count },
    (_, i) => layer(i, `${names.model}.${names.layers}.${i}`),
  );
  const blocks = specs.map(({ attention }) => blockOf(attention));
  const norm = normOf(b, config, weights, options);
  const { table, head } = readEnds(config, weights, `${names.model}.${names.embed}`);
  const final = b.within(names.model, () => {
    const embedded = b.within(names.embed, () => {
      const rows = b.op("embedding", { ids: tokenIds, w: b.weight("weight", table) });
      return scaled(b, rows, options.embeddingScale ?? 1);
    });
    const rotary = tablesOf(b, positions, blocks);
    const masks = causalMasks(b, positions, blocks);
    const factors = temperatures(b, positions, blocks);
    const last = specs.reduce((x, spec, i) =>
      b.within(`${names.layers}.${i}`, () => {
        const block = blocks[i];
        return decoderLayer(b, x, spec, { norm, residualScale: options.residualScale ?? 1 }, (x) =>
          block.build(b, {
            x,
            rotary: block.rotary && rotary.get(rotaryKey(block.rotary)),
            positions,
            mask: masks.get(maskKey(block)),
            temperature: block.temperature && factors.get(JSON.stringify(block.temperature)),
          }));
      }), embedded);
    return norm(names.norm, last);
  });
  const bias = options.headBias ? weights.vector("lm_head.bias", vocab) : undefined;
  b.graph.setOutput("logits", shapeLogits(b, linear(b, "lm_head", final, head, bias), options));
}

/**
 * The embedding and the matrix of the logits. A checkpoint of a tied model that holds both keeps both, and
 * one that holds either has it for both, as in transformers 5.
 */
function readEnds(
  { tie_word_embeddings: tied, vocab_size: vocab, hidden_size: hidden }: ModelConfig,
  weights: ModelWeights,
  embedding: string,
): { table: Weight; head: Weight } {
  const own = !tied || weights.hasMatrix("lm_head");
  const lost = tied && own && !weights.hasMatrix(embedding);
  const table = weights.matrix(lost ? "lm_head" : embedding, vocab, hidden);
  return { table, head: own && !lost ? weights.matrix("lm_head", vocab, hidden) : table };
}

function shapeLogits(
  b: GraphBuilder,
  logits: Value,
  { logitScale = 1, logitCap }: DecoderOptions,
): Value {
  return b.within("lm_head", () => {
    const times = scaled(b, logits, logitScale);
    return logitCap === undefined ? times : softCapped(b, times, logitCap);
  });
}

type Norm = (name: string, x: Value) => Value;

/** `x + attention(norm(x))`, then the same with the MLP; each norm where the layer has one. */
function decoderLayer(
  b: GraphBuilder,
  x: Value,
  { mlp, norms = PRE_NORMS, parallel = false, ...spec }: LayerSpec,
  { norm, residualScale }: { norm: Norm; residualScale: number },
  attend: (x: Value) => Value,
): Value {
  const { attentionName = "self_attn", mlpName = "mlp", outputScale } = spec;
  const maybe = (name: string | undefined, value: Value) => name ? norm(name, value) : value;
  const input = maybe(norms.beforeAttention, x);
  const attended = maybe(norms.afterAttention, b.within(attentionName, () => attend(input)));
  const sum = b.op("add", { a: x, b: scaled(b, attended, residualScale) });
  const between = parallel ? input : maybe(norms.beforeMlp, sum);
  const made = mlpName === "" ? mlp(b, between) : b.within(mlpName, () => mlp(b, between));
  const added = maybe(norms.afterMlp, made);
  const out = b.op("add", { a: sum, b: scaled(b, added, residualScale) });
  return outputScale ? b.op("mul", { a: out, b: b.weight("layer_scalar", outputScale) }) : out;
}

function blockOf(spec: AttentionSpec | AttentionBlock): AttentionBlock {
  if ("build" in spec) return spec;
  const { rotary, window, chunk, sinks, temperature } = spec;
  return {
    ...{ rotary, window, chunk, sinks, temperature },
    build: (b, context) => attention(b, spec, context),
  };
}

/** Norms over the hidden size, their weights named after the scope. */
function normOf(
  b: GraphBuilder,
  config: ModelConfig,
  weights: ModelWeights,
  { norm = "rms", normBias, normOffset }: DecoderOptions,
): Norm {
  const { hidden_size: size, rms_norm_eps: eps } = config;
  return (name, x) => {
    const module = `${b.scope}.${name}`;
    const weight = normWeight(weights, module, size, normOffset);
    if (norm === "rms") return rmsNorm(b, name, x, weight, eps);
    const bias = normBias ? weights.vector(`${module}.bias`, size) : undefined;
    return layerNorm(b, name, x, { weight, bias }, eps);
  };
}

/** Tables of every rotary embedding that layers have; the first one is `rotary_emb`. */
function tablesOf(b: GraphBuilder, positions: Value, blocks: readonly AttentionBlock[]) {
  const tables = new Map<string, RotaryTables>();
  for (const { rotary } of blocks) {
    if (!rotary || tables.has(rotaryKey(rotary))) continue;
    const name = tables.size === 0 ? "rotary_emb" : `rotary_emb_${tables.size}`;
    tables.set(rotaryKey(rotary), rotaryTables(b, positions, rotary, name));
  }
  return tables;
}

function maskKey({ window, chunk }: AttentionBlock): string {
  return `${window} ${chunk}`;
}

/** One mask for each window or chunk that layers without sinks have. */
function causalMasks(b: GraphBuilder, positions: Value, blocks: readonly AttentionBlock[]) {
  const masks = new Map<string, Value>();
  for (const block of blocks) {
    const { window, chunk, sinks } = block;
    if (sinks || masks.has(maskKey(block))) continue;
    masks.set(
      maskKey(block),
      b.op("attention_mask", { positions }, {
        ...(window !== undefined && { window }),
        ...(chunk !== undefined && { chunk }),
      }),
    );
  }
  return masks;
}

/** The factors [T, 1] of each temperature that layers have. */
function temperatures(b: GraphBuilder, positions: Value, blocks: readonly AttentionBlock[]) {
  const factors = new Map<string, Value>();
  for (const { temperature } of blocks) {
    const key = JSON.stringify(temperature);
    if (!temperature || factors.has(key)) continue;
    factors.set(key, b.within("temperature", () => factorsOf(b, positions, temperature)));
  }
  return factors;
}

function factorsOf(b: GraphBuilder, positions: Value, { scale, floor, first }: Temperature): Value {
  const position = b.op("cast", { x: positions }, { dtype: "f32" });
  const counted = first === 0 ? position : b.op("add", { a: position, b: b.scalar(first) });
  const steps = b.op("floor", { x: b.op("div", { a: counted, b: b.scalar(floor) }) });
  const log = b.op("log", { x: b.op("add", { a: steps, b: b.scalar(1) }) });
  const factor = b.op("add", { a: b.op("mul", { a: log, b: b.scalar(scale) }), b: b.scalar(1) });
  return b.op("unsqueeze", { x: factor }, { dim: 1 });
}

/** What {@linkcode plainAttention} may differ in. */
export interface PlainAttentionOptions {
  /** q, k and v have biases; and the output projection unless `outputBias` says otherwise. */
  readonly bias?: boolean;
  /** The output projection has a bias; default `bias`. */
  readonly outputBias?: boolean;
  /** Elements of a value head. */
  readonly valueDim?: number;
  /** Query heads; default those of the config. */
  readonly heads?: number;
  /** Default those of the config. */
  readonly kvHeads?: number;
  /** Elements of a head; default that of the config. */
  readonly headDim?: number;
  /** The output projection's name. */
  readonly outputName?: string;
  /** `null`: no position embedding. */
  readonly rotary?: RotarySpec | null;
  /** Absent: there is a projection for values. */
  readonly keysAreValues?: boolean;
}

/** Sizes of the attention layers and their projections, without norms and sinks. */
export function plainAttention(
  config: ModelConfig,
  weights: ModelWeights,
  module: string,
  options: PlainAttentionOptions = {},
): AttentionSpec {
  const { hidden_size: hidden } = config;
  const { heads = config.num_attention_heads } = options;
  const { kvHeads = config.num_key_value_heads, headDim = config.head_dim } = options;
  const { bias = false, outputBias = bias, valueDim = headDim, outputName = "o_proj" } = options;
  const projection = (name: string, rows: number, columns: number, bias: boolean) => ({
    weight: weights.matrix(`${module}.${name}`, rows, columns),
    bias: bias ? weights.vector(`${module}.${name}.bias`, rows) : undefined,
  });
  const { rotary = rotaryOf(config as ModelConfig & { rope_parameters: RopeParameters }) } =
    options;
  return {
    heads,
    kvHeads,
    headDim,
    valueDim,
    q: projection("q_proj", heads * headDim, hidden, bias),
    k: projection("k_proj", kvHeads * headDim, hidden, bias),
    ...(options.keysAreValues ? {} : { v: projection("v_proj", kvHeads * valueDim, hidden, bias) }),
    o: projection(outputName, hidden, heads * valueDim, outputBias),
    outputName,
    rotary: rotary ?? undefined,
  };
}

/** What {@linkcode headNorms} may differ in. */
export interface HeadNormOptions {
  /** Names of the norms' modules; default `q_norm` and `k_norm`. */
  readonly names?: readonly [string, string];
  /** Elements of a head; default that of the config. */
  readonly headDim?: number;
  /** Added to the weights. */
  readonly offset?: number;
}

/** RMSNorm of q and k over each head, as most families name it. */
export function headNorms(
  config: ModelConfig,
  weights: ModelWeights,
  module: string,
  options: HeadNormOptions = {},
): QkNorm {
  const { names = ["q_norm", "k_norm"], headDim = config.head_dim, offset } = options;
  const [q, k] = names.map((name) => normWeight(weights, `${module}.${name}`, headDim, offset));
  return { over: "head", q, k, eps: config.rms_norm_eps, names };
}

/** The weight of a norm, plus a number where the family adds one. */
export function normWeight(
  weights: ModelWeights,
  module: string,
  size: number,
  offset = 0,
): Weight {
  const weight = weights.vector(`${module}.weight`, size);
  return offset === 0 ? weight : shifted(weight, offset);
}
