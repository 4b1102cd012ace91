/**
 * A decoder-only mixture of experts in plain loops and float64, written from the equations: a second
 * opinion on options that no golden model has.
 *
 * @module
 */

/** A matrix of rows, or a vector as one row. */
export type Rows = readonly (readonly number[])[];

/** What the options are, by their names in config.json. */
export interface ReferenceConfig {
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly num_key_value_heads: number;
  readonly head_dim: number;
  readonly rms_norm_eps: number;
  readonly num_experts_per_tok: number;
  readonly norm_topk_prob: boolean;
  readonly tie_word_embeddings: boolean;
  readonly theta: number;
  readonly rotaryDim: number;
  readonly attentionScaling: number;
  readonly qkNorm: "head" | "all" | "none";
  readonly window: number;
  readonly clip: number;
  /** Logits of the heads' sinks; none by default. */
  readonly sinks?: readonly number[];
}

/** Tensors by name; undefined where the model has none. */
export type Lookup = (name: string) => Rows | undefined;

/** Logits [T, V] of a whole sequence. */
export function referenceLogits(config: ReferenceConfig, get: Lookup, tokens: readonly number[]) {
  const need = (name: string): Rows => {
    const found = get(name);
    if (!found) throw new Error(`the reference needs ${name}`);
    return found;
  };
  const norm = (x: readonly number[], name: string) =>
    rmsNorm(x, need(`${name}.weight`)[0], config.rms_norm_eps);
  const linear = (x: readonly number[], name: string) => {
    const bias = get(`${name}.bias`)?.[0];
    return need(`${name}.weight`).map((row, i) => dot(row, x) + (bias?.[i] ?? 0));
  };
  const gated = (x: readonly number[], name: string) => {
    const up = linear(x, `${name}.up_proj`);
    const hidden = linear(x, `${name}.gate_proj`).map((g, i) => g / (1 + Math.exp(-g)) * up[i]);
    return linear(hidden, `${name}.down_proj`);
  };
  const mlp = (x: readonly number[], name: string) => {
    if (!get(`${name}.gate.weight`)) return gated(x, name);
    const scores = softmax(linear(x, `${name}.gate`));
    const chosen = [...scores.keys()].sort((a, b) => scores[b] - scores[a] || a - b)
      .slice(0, config.num_experts_per_tok);
    const total = config.norm_topk_prob
      ? chosen.reduce((sum, expert) => sum + scores[expert], 0)
      : 1;
    return chosen
      .map((e) => gated(x, `${name}.experts.${e}`).map((value) => value * scores[e] / total))
      .reduce(add);
  };
  const table = need("model.embed_tokens.weight");
  let states: Rows = tokens.map((token) => table[token]);
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    const at = `model.layers.${layer}`;
    const normed = states.map((x) => norm(x, `${at}.input_layernorm`));
    const attended = attend(config, normed, `${at}.self_attn`, linear, norm);
    states = states.map((x, t) => add(x, attended[t]));
    states = states.map((x) => add(x, mlp(norm(x, `${at}.post_attention_layernorm`), `${at}.mlp`)));
  }
  const head = config.tie_word_embeddings ? table : need("lm_head.weight");
  return states.map((x) => head.map((row) => dot(row, norm(x, "model.norm"))));
}

type Apply = (x: readonly number[], name: string) => number[];

function attend(config: ReferenceConfig, xs: Rows, name: string, linear: Apply, norm: Apply): Rows {
  const { num_attention_heads: heads, num_key_value_heads: kvHeads, head_dim: size } = config;
  const project = (kind: "q" | "k" | "v") =>
    xs.map((x, position) => {
      let row = linear(x, `${name}.${kind}_proj`);
      const normed = kind !== "v" && config.qkNorm !== "none";
      if (normed && config.qkNorm === "all") row = norm(row, `${name}.${kind}_norm`);
      row = row.map((value) => Math.max(-config.clip, Math.min(config.clip, value)));
      return split(row, size)
        .map((head) =>
          normed && config.qkNorm === "head" ? norm(head, `${name}.${kind}_norm`) : head
        )
        .map((head) => kind === "v" ? head : rotate(config, head, position));
    });
  const [q, k, v] = [project("q"), project("k"), project("v")];
  return xs.map((_, t) => {
    const from = Math.max(0, t - config.window + 1);
    const seen = Array.from({ length: t + 1 - from }, (_, i) => from + i);
    const mixed = Array.from({ length: heads }, (_, h) => {
      const shared = Math.floor(h / (heads / kvHeads));
      const scores = seen.map((s) => dot(q[t][h], k[s][shared]) / Math.sqrt(size));
      const weights = softmax(config.sinks ? [...scores, config.sinks[h]] : scores);
      return seen.map((s, i) => v[s][shared].map((value) => value * weights[i])).reduce(add);
    });
    return linear(mixed.flat(), `${name}.o_proj`);
  });
}

/** Pairs (i, i + rotaryDim / 2) turn by position · theta^(-2i / rotaryDim). */
function rotate(config: ReferenceConfig, head: readonly number[], position: number): number[] {
  const half = config.rotaryDim / 2;
  const turned = [...head];
  for (let i = 0; i < half; i++) {
    const angle = position * config.theta ** (-2 * i / config.rotaryDim);
    const cos = Math.cos(angle) * config.attentionScaling;
    const sin = Math.sin(angle) * config.attentionScaling;
    turned[i] = head[i] * cos - head[i + half] * sin;
    turned[i + half] = head[i + half] * cos + head[i] * sin;
  }
  return turned;
}

function split(row: readonly number[], size: number): number[][] {
  return Array.from({ length: row.length / size }, (_, i) => row.slice(i * size, (i + 1) * size));
}

function rmsNorm(x: readonly number[], weight: readonly number[], eps: number): number[] {
  const scale = 1 / Math.sqrt(dot(x, x) / x.length + eps);
  return x.map((value, i) => value * scale * weight[i]);
}

function softmax(scores: readonly number[]): number[] {
  const largest = Math.max(...scores);
  const powers = scores.map((score) => Math.exp(score - largest));
  const total = powers.reduce((sum, power) => sum + power, 0);
  return powers.map((power) => power / total);
}

function dot(a: readonly number[], b: readonly number[]): number {
  return a.reduce((sum, value, i) => sum + value * b[i], 0);
}

function add(a: readonly number[], b: readonly number[]): number[] {
  return a.map((value, i) => value + b[i]);
}
