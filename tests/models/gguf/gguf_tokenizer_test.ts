/** Tokenizers and templates of GGUF metadata against the tokenizer.json that they were made of. */

import assert from "node:assert/strict";
import {
  ggufChatTemplate,
  ggufGeneration,
  ggufTokenizer,
} from "../../../models/gguf/gguf_tokenizer.ts";
import { GgufMetadata } from "../../../models/gguf/gguf_metadata.ts";
import type { GgufValue } from "../../../models/gguf/gguf_reader.ts";
import { PRE_TOKENIZERS } from "../../../models/gguf/pre_tokenizers.ts";

const GOLDEN = new URL("../../golden/tokenizers/", import.meta.url).pathname;

async function readJson(path: string) {
  return JSON.parse(await Deno.readTextFile(GOLDEN + path));
}

/** The metadata that a converter writes of a tokenizer.json. */
async function metadataOf(name: string, own: Record<string, GgufValue>) {
  const file = await readJson(`${name}/tokenizer.json`);
  const added: { id: number; content: string; special: boolean }[] = file.added_tokens;
  const tokens: string[] = [];
  for (const [text, id] of Object.entries<number>(file.model.vocab)) tokens[id] = text;
  for (const { id, content } of added) tokens[id] = content;
  const kinds: number[] = tokens.map((text) => /^<0x[0-9A-F]{2}>$/.test(text) ? 6 : 1);
  for (const { id, content, special } of added) {
    kinds[id] = content === "<unk>" ? 2 : special ? 3 : 4;
  }
  const merges: string[] = file.model.merges.map((pair: string | string[]) =>
    [pair].flat().join(" ")
  );
  const rank = new Map(
    merges.map((merge, i) => [merge.replace(" ", ""), -i]).reverse() as [string, number][],
  );
  const values = new Map<string, GgufValue>(Object.entries({
    "general.architecture": "test",
    "tokenizer.ggml.tokens": tokens,
    "tokenizer.ggml.token_type": kinds,
    ...(own["tokenizer.ggml.model"] === "llama"
      ? { "tokenizer.ggml.scores": tokens.map((text) => rank.get(text) ?? -1e9) }
      : { "tokenizer.ggml.merges": merges }),
    ...own,
  }));
  return { metadata: new GgufMetadata("m.gguf", values), tokens };
}

const CASES: readonly [string, Record<string, GgufValue>][] = [
  ["bytelevel_qwen", { "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "qwen2" }],
  ["bytelevel_llama3", { "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "llama-bpe" }],
  ["llama_legacy", { "tokenizer.ggml.model": "llama", "tokenizer.ggml.bos_token_id": 1 }],
];

for (const [name, own] of CASES) {
  Deno.test(`ggufTokenizer() agrees with ${name} on all golden strings`, async () => {
    const { strings } = await readJson(`${name}/tokenizer_golden.json`);
    const [{ ids: [bos], ids_no_special: [first] }] = strings;
    const { metadata } = await metadataOf(name, {
      ...(bos !== first && { "tokenizer.ggml.bos_token_id": bos }),
      ...own,
    });
    const tokenizer = ggufTokenizer(metadata);
    assert.equal(tokenizer.unavailable, undefined);
    for (const { text, ids, ids_no_special, decoded_skip_special } of strings) {
      assert.deepEqual(tokenizer.encode(text, { addSpecialTokens: false }), ids_no_special, text);
      assert.deepEqual(tokenizer.encode(text), ids, text);
      assert.equal(tokenizer.decode(ids), decoded_skip_special);
    }
  });
}

Deno.test("ggufTokenizer() splits as gpt-oss's pattern does", async () => {
  const { metadata } = await metadataOf("o200k", {
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "gpt-4o",
  });
  const tokenizer = ggufTokenizer(metadata);
  for (const { text, ids } of (await readJson("o200k/rows.json")).rows) {
    assert.deepEqual(tokenizer.encode(text), ids, text);
  }
});

Deno.test("every way of splitting is a pattern that compiles", async () => {
  for (const pre of Object.keys(PRE_TOKENIZERS)) {
    const { metadata } = await metadataOf("bytelevel_qwen", {
      "tokenizer.ggml.model": "gpt2",
      "tokenizer.ggml.pre": pre,
    });
    const tokenizer = ggufTokenizer(metadata);
    const text = "Hello, wörld! 12345 it's [OK]\n\n  x == y; 日本語テスト";
    assert.equal(tokenizer.decode(tokenizer.encode(text)), text, pre);
  }
});

Deno.test("what is not known is refused for texts, with the reason", async () => {
  const wrong: Record<string, GgufValue>[] = [
    { "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "nobody" },
    { "tokenizer.ggml.model": "rwkv" },
  ];
  for (const own of wrong) {
    const { metadata } = await metadataOf("bytelevel_qwen", own);
    const { unavailable } = ggufTokenizer(metadata);
    assert.equal(unavailable?.code, "checkpoint/tokenizer-format");
    assert.match(unavailable.message, /"nobody"|"rwkv"/);
  }
  const none = new GgufMetadata("m.gguf", new Map());
  assert.match(ggufTokenizer(none).unavailable?.message ?? "", /got none/);
});

Deno.test("templates and end tokens come from the metadata", async () => {
  const { metadata, tokens } = await metadataOf("bytelevel_qwen", {
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "qwen2",
    "tokenizer.ggml.eos_token_id": 5,
    "tokenizer.ggml.eot_token_id": 6,
    "tokenizer.chat_template": "{{ eos_token }}{{ messages[0].content }}",
    "tokenizer.chat_template.tool_use": "{{ tools }}",
    "general.sampling.temp": 0.5,
  });
  const tokenizer = ggufTokenizer(metadata);
  const template = ggufChatTemplate(metadata, tokenizer);
  assert.equal(template?.render([{ role: "user", content: "Hi" }]), `${tokens[5]}Hi`);
  assert.equal(template?.readsTools, true);
  const generation = ggufGeneration(metadata);
  const named = ["<|im_end|>", "<|endoftext|>"].map((text) => tokens.indexOf(text)).filter((id) =>
    id >= 0
  );
  assert.deepEqual(new Set(generation.eosTokenIds), new Set([5, 6, ...named]));
  assert.equal(generation.temperature, 0.5);
});
