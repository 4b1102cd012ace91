/** Options of the architectures that no golden model has, against a second implementation. */

import assert from "node:assert/strict";
import { z } from "../../deps/zod.ts";
import { constant, elementCount, tensorNames } from "../../graph/mod.ts";
import {
  type Architecture,
  baseConfigFields,
  Checkpoint,
  decoder,
  defineArchitecture,
  denseMlp,
  findArchitecture,
  type IgnoredTensors,
  moeConfigFields,
  normalizeConfig,
  plainAttention,
} from "../../models/mod.ts";
import { openCpuExecutor } from "../../runtime/mod.ts";
import { FabricatedCheckpoint } from "../support/fabricated_checkpoint.ts";
import { type ReferenceConfig, referenceLogits, type Rows } from "../support/reference_decoder.ts";
import { relativeError, TOLERANCES } from "../support/tolerances.ts";
import { encodeSafetensors, type TensorToWrite } from "../support/write_safetensors.ts";

const HIDDEN = 16;
const VOCABULARY = 24;
const TOKENS = [3, 17, 5, 5, 21, 0, 11];

const BASE = {
  vocab_size: VOCABULARY,
  hidden_size: HIDDEN,
  intermediate_size: 12,
  moe_intermediate_size: 12,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 8,
  num_experts: 4,
  num_experts_per_tok: 2,
  norm_topk_prob: true,
  rms_norm_eps: 1e-5,
  rope_theta: 100,
  max_position_embeddings: 64,
  hidden_act: "silu",
};

const REFERENCE: ReferenceConfig = {
  ...BASE,
  tie_word_embeddings: false,
  theta: BASE.rope_theta,
  rotaryDim: BASE.head_dim,
  attentionScaling: 1,
  window: Infinity,
  clip: Infinity,
  qkNorm: "none",
};

interface Case {
  readonly option: string;
  readonly architecture: "Qwen3MoeForCausalLM" | "MixtralForCausalLM" | "OlmoeForCausalLM";
  readonly config?: Record<string, unknown>;
  readonly reference?: Partial<ReferenceConfig>;
  readonly biases?: boolean;
  /** Layers with a dense MLP. */
  readonly dense?: readonly number[];
}

const CASES: readonly Case[] = [
  { option: "no option", architecture: "Qwen3MoeForCausalLM" },
  {
    option: "mlp_only_layers",
    architecture: "Qwen3MoeForCausalLM",
    config: { mlp_only_layers: [1] },
    dense: [1],
  },
  {
    option: "decoder_sparse_step",
    architecture: "Qwen3MoeForCausalLM",
    config: { decoder_sparse_step: 2 },
    dense: [0],
  },
  {
    option: "attention_bias",
    architecture: "Qwen3MoeForCausalLM",
    config: { attention_bias: true },
    biases: true,
  },
  {
    option: "weights that are not renormalised",
    architecture: "Qwen3MoeForCausalLM",
    config: { norm_topk_prob: false },
    reference: { norm_topk_prob: false },
  },
  {
    option: "tied embeddings",
    architecture: "Qwen3MoeForCausalLM",
    config: { tie_word_embeddings: true },
    reference: { tie_word_embeddings: true },
  },
  {
    option: "a sliding window",
    architecture: "Qwen3MoeForCausalLM",
    config: { use_sliding_window: true, sliding_window: 3 },
    reference: { window: 3 },
  },
  {
    option: "a sliding window that is switched off",
    architecture: "Qwen3MoeForCausalLM",
    config: { use_sliding_window: false, sliding_window: 3 },
  },
  {
    option: "a sliding window",
    architecture: "MixtralForCausalLM",
    config: { sliding_window: 2 },
    reference: { window: 2 },
  },
  {
    option: "nothing of partial_rotary_factor, which its class ignores",
    architecture: "MixtralForCausalLM",
    config: { partial_rotary_factor: 0.5 },
  },
  {
    option: "scaled cos and sin",
    architecture: "MixtralForCausalLM",
    config: {
      rope_scaling: { rope_type: "yarn", factor: 1, attention_factor: 0.7 },
    },
    reference: { attentionScaling: 0.7 },
  },
  { option: "no option", architecture: "OlmoeForCausalLM" },
  {
    option: "clip_qkv and attention_bias",
    architecture: "OlmoeForCausalLM",
    config: { clip_qkv: 0.4, attention_bias: true, norm_topk_prob: false },
    reference: { clip: 0.4, norm_topk_prob: false },
    biases: true,
  },
];

const QK_NORM = {
  Qwen3MoeForCausalLM: "head",
  MixtralForCausalLM: "none",
  OlmoeForCausalLM: "all",
} as const;

for (const each of CASES) {
  Deno.test(`build() of ${each.architecture} heeds ${each.option}`, async () => {
    const qkNorm = QK_NORM[each.architecture];
    const tensors = makeTensors(each, qkNorm);
    const expected = referenceLogits(
      { ...REFERENCE, qkNorm, ...each.reference },
      (name) => tensors.get(name),
      TOKENS,
    );
    const config = { ...BASE, architectures: [each.architecture], ...each.config };
    const architecture = findArchitecture(config, "config.json");
    const logits = await eagerLogits(config, tensors, architecture);
    const error = relativeError(logits, expected.flat());
    assert.ok(error < TOLERANCES.logitsF32 / 100, `off by ${error}`);
  });
}

const SINKS = [0.5, -1, 2, 0];

/** What a user adds in a file of their own: dense layers, and attention with sinks. */
const withSinks = (ignoredTensors?: readonly IgnoredTensors[]) =>
  defineArchitecture({
    name: "sinks",
    hfNames: ["SinksForCausalLM"],
    features: ["attention sinks"],
    config: z.looseObject({ ...baseConfigFields, ...moeConfigFields }),
    ...(ignoredTensors && { ignoredTensors }),
    build(b, config, weights) {
      decoder(b, config, weights, (_index, module) => ({
        attention: {
          ...plainAttention(config, weights, `${module}.self_attn`),
          sinks: constant(Float32Array.from(SINKS)),
          window: 4,
        },
        mlp: denseMlp(weights, `${module}.mlp`, { hidden: HIDDEN, intermediate: 12 }),
      }));
    },
  });

Deno.test("defineArchitecture() builds attention with sinks of other blocks", async () => {
  const tensors = makeTensors(
    { option: "sinks", architecture: "Qwen3MoeForCausalLM", dense: [0, 1] },
    "none",
  );
  const reference = { ...REFERENCE, sinks: SINKS, window: 4, qkNorm: "none" as const };
  const expected = referenceLogits(reference, (name) => tensors.get(name), TOKENS);
  const config = { ...BASE, architectures: ["SinksForCausalLM"] };
  const logits = await eagerLogits(config, tensors, withSinks());
  const error = relativeError(logits, expected.flat());
  assert.ok(error < TOLERANCES.logitsF32 / 100, `off by ${error}`);
});

Deno.test("defineArchitecture() leaves rotary buffers unread, with the reason, whatever it ignores", () => {
  const rotary = "model.layers.0.self_attn.rotary_emb.inv_freq";
  const checkpoint = new class extends FabricatedCheckpoint {
    override unused(): string[] {
      return [rotary, "model.extra", "model.unknown"];
    }
  }("sinks", "f32", 1);
  const reason = "not a part of the decoder";
  const rope = { name: rotary, reason: "computed from the rope parameters of config.json" };
  const config = { ...BASE, architectures: ["SinksForCausalLM"] };
  const unusedBy = (ignored?: readonly IgnoredTensors[]) =>
    withSinks(ignored).configure(config, "config.json").build(checkpoint).unusedTensors;
  assert.deepEqual(unusedBy(), [
    rope,
    { name: "model.extra", reason: undefined },
    { name: "model.unknown", reason: undefined },
  ]);
  assert.deepEqual(unusedBy([{ pattern: /\.extra$/, reason }]), [
    rope,
    { name: "model.extra", reason },
    { name: "model.unknown", reason: undefined },
  ]);
});

function makeTensors({ biases, dense = [], config }: Case, qkNorm: "head" | "all" | "none") {
  const { num_attention_heads: heads, num_key_value_heads: kvHeads, head_dim: size } = BASE;
  const tensors = new Map<string, Rows>();
  const add = (name: string, rows: number, columns: number, around = 0) =>
    tensors.set(name, noise(rows, columns, tensors.size, around));
  const linear = (name: string, rows: number, columns: number, bias = false) => {
    add(`${name}.weight`, rows, columns);
    if (bias) add(`${name}.bias`, 1, rows);
  };
  const mlp = (name: string) => {
    linear(`${name}.gate_proj`, 12, HIDDEN);
    linear(`${name}.up_proj`, 12, HIDDEN);
    linear(`${name}.down_proj`, HIDDEN, 12);
  };
  linear("model.embed_tokens", VOCABULARY, HIDDEN);
  for (let layer = 0; layer < BASE.num_hidden_layers; layer++) {
    const at = `model.layers.${layer}`;
    add(`${at}.input_layernorm.weight`, 1, HIDDEN, 1);
    add(`${at}.post_attention_layernorm.weight`, 1, HIDDEN, 1);
    linear(`${at}.self_attn.q_proj`, heads * size, HIDDEN, biases);
    linear(`${at}.self_attn.k_proj`, kvHeads * size, HIDDEN, biases);
    linear(`${at}.self_attn.v_proj`, kvHeads * size, HIDDEN, biases);
    linear(`${at}.self_attn.o_proj`, HIDDEN, heads * size, biases);
    if (qkNorm !== "none") {
      const [q, k] = qkNorm === "head" ? [size, size] : [heads * size, kvHeads * size];
      add(`${at}.self_attn.q_norm.weight`, 1, q, 1);
      add(`${at}.self_attn.k_norm.weight`, 1, k, 1);
    }
    if (dense.includes(layer)) mlp(`${at}.mlp`);
    else {
      linear(`${at}.mlp.gate`, BASE.num_experts, HIDDEN);
      for (let e = 0; e < BASE.num_experts; e++) mlp(`${at}.mlp.experts.${e}`);
    }
  }
  add("model.norm.weight", 1, HIDDEN, 1);
  if (!config?.tie_word_embeddings) linear("lm_head", VOCABULARY, HIDDEN);
  return tensors;
}

/** Numbers around a value that look random and are f32 exactly. */
function noise(rows: number, columns: number, seed: number, around: number): Rows {
  return Array.from({ length: rows }, (_, r) =>
    Array.from({ length: columns }, (_, c) => {
      const wave = Math.sin(seed * 131.7 + r * 17.3 + c * 5.1) * 43758.5453;
      return Math.fround(around + (wave - Math.floor(wave) - 0.5) * 0.8);
    }));
}

/** Mixtral's names on the hub. */
function hubName(name: string, architecture: string): string {
  if (architecture !== "mixtral") return name;
  return name.replace(".mlp.", ".block_sparse_moe.").replace("gate_proj", "w1")
    .replace("down_proj", "w2").replace("up_proj", "w3");
}

async function eagerLogits(
  config: Record<string, unknown>,
  tensors: ReadonlyMap<string, Rows>,
  architecture: Architecture,
): Promise<ArrayLike<number>> {
  const folder = await Deno.makeTempDir();
  try {
    const entries = [...tensors].map(([name, rows]): [string, TensorToWrite] => {
      const vector = name.includes("norm") || name.endsWith("bias");
      const shape = vector ? [rows[0].length] : [rows.length, rows[0].length];
      const data = Float32Array.from(rows.flat());
      assert.equal(data.length, elementCount(shape));
      return [hubName(name, architecture.name), {
        dtype: "F32",
        shape,
        data: new Uint8Array(data.buffer),
      }];
    });
    await Deno.writeFile(
      `${folder}/model.safetensors`,
      encodeSafetensors(Object.fromEntries(entries)),
    );
    const raw = normalizeConfig(config, "config.json");
    await using checkpoint = await Checkpoint.open(folder);
    const { build } = architecture.configure(raw, "config.json");
    const { graph, unusedTensors } = build(checkpoint);
    assert.deepEqual(unusedTensors, []);
    const sizes = { maxTokens: 16, maxSequences: 1, pages: 0, maxPagesPerSequence: 1 };
    const executor = openCpuExecutor();
    const program = await executor.compile(graph, { source: checkpoint, ...sizes });
    const { logits } = await program.run({
      token_ids: Int32Array.from(TOKENS),
      positions: Int32Array.from(TOKENS.keys()),
    }, { T: TOKENS.length });
    executor.dispose();
    return logits;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("Aria without shared experts adds the last bias of their MLP", () => {
  const raw = { ...BASE, architectures: ["AriaTextForCausalLM"], mlp_bias: true };
  const sizes = { moe_num_experts: 4, moe_topk: 2, moe_num_shared_experts: 0 };
  const config = normalizeConfig({ ...raw, ...sizes, head_dim: 4 }, "config.json");
  const checkpoint = new FabricatedCheckpoint("aria_text", "f32", 1);
  const { graph } = findArchitecture(config, "config.json").configure(config, "config.json")
    .build(checkpoint);
  const biases = graph.weights.flatMap(({ weight }) => weight ? [...tensorNames(weight)] : [])
    .filter((name) => name.includes("shared_experts"));
  assert.deepEqual(
    biases,
    [0, 1].map((i) => `model.layers.${i}.mlp.shared_experts.down_proj.bias`),
  );
});

Deno.test("Hunyuan 3 without shared experts has an MLP of its dense layers' size in their place", () => {
  const raw = { ...BASE, architectures: ["HYV3ForCausalLM"], num_shared_experts: 0 };
  const config = normalizeConfig({ ...raw, intermediate_size: 20 }, "config.json");
  const checkpoint = new FabricatedCheckpoint("hy_v3", "f32", 1);
  const { graph } = findArchitecture(config, "config.json").configure(config, "config.json")
    .build(checkpoint);
  const up = graph.nodes.filter(({ scope }) => scope.endsWith("shared_mlp.up_proj"));
  assert.deepEqual(up.map(({ outputs: [y] }) => y.shape), [["T", 20]]);
});
