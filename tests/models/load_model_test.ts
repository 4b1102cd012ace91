/** Opening model folders: what a model knows, and which folders are refused. */

import assert from "node:assert/strict";
import { CheckpointError, f32ToBf16, nodeInputs, tensorNames } from "../../graph/mod.ts";
import { loadModel } from "../../models/mod.ts";
import { openCpuExecutor } from "../../runtime/mod.ts";
import { relativeError, TOLERANCES } from "../support/tolerances.ts";
import { readSafetensors } from "../support/safetensors.ts";
import { encodeSafetensors, type TensorToWrite } from "../support/write_safetensors.ts";

const STORYTELLER = new URL("../../demo/storyteller", import.meta.url).pathname;
const QWEN3 = new URL("../golden/qwen3_moe/", import.meta.url);

interface StoryGolden {
  prompts: { prompt: string; prompt_ids: number[]; last_logits: number[] }[];
}

Deno.test("loadModel() opens the bundled model", async () => {
  const model = await loadModel(STORYTELLER);
  assert.equal(model.name, "storyteller");
  assert.equal(model.architecture.name, "qwen3_moe");
  assert.equal(model.config.num_experts, 16);
  assert.equal(model.bytes, 2 * 7_429_184);
  assert.deepEqual(model.generation.eosTokenIds, [2, 0]);
  assert.equal(model.generation.temperature, 0.8);
  assert.equal(model.quantization, undefined);
  const prompt = model.chatTemplate?.render([{ role: "user", content: "Hi" }]);
  assert.equal(prompt, "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
  assert.equal(model.tokenizer.unavailable, undefined);
  await model.checkpoint.close();
});

Deno.test("the eager graph of the bundled model gives transformers' logits", async () => {
  const model = await loadModel(STORYTELLER);
  const golden: StoryGolden = JSON.parse(
    await Deno.readTextFile(new URL("../golden/storyteller/golden.json", import.meta.url)),
  );
  const executor = openCpuExecutor();
  const program = await executor.compile(model.build().graph, {
    source: model.checkpoint,
    ...{ maxTokens: 64, maxSequences: 1, pages: 0, maxPagesPerSequence: 1 },
  });
  for (const { prompt, prompt_ids: ids, last_logits: expected } of golden.prompts) {
    assert.deepEqual(model.tokenizer.encode(prompt), ids);
    const { logits } = await program.run({
      token_ids: Int32Array.from(ids),
      positions: Int32Array.from(ids.keys()),
    }, { T: ids.length });
    const last = Float32Array.from(logits).slice(-expected.length);
    const error = relativeError(last, expected);
    assert.ok(error <= TOLERANCES.logitsF32, `"${prompt}" is off by ${error}`);
  }
  executor.dispose();
  await model.checkpoint.close();
});

/** A copy of the Qwen3-MoE fixture after a change of its tensors and config. */
async function withFixture(
  change: (tensors: Record<string, TensorToWrite>, config: Record<string, unknown>) => void,
  use: (folder: string) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    const tensors: Record<string, TensorToWrite> = {};
    for (
      const [name, { shape, data }] of await readSafetensors(new URL("model.safetensors", QWEN3))
    ) {
      tensors[name] = { dtype: "BF16", shape, data: new Uint8Array(data.buffer) };
    }
    const config = JSON.parse(await Deno.readTextFile(new URL("config.json", QWEN3)));
    change(tensors, config);
    await Deno.writeFile(`${folder}/model.safetensors`, encodeSafetensors(tensors));
    await Deno.writeTextFile(`${folder}/config.json`, JSON.stringify(config));
    await use(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** A mistake in a folder that shows when the graph is built. */
const REFUSED: readonly (readonly [
  string,
  (tensors: Record<string, TensorToWrite>, config: Record<string, unknown>) => void,
  string,
  readonly string[],
])[] = [
  [
    "a missing tensor",
    (tensors) => delete tensors["model.layers.1.self_attn.q_norm.weight"],
    "checkpoint/missing-tensor",
    ['"model.layers.1.self_attn.q_norm.weight"'],
  ],
  [
    "a missing expert",
    (tensors) => delete tensors["model.layers.0.mlp.experts.5.up_proj.weight"],
    "checkpoint/missing-tensor",
    ['"model.layers.0.mlp.experts.5.up_proj.weight"'],
  ],
  [
    "experts that are not there at all",
    (tensors) => {
      for (const name of Object.keys(tensors)) if (name.includes(".experts.")) delete tensors[name];
    },
    "checkpoint/missing-tensor",
    ["experts.0.gate_proj.weight", "experts.gate_up_proj"],
  ],
  [
    "a tensor of another shape",
    (tensors) => {
      const name = "model.layers.1.self_attn.k_proj.weight";
      tensors[name] = { ...tensors[name], shape: [32, 128] };
    },
    "checkpoint/shape",
    ['"model.layers.1.self_attn.k_proj.weight"', "expected shape [64, 64], got [32, 128]"],
  ],
  [
    "a config with other sizes",
    (_, config) => config.vocab_size = 512,
    "checkpoint/shape",
    ['"model.embed_tokens.weight"', "expected shape [512, 64], got [256, 64]"],
  ],
];

for (const [what, change, code, says] of REFUSED) {
  Deno.test(`build() refuses ${what}`, async () => {
    await withFixture(change, async (folder) => {
      const model = await loadModel(folder);
      assert.throws(() => model.build(), refusal(code, says));
      await model.checkpoint.close();
    });
  });
}

Deno.test("build() reports tensors that it does not use, with the reason where it knows one", async () => {
  const half = new Uint8Array(Uint16Array.of(f32ToBf16(1)).buffer);
  const tensor: TensorToWrite = { dtype: "BF16", shape: [1], data: half };
  const rotary = "model.layers.0.self_attn.rotary_emb.inv_freq";
  const change = (tensors: Record<string, TensorToWrite>) => {
    tensors[rotary] = tensor;
    tensors["model.layers.0.mystery.weight"] = tensor;
  };
  await withFixture(change, async (folder) => {
    const model = await loadModel(folder);
    assert.deepEqual(model.build().unusedTensors, [
      { name: rotary, reason: "computed from the rope parameters of config.json" },
      { name: "model.layers.0.mystery.weight", reason: undefined },
    ]);
    await model.checkpoint.close();
  });
});

Deno.test("build() of a tied model reads a head that the checkpoint has, as transformers 5 does", async () => {
  const ends = async (leaveOut: string) => {
    let found: [table: string, head: string] = ["", ""];
    await withFixture((tensors, config) => {
      config.tie_word_embeddings = true;
      delete tensors[leaveOut];
    }, async (folder) => {
      const model = await loadModel(folder);
      const { graph, unusedTensors } = model.build();
      assert.deepEqual(unusedTensors, []);
      const names = (scope: string) =>
        graph.nodes.filter((node) => node.scope === scope).flatMap(nodeInputs)
          .flatMap(({ weight }) => weight ? [...tensorNames(weight)] : []).join();
      found = [names("model.embed_tokens"), names("lm_head")];
      const noted = model.notes.some((note) => note.includes("lm_head.weight"));
      assert.equal(noted, leaveOut !== "lm_head.weight");
      await model.checkpoint.close();
    });
    return found;
  };
  const [table, head] = ["model.embed_tokens.weight", "lm_head.weight"];
  assert.deepEqual(await ends("nothing"), [table, head]);
  assert.deepEqual(await ends(head), [table, table]);
  assert.deepEqual(await ends(table), [head, head]);
});

Deno.test("loadModel() says what of a folder is missing", async () => {
  const folder = await Deno.makeTempDir();
  const file = `${folder}/file`;
  await Deno.writeTextFile(file, "");
  for (
    const [path, code, says] of [
      [`${folder}/nothing`, "checkpoint/missing-folder", "got nothing there"],
      [file, "checkpoint/missing-folder", "got a file"],
      [folder, "checkpoint/missing-config", "a config.json in the folder"],
    ]
  ) {
    await assert.rejects(loadModel(path), refusal(code, [path, says]));
  }
  await Deno.writeTextFile(`${folder}/config.json`, "{");
  await assert.rejects(loadModel(folder), refusal("checkpoint/malformed-json", ["config.json"]));
  await Deno.copyFile(new URL("config.json", QWEN3), `${folder}/config.json`);
  await assert.rejects(loadModel(folder), refusal("checkpoint/missing-weights", [folder]));
  await Deno.remove(folder, { recursive: true });
});

function refusal(code: string, says: readonly string[]) {
  return (error: unknown) => {
    assert.ok(error instanceof CheckpointError, String(error));
    assert.equal(error.code, code, error.message);
    for (const text of says) assert.ok(error.message.includes(text), `${error.message}: ${text}`);
    assert.ok(error.hint, "a hint");
    return true;
  };
}
