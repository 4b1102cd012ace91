/** Tokenizers and chat templates against transformers and tokenizers. */

import assert from "node:assert/strict";
import { ChatTemplate, Tokenizer } from "../../../models/mod.ts";
import { TextStream } from "../../../runtime/generation/text_stream.ts";
import { CheckpointError, RequestError } from "../../../graph/mod.ts";

const FOLDER = new URL("../../golden/tokenizers/", import.meta.url).pathname;
const NAMES = ["bytelevel_llama3", "bytelevel_qwen", "llama_legacy", "llama_metaspace"];

interface Golden {
  strings: {
    text: string;
    ids: number[];
    ids_no_special: number[];
    tokens_no_special: string[];
    decoded: string;
    decoded_skip_special: string;
  }[];
  chats: {
    messages: { role: string; content: string }[];
    add_generation_prompt: boolean;
    rendered: string;
    ids: number[];
  }[];
  streaming: { text: string; ids: number[]; prefix_decodes: string[] };
}

async function open(name: string): Promise<{ tokenizer: Tokenizer; golden: Golden }> {
  const text = await Deno.readTextFile(`${FOLDER}${name}/tokenizer_golden.json`);
  return { tokenizer: await Tokenizer.open(FOLDER + name), golden: JSON.parse(text) };
}

for (const name of NAMES) {
  Deno.test(`encode() and decode() agree with ${name} on all golden strings`, async () => {
    const { tokenizer, golden } = await open(name);
    assert.equal(golden.strings.length, 65);
    for (const string of golden.strings) {
      const { text } = string;
      const plain = tokenizer.encode(text, { addSpecialTokens: false });
      assert.deepEqual(tokenizer.encode(text), string.ids, text);
      assert.deepEqual(plain, string.ids_no_special, text);
      assert.deepEqual(plain.map((id) => tokenizer.tokenOf(id)), string.tokens_no_special, text);
      assert.equal(tokenizer.decode(string.ids), string.decoded_skip_special);
      assert.equal(tokenizer.decode(string.ids, { skipSpecialTokens: false }), string.decoded);
    }
  });

  Deno.test(`render() agrees with ${name} on all golden chats`, async () => {
    const { tokenizer, golden } = await open(name);
    const template = await ChatTemplate.open(FOLDER + name, tokenizer.config);
    assert.ok(template);
    for (const { messages, add_generation_prompt, rendered, ids } of golden.chats) {
      const prompt = template.render(messages, { addGenerationPrompt: add_generation_prompt });
      assert.equal(prompt, rendered);
      assert.deepEqual(tokenizer.encode(prompt, { addSpecialTokens: false }), ids);
    }
  });

  Deno.test(`decode() of growing prefixes agrees with ${name}`, async () => {
    const { tokenizer, golden: { streaming } } = await open(name);
    assert.deepEqual(tokenizer.encode(streaming.text, { addSpecialTokens: false }), streaming.ids);
    const prefixes = streaming.ids.map((_, i) => tokenizer.decode(streaming.ids.slice(0, i + 1)));
    assert.deepEqual(prefixes, streaming.prefix_decodes);
  });

  Deno.test(`decode() streams ${name} without half characters`, async () => {
    const { tokenizer, golden } = await open(name);
    for (const { ids } of [golden.streaming, ...golden.strings]) {
      const stream = new TextStream((ids) => tokenizer.decode(ids));
      const pieces = ids.map((id) => stream.push(id).text);
      const whole = tokenizer.decode(ids);
      if (!whole.includes("\uFFFD")) assert.ok(!pieces.join("").includes("\uFFFD"));
      assert.equal(pieces.join("") + stream.flush(), whole);
    }
  });
}

Deno.test("decode() skips ids that the vocabulary lacks", async () => {
  const { tokenizer } = await open("bytelevel_qwen");
  const ids = tokenizer.encode("Hello");
  assert.equal(tokenizer.decode([...ids, 1_000_000, -1]), "Hello");
  assert.equal(tokenizer.decode([1_000_000]), "");
  assert.equal(tokenizer.decode([]), "");
});

Deno.test("bosTokenId and eosTokenId come from tokenizer_config.json", async () => {
  const { tokenizer: llama } = await open("llama_metaspace");
  assert.deepEqual([llama.bosTokenId, llama.eosTokenId], [1, 2]);
  const { tokenizer: qwen } = await open("bytelevel_qwen");
  assert.deepEqual([qwen.bosTokenId, qwen.eosTokenId], [undefined, 997]);
});

Deno.test("ChatTemplate.open() prefers chat_template.jinja and knows templates by name", async () => {
  const folder = await Deno.makeTempDir();
  const config = {
    bos_token: "<s>",
    chat_template: [
      { name: "tool_use", template: "tools" },
      { name: "default", template: "{{ bos_token }}{{ messages[0].content }}" },
    ],
  };
  const messages = [{ role: "user", content: "Hi" }];
  const named = await ChatTemplate.open(folder, config);
  assert.equal(named?.render(messages), "<s>Hi");
  await Deno.writeTextFile(
    `${folder}/chat_template.jinja`,
    "{{ bos_token }}!{{ add_generation_prompt }}",
  );
  const file = await ChatTemplate.open(folder, config);
  assert.equal(file?.render(messages, { addGenerationPrompt: false }), "<s>!False");
  assert.equal(await ChatTemplate.open(`${folder}/none`, {}), undefined);
  await Deno.remove(folder, { recursive: true });
});

Deno.test("render() turns a template's refusal into an error of the request", async () => {
  const { tokenizer } = await open("llama_legacy");
  const template = await ChatTemplate.open(`${FOLDER}llama_legacy`, tokenizer.config);
  assert.throws(
    () => template?.render([{ role: "assistant", content: "I begin" }]),
    (error) => error instanceof RequestError && error.message.includes("roles must alternate"),
  );
});

Deno.test("new ChatTemplate() names what is no Jinja", () => {
  assert.throws(
    () => new ChatTemplate("{% for %}", {}, "x/chat_template.jinja"),
    (error) => error instanceof CheckpointError && error.code === "checkpoint/chat-template",
  );
});

Deno.test("Tokenizer.open() of a folder without one refuses text, not the folder", async () => {
  const folder = await Deno.makeTempDir();
  const tokenizer = await Tokenizer.open(folder);
  assert.equal(tokenizer.unavailable?.code, "checkpoint/missing-tokenizer");
  assert.ok(tokenizer.unavailable?.message.includes(`${folder}/tokenizer.json`));
  assert.throws(() => tokenizer.encode("Hi"), tokenizer.unavailable);
  assert.throws(() => tokenizer.decode([1]), tokenizer.unavailable);
  assert.equal(tokenizer.eosTokenId, undefined);
  await Deno.remove(folder, { recursive: true });
});

Deno.test("Tokenizer.open() names a tokenizer that is not supported", async () => {
  const folder = await Deno.makeTempDir();
  const code = (expected: string) => (error: unknown) =>
    error instanceof CheckpointError && error.code === expected && error.message.includes(folder);
  for (const content of ['{"model":{"type":"Magic"}}', "{}", "[]", "null"]) {
    await Deno.writeTextFile(`${folder}/tokenizer.json`, content);
    await assert.rejects(Tokenizer.open(folder), code("checkpoint/tokenizer"), content);
  }
  await Deno.writeTextFile(`${folder}/tokenizer.json`, "{");
  await assert.rejects(Tokenizer.open(folder), code("checkpoint/malformed-json"));
  await Deno.remove(folder, { recursive: true });
});
