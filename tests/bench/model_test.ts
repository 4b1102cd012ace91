import assert from "node:assert/strict";
import { chooseModels, planModels } from "../../bench/model_choice.ts";
import { type ModelSizes, modelSizes } from "../../bench/model_sizes.ts";
import { modelTitle } from "../../bench/model_result.ts";
import { fitLayers, measureModel } from "../../bench/model_trial.ts";
import { useLayers, wantedTensors, writeRandomModel } from "../../bench/random_model.ts";
import { ModelFolder } from "../../bench/temporary_folder.ts";
import { cacheBytesRead, kindOf, stepTime, windowsOf } from "../../bench/token_time.ts";
import { ConfigError, DeviceError } from "../../graph/mod.ts";
import { loadModel } from "../../models/mod.ts";
import { webgpuTest } from "../support/adapter.ts";

const bytesOf = (model: ModelSizes) =>
  wantedTensors(model.config(model.layers)).reduce((sum, { bytes }) => sum + bytes, 0);

Deno.test("modelSizes() has the bytes of the released models", () => {
  const sizes = modelSizes(false).filter(({ name }) => /OLMoE|gpt-oss/.test(name));
  // Of the models' safetensors files on the hub.
  assert.deepEqual(sizes.map(bytesOf).map((bytes) => (bytes / 1e9).toFixed(2)), ["13.84", "13.76"]);
});

Deno.test("writeRandomModel() writes twins that load, all their tensors used, or fewer layers of them", async () => {
  const folder = await Deno.makeTempDir();
  try {
    for (const model of modelSizes(true)) {
      await writeRandomModel(folder, model.config(2));
      for (const layers of [2, 1]) {
        await useLayers(folder, model.config(layers));
        const { build, checkpoint } = await loadModel(folder);
        assert.deepEqual(build().unusedTensors, [], model.name);
        assert.equal(checkpoint.files.size, layers + 1, model.name);
        await checkpoint.close();
      }
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("chooseModels() takes parts of names and formats, and refuses others", () => {
  const [olmoe, qwen] = chooseModels(["olmoe", "Qwen3:int8"], false);
  assert.deepEqual([olmoe, qwen].map(modelTitle), ["OLMoE-1B-7B", "Qwen3-30B-A3B, int8"]);
  assert.deepEqual(chooseModels(undefined, true).map(modelTitle), ["OLMoE-1B-7B twin"]);
  assert.throws(() => chooseModels(["llama"], false), ConfigError);
  assert.throws(() => chooseModels(["olmoe:int5"], false), ConfigError);
  assert.deepEqual(planModels(true, { streams: [3], layers: 1 }).streams, [3]);
});

Deno.test("fitLayers() takes fewer layers while memory is short, and passes on other errors", async () => {
  const tried: number[] = [];
  const deploy = (most: number, code = "device/out-of-memory") => (layers: number) => {
    tried.push(layers);
    return layers > most
      ? Promise.reject(new DeviceError(code, "Cannot allocate x: expected room, got none"))
      : Promise.resolve(layers);
  };
  assert.equal(await fitLayers(48, deploy(20), () => {}), 19);
  assert.deepEqual(tried.splice(0), [48, 38, 30, 24, 19]);
  await assert.rejects(fitLayers(2, deploy(0), () => {}), /Cannot allocate x/);
  assert.deepEqual(tried.splice(0), [2, 1]);
  await assert.rejects(fitLayers(48, deploy(20, "device/lost"), () => {}), /Cannot allocate x/);
  assert.deepEqual(tried, [48]);
});

Deno.test("kindOf() tells dispatches apart by kernel and module", () => {
  const kinds: Readonly<Record<string, string>> = {
    "fused_linear_gemv model.layers.3.self_attn": "q, k, v",
    "attention_decode model.layers.3.self_attn": "attention",
    "mla_query_norm model.layers.3.self_attn": "attention",
    "fused_linear_gemv model.layers.3.self_attn.o_proj": "output projection",
    "router model.layers.3.mlp.gate": "router",
    "moe_gate_up model.layers.3.mlp": "experts, up",
    "moe_gemm_down model.layers.3.mlp": "experts, down",
    "moe_align model.layers.3.mlp": "experts, rows",
    "gated_mlp_up_gemv model.layers.0.mlp.down_proj": "other MLPs",
    "rms_norm model.layers.0.post_attention_layernorm": "norms",
    "fused_linear_gemv lm_head": "head",
    "sample ": "sampling",
    "embedding model.embed_tokens": "rest",
  };
  for (const [name, kind] of Object.entries(kinds)) {
    const [kernel, scope] = name.split(" ");
    assert.equal(kindOf({ kernel, scope }), kind, name);
  }
});

Deno.test("stepTime() sums kinds over layers and gives medians over profiles", () => {
  const profile = (seconds: number) =>
    ["model.layers.0.mlp.gate", "model.layers.1.mlp.gate", ""].map((scope) => ({
      ...{ kernel: scope ? "router" : "sample", scope, seconds, weightBytes: scope ? 100 : 0 },
    }));
  const { seconds, dispatches, kinds } = stepTime([1e-6, 9e-6, 2e-6].map(profile), {
    ...{ sequences: 1, tokens: 1, context: 7, cacheBytes: 0 },
  });
  assert.deepEqual([seconds.median, seconds.n, dispatches], [6e-6, 3, 3]);
  const [router, sampling] = kinds;
  assert.deepEqual([router.dispatches, router.layers, router.bytes], [2, 2, 200]);
  assert.equal(router.microsecondsPerLayer.toFixed(3), "2.000");
  assert.deepEqual([sampling.kind, sampling.layers], ["sampling", 0]);
});

Deno.test("cacheBytesRead() looks no further back than each layer's window", () => {
  const config = {
    ...{ num_hidden_layers: 2, layer_types: ["sliding_attention", "full_attention"] },
    sliding_window: 128,
  };
  assert.equal(cacheBytesRead(windowsOf(config), 500, 10), 10 * (128 + 500));
});

webgpuTest(
  "measureModel() measures a model from its folder to where a token's time goes",
  async () => {
    const [olmoe] = modelSizes(true).filter(({ name }) => name.startsWith("OLMoE"));
    const model = {
      ...olmoe,
      config: (layers: number) => ({ ...olmoe.config(layers), vocab_size: 64 }),
    };
    const plan = {
      prompts: [{ tokens: 2, answer: 3 }, { tokens: 100000, answer: 3 }],
      ...{ rounds: 2, coldTokens: 2, streams: [2], streamTokens: 2, layers: 1 },
    };
    await using folder = new ModelFolder();
    const path = await folder.hold(model, 1, () => {});
    const result = await measureModel({ model }, plan, folder);
    assert.equal(await folder.hold(model, 1, () => assert.fail("it is written once")), path);
    assert.deepEqual([result.layers, result.allLayers, result.format], [1, 2, "bf16"]);
    assert.match(result.problems.join(), /^a prompt of 100000: .*100000/);
    const [prompt] = result.prompts;
    assert.ok(prompt.decode.median > 0 && prompt.prefill.n === 2);
    // Experts 8 of 16, and everything else but the embedding.
    const hidden = 128;
    const words = 3 * 8 * 64 * hidden + 4 * hidden * hidden + (16 + 64) * hidden;
    assert.equal(result.tokenWeightBytes, 2 * words);
    assert.ok(prompt.tokenBytes > result.tokenWeightBytes);
    assert.equal(result.streams[0].tokensPerSecond.n, 2);
    assert.deepEqual(
      result.streamTimes.map(({ sequences, tokens, context }) => [sequences, tokens, context]),
      result.tokenTime ? [[2, 1, 2]] : [],
    );
    if (result.tokenTime) {
      const bytes = result.tokenTime.kinds.filter(({ kind }) => kind !== "attention")
        .reduce((sum, each) => sum + each.bytes, 0);
      assert.equal(bytes, result.tokenWeightBytes);
    }
  },
);
