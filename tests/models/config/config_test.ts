/** What of a config.json is understood, and what is refused in which words. */

import assert from "node:assert/strict";
import { CheckpointError } from "../../../graph/mod.ts";
import {
  ARCHITECTURES,
  findArchitecture,
  normalizeConfig,
  parseConfig,
  readGenerationConfig,
} from "../../../models/mod.ts";
import { z } from "../../../deps/zod.ts";
import { fromPythonJson } from "../../../models/checkpoint/json_file.ts";

const GOLDEN = new URL("../../golden/", import.meta.url);
const FILE = "folder/config.json";

async function rawConfig(model: string, file = "config.json"): Promise<Record<string, unknown>> {
  return JSON.parse(await Deno.readTextFile(new URL(`${model}/${file}`, GOLDEN)));
}

function configure(raw: unknown) {
  const normalized = normalizeConfig(raw, FILE);
  return findArchitecture(normalized, FILE).configure(normalized, FILE).config;
}

for (const model of ["qwen3_moe", "mixtral", "olmoe"]) {
  Deno.test(`both spellings of ${model}'s config say the same`, async () => {
    const config = configure(await rawConfig(model));
    const legacy = configure(await rawConfig(model, "config_legacy.json"));
    for (const [key, value] of Object.entries(config)) {
      const own = key.startsWith("num_local") || key === "transformers_version";
      if (!own) assert.deepEqual(Reflect.get(legacy, key), value, key);
    }
    assert.equal(config.num_experts, 8);
  });
}

Deno.test("of two keys for one number the one wins that the class does not declare", async () => {
  const raw = await rawConfig("deepseek_v3");
  const turned = { num_local_experts: 4, ...raw, n_routed_experts: 8 };
  for (const config of [{ ...raw, num_local_experts: 4 }, turned]) {
    assert.equal(configure(config).num_experts, 4);
  }
  const hunyuan = await rawConfig("hunyuan_v1_moe");
  assert.equal(
    configure({ ...hunyuan, moe_topk: 3, num_experts_per_tok: 2 }).num_experts_per_tok,
    2,
  );
  assert.equal(configure({ ...raw, num_local_experts: null }).num_experts, 8);
});

Deno.test("keys that a class does not read change nothing: DBRX has LayerNorm's own epsilon", async () => {
  const raw = await rawConfig("dbrx");
  for (const eps of [undefined, null, 0.01]) {
    assert.equal(configure({ ...raw, rms_norm_eps: eps }).rms_norm_eps, 1e-5);
  }
  const { rms_norm_eps: _, ...without } = raw;
  assert.equal(configure(without).rms_norm_eps, 1e-5);
});

Deno.test("Gemma 4 is told which of its parts are missing", async () => {
  const { num_experts: _, top_k_experts: __, ...raw } = await rawConfig("gemma4");
  assert.throws(() => configure(raw), /"num_experts", got none/);
  assert.throws(
    () => configure({ ...raw, enable_moe_block: false, hidden_size_per_layer_input: 256 }),
    /hidden_size_per_layer_input", got 256/,
  );
});

/** A change of Qwen3-MoE's config, the key that the error names, and what else it says. */
const REFUSED: readonly (readonly [Record<string, unknown>, string, string])[] = [
  [{ num_local_experts: null }, "num_experts", "got none"],
  [{ num_local_experts: 0 }, "num_experts", "got 0"],
  [{ hidden_size: null }, "hidden_size", "got none"],
  [{ hidden_size: "64" }, "hidden_size", 'got "64"'],
  [{ num_hidden_layers: -1 }, "num_hidden_layers", "expected more than 0"],
  [{ num_attention_heads: 4.5 }, "num_attention_heads", "got 4.5"],
  [{ head_dim: 31 }, "head_dim", "expected a multiple of 2"],
  [{ hidden_act: "xielu" }, "hidden_act", 'got "xielu"'],
  [{ norm_topk_prob: "yes" }, "norm_topk_prob", 'got "yes"'],
  [{ rope_parameters: 7 }, "rope_parameters", "got 7"],
  [
    { rope_parameters: { rope_type: "axial", rope_theta: 1e4 } },
    "rope_parameters.rope_type",
    "expected rope_type default, linear, dynamic, llama3, yarn, longrope or proportional",
  ],
  [
    { rope_parameters: { rope_type: "linear", rope_theta: 1e4 } },
    "rope_parameters.factor",
    "got none",
  ],
  [
    { rope_parameters: null, rope_theta: 1e4, rope_scaling: { type: "su" } },
    "rope_parameters.rope_type",
    '"su"',
  ],
  [{ eos_token_id: "</s>" }, "eos_token_id", "expected token ids for"],
  [{ num_key_value_heads: 3 }, "num_key_value_heads", "a divisor of num_attention_heads (4)"],
  [{ num_experts_per_tok: 9 }, "num_experts_per_tok", "at most num_experts (8)"],
];

for (const [change, key, says] of REFUSED) {
  const changed = JSON.stringify(change, (_, value) => value === undefined ? "left out" : value);
  Deno.test(`configure() refuses ${changed} and names ${key}`, async () => {
    const raw = { ...await rawConfig("qwen3_moe"), ...change };
    assert.throws(() => configure(raw), (error) => {
      assert.ok(error instanceof CheckpointError);
      assert.ok(error.code.startsWith("checkpoint/config-"), error.code);
      for (const text of [FILE, `"${key}"`, says]) {
        assert.ok(error.message.includes(text), error.message);
      }
      assert.ok(error.hint);
      return true;
    });
  });
}

Deno.test("configure() lets unknown keys pass", async () => {
  const config = configure({ ...await rawConfig("mixtral"), some_future_key: { deep: [1] } });
  assert.equal(config.hidden_size, 64);
});

Deno.test("configure() fills in what configs may leave out", async () => {
  const raw = await rawConfig("mixtral");
  const config = configure({
    ...raw,
    head_dim: null,
    num_key_value_heads: null,
    eos_token_id: [5, 6],
  });
  assert.equal(config.head_dim, 16);
  assert.equal(config.num_key_value_heads, 4);
  assert.deepEqual(config.eos_token_id, [5, 6]);
  assert.equal(config.tie_word_embeddings, false);
});

Deno.test("configure() reads rope_scaling of transformers 4", async () => {
  const { rope_parameters: _, ...raw } = await rawConfig("qwen3_moe");
  const rope_scaling = { type: "yarn", factor: 4, original_max_position_embeddings: 128 };
  const { rope_parameters } = configure({ ...raw, rope_theta: 5e5, rope_scaling });
  assert.deepEqual(rope_parameters, {
    ...{ rope_type: "yarn", rope_theta: 5e5, factor: 4, truncate: true },
    original_max_position_embeddings: 128,
  });
});

Deno.test("configure() takes the defaults of transformers' class for what is missing", () => {
  const config = configure({ architectures: ["Qwen3MoeForCausalLM"] });
  assert.deepEqual(
    [config.hidden_size, config.num_experts, config.num_experts_per_tok, config.head_dim],
    [2048, 128, 8, 64],
  );
  const { rope_parameters } = configure({ architectures: ["MixtralForCausalLM"] });
  assert.deepEqual(rope_parameters, { rope_type: "default", rope_theta: 1e6 });
});

Deno.test("normalizeConfig() understands infinity as Python and as transformers write it", () => {
  const text = '{"a": [0.0, Infinity], "b": -Infinity, "c": "Infinity\\" NaN", "d": NaN}';
  const { a, b, c, d } = normalizeConfig(JSON.parse(fromPythonJson(text)), FILE);
  assert.deepEqual([a, b, c, d], [[0, Infinity], -Infinity, 'Infinity" NaN', NaN]);
});

Deno.test("configure() says which keys have no effect", async () => {
  const change = { routed_scaling_factor: 2.5, partial_rotary_factor: 0.5 };
  const raw = normalizeConfig({ ...await rawConfig("mixtral"), ...change }, FILE);
  const { notes } = findArchitecture(raw, FILE).configure(raw, FILE);
  assert.deepEqual(notes, [
    "partial_rotary_factor 0.5 has no effect: this family turns whole heads",
    "routed_scaling_factor 2.5 has no effect: mixtral does not read it",
  ]);
});

Deno.test("configure() wants a window of classes that read layer_types alone", async () => {
  const layer_types = ["sliding_attention", "full_attention"];
  const change = { num_hidden_layers: 2, layer_types, sliding_window: null };
  const read = async (folder: string) => {
    const raw = normalizeConfig({ ...await rawConfig(folder), ...change }, FILE);
    return findArchitecture(raw, FILE).configure(raw, FILE).notes;
  };
  assert.deepEqual((await read("llama")).slice(1), [
    'layer_types ["sliding_attention","full_attention"] has no effect: llama does not read it',
  ]);
  await assert.rejects(read("dots1"), /key "sliding_window", got none/);
});

Deno.test("configure() takes null for false where a class has true, as Python does", async () => {
  const nulls = { rope_interleave: null, norm_topk_prob: null };
  const read = (raw: Record<string, unknown>) => {
    const config: object = configure(raw);
    return ["rope_interleave", "norm_topk_prob"].map((key) => Reflect.get(config, key));
  };
  assert.deepEqual(read({ ...await rawConfig("deepseek_v3"), ...nulls }), [false, false]);
  // Of dots.llm1's class it is off, and of its schema on.
  assert.equal(read({ ...await rawConfig("dots1"), ...nulls })[1], false);
  const { rope_interleave: _, ...without } = await rawConfig("deepseek_v3");
  assert.equal(read(without)[0], true);
});

Deno.test("findArchitecture() takes the text of Mistral 3 for what its model_type says", async () => {
  for (const name of ["mistral", "mistral4"]) {
    const { architectures: _, ...text } = await rawConfig(name);
    const raw = normalizeConfig({
      ...{ architectures: ["Mistral3ForConditionalGeneration"], model_type: "mistral3" },
      ...{ text_config: text, vision_config: { model_type: "pixtral" } },
    }, FILE);
    assert.equal(findArchitecture(raw, FILE).name, name);
    const { config, notes } = findArchitecture(raw, FILE).configure(raw, FILE);
    assert.equal(config.tie_word_embeddings, true);
    assert.ok(notes.includes("text alone is loaded: vision_config left out"));
  }
});

Deno.test("findArchitecture() guesses no class of another name", () => {
  const hints = ["SeedOssForCausalLM", "NobodysForCausalLM"].map((name) => {
    try {
      findArchitecture({ architectures: [name], model_type: "nobodys" }, FILE);
    } catch (error) {
      return error instanceof CheckpointError ? error.hint : undefined;
    }
  });
  const none =
    "Choose a model of an implemented architecture, or add its architecture with a plug-in";
  assert.deepEqual(hints, [none, none]);
});

Deno.test("configure() reads Command A+ as its class does: rope_theta, and no rope_scaling", async () => {
  const { rope_parameters: _, ...others } = await rawConfig("cohere2_moe");
  const change = {
    rope_theta: 777,
    rope_scaling: { type: "linear", factor: 4 },
    qk_layernorm: true,
  };
  const raw = normalizeConfig({ ...others, ...change }, FILE);
  const { config, notes } = findArchitecture(raw, FILE).configure(raw, FILE);
  assert.deepEqual(config.rope_parameters, { rope_type: "default", rope_theta: 777 });
  assert.deepEqual(notes, [
    "rope_scaling has no effect: this family reads rope_parameters alone",
    "qk_layernorm true has no effect: cohere2_moe does not read it",
  ]);
});

Deno.test("configure() refuses what Mistral 4's rotary embedding cannot be", async () => {
  const { rope_parameters, ...others } = await rawConfig("mistral4");
  const read = (change: Record<string, unknown>) => {
    const parameters = { ...rope_parameters as Record<string, unknown>, ...change };
    const raw = normalizeConfig({ ...others, rope_parameters: parameters }, FILE);
    return findArchitecture(raw, FILE).configure(raw, FILE);
  };
  read({ partial_rotary_factor: undefined });
  assert.throws(
    () => read({ partial_rotary_factor: 0.9 }),
    /key "rope_parameters.partial_rotary_factor", got 0.9/,
  );
  assert.throws(() => read({ rope_type: "default" }), /key "rope_parameters.rope_type"/);
  assert.throws(() => read({ llama_4_scaling_beta: undefined }), /llama_4_scaling_beta", got none/);
});

Deno.test("normalizeConfig() refuses what is no object", () => {
  for (const raw of [[], null, "text", 5]) {
    assert.throws(() => normalizeConfig(raw, FILE), { code: "checkpoint/config" });
  }
});

Deno.test("findArchitecture() lists what there is and suggests the nearest", () => {
  const find = (architectures: unknown) => () => findArchitecture({ architectures }, FILE);
  assert.throws(
    find(["Qwen3MoeForCausalM"]),
    (error) =>
      error instanceof CheckpointError && error.code === "checkpoint/architecture" &&
      error.message.includes("MixtralForCausalLM") && error.message.includes(FILE) &&
      error.hint === "Did you mean Qwen3MoeForCausalLM?",
  );
  assert.throws(find(["BertModel"]), { code: "checkpoint/architecture" });
  assert.throws(find(undefined), /got no architectures/);
});

Deno.test("findArchitecture() names the nearest relative of a family that does not load", () => {
  const raw = { model_type: "qwen3_next", architectures: ["Qwen3NextForCausalLM"] };
  assert.throws(
    () => findArchitecture(raw, FILE),
    (error) =>
      error instanceof CheckpointError &&
      error.hint ===
        "Choose a model of qwen3_moe, its nearest relative that loads; of qwen3_next is missing: layers of the gated delta rule, gated attention, norms of 1 + weight",
  );
});

/** Mixtures of experts of transformers 5.18 that do not load. */
const RELATED = [
  ...["axk2", "deepseek_ocr2", "deepseek_v32", "deepseek_v4", "diffusion_gemma"],
  ...["doge", "ernie4_5_vl_moe", "glm5_next", "glm_moe_dsa", "granitemoehybrid"],
  ...["hy_v4", "inkling_text", "jamba", "jetmoe", "kimi_linear", "lfm2_moe"],
  ...["longcat_flash", "minimax", "minimax_m3_vl_text", "nemotron_h", "qwen3_5_moe"],
  ...["qwen3_next", "qwen4_exp", "step3p5", "step3p7", "zaya"],
];

Deno.test("a family without experts that does not load has a relative, too", () => {
  for (const type of ["granite", "seed_oss", "cohere2", "smollm3", "qwen2_5_vl", "gpt2"]) {
    const find = () => findArchitecture({ model_type: type, architectures: ["Other"] }, FILE);
    assert.throws(find, (error) => {
      const hint = error instanceof CheckpointError ? error.hint ?? "" : "";
      const nearest = /^Choose a model of (\w+), its nearest relative/.exec(hint)?.[1];
      return ARCHITECTURES.some(({ name }) => name === nearest);
    });
  }
});

Deno.test("every mixture of experts that does not load has a relative that does", () => {
  for (const type of RELATED) {
    const find = () => findArchitecture({ model_type: type, architectures: ["Other"] }, FILE);
    assert.throws(find, (error) => {
      const hint = error instanceof CheckpointError ? error.hint ?? "" : "";
      const nearest = /^Choose a model of (\w+), its nearest relative that loads/.exec(hint)?.[1];
      assert.ok(ARCHITECTURES.some(({ name }) => name === nearest), `${type}: ${hint}`);
      return hint.includes(`of ${type} is missing: `);
    });
  }
});

Deno.test("parseConfig() suggests a key with nearly the same name", () => {
  const schema = z.looseObject({ num_experts: z.int() });
  assert.throws(
    () => parseConfig(schema, { num_expert: 8 }, FILE),
    (error) => error instanceof CheckpointError && error.hint?.includes('it has "num_expert"'),
  );
});

async function generation(content: unknown, eos: number[] = [], tokenizerEos?: number) {
  const folder = await Deno.makeTempDir();
  try {
    if (content !== undefined) {
      await Deno.writeTextFile(`${folder}/generation_config.json`, JSON.stringify(content));
    }
    return await readGenerationConfig(folder, { eos_token_id: eos }, tokenizerEos);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const GREEDY = {
  temperature: 0,
  topK: 0,
  topP: 1,
  minP: 0,
  repetitionPenalty: 1,
  maxNewTokens: undefined,
};

Deno.test("readGenerationConfig() is greedy unless the makers sample", async () => {
  assert.deepEqual(await generation(undefined, [2]), { ...GREEDY, eosTokenIds: [2] });
  const unused = { do_sample: false, temperature: 0.7, top_k: 5, top_p: 0.5, eos_token_id: 3 };
  assert.deepEqual(await generation(unused, [2]), { ...GREEDY, eosTokenIds: [3, 2] });
});

Deno.test("readGenerationConfig() takes the makers' sampling", async () => {
  const sampling = {
    ...{ do_sample: true, temperature: 0.8, top_p: 0.95, top_k: 20, min_p: 0.1 },
    ...{ repetition_penalty: 1.1, eos_token_id: [2, 0], max_new_tokens: 400, pad_token_id: 0 },
  };
  assert.deepEqual(await generation(sampling), {
    ...{ temperature: 0.8, topK: 20, topP: 0.95, minP: 0.1 },
    ...{ repetitionPenalty: 1.1, eosTokenIds: [2, 0], maxNewTokens: 400 },
  });
  const plain = await generation({ do_sample: true });
  assert.equal(plain.temperature, 1);
});

Deno.test("readGenerationConfig() ends at the end tokens of all files", async () => {
  assert.deepEqual((await generation({}, [], 9)).eosTokenIds, [9]);
  assert.deepEqual((await generation({}, [8], 9)).eosTokenIds, [8, 9]);
  assert.deepEqual((await generation({ eos_token_id: [7, 8] }, [8], 9)).eosTokenIds, [7, 8, 9]);
  assert.deepEqual((await generation({})).eosTokenIds, []);
});

Deno.test("readGenerationConfig() refuses values that make no sense", async () => {
  for (
    const content of [{ temperature: -1 }, { top_p: 2 }, { top_k: 1.5 }, { eos_token_id: "x" }]
  ) {
    const [key] = Object.keys(content);
    await assert.rejects(
      generation(content),
      (error) =>
        error instanceof CheckpointError && error.code === "checkpoint/generation-config" &&
        error.message.includes(`"${key}"`),
    );
  }
});
