/** Chats through an engine: options reach the template, answers come in parts. */

import assert from "node:assert/strict";
import { RequestError } from "../../../graph/mod.ts";
import { Chat, ChatTemplate, Tokenizer } from "../../../models/mod.ts";
import {
  createEngine,
  type GenerateOptions,
  type Piece,
  type Prompt,
} from "../../../runtime/mod.ts";
import { FakeProgram } from "../../support/fake_program.ts";

const EOS = 3;
const USER = [{ role: "user", content: "Hi" }];
const TOOL = { type: "function", function: { name: "f", parameters: {} } };

/** Letters are tokens; every character of the answer is a token. */
function open(template: string, answer: string) {
  const prompts: string[] = [];
  const decode = (ids: readonly number[]) => String.fromCharCode(...ids.filter((id) => id > 8));
  const letters = Object.fromEntries(
    Array.from({ length: 128 }, (_, id) => [String.fromCharCode(id), id]),
  );
  const tokenizer = new Tokenizer({
    model: { type: "BPE", vocab: letters, merges: [] },
    decoder: { type: "Fuse" },
  });
  const chat = new Chat(new ChatTemplate(template), tokenizer, "");
  const engine = createEngine({
    program: new FakeProgram(128, (before) => {
      const length = prompts.at(-1)?.length ?? 0;
      return answer.charCodeAt(before.length - length) || EOS;
    }, 8),
    codec: {
      encode(text) {
        prompts.push(text);
        return Array.from(text, (letter) => letter.charCodeAt(0));
      },
      decode,
      renderChat: (messages, wishes) => chat.prompt(messages, wishes),
    },
    vocabSize: 128,
    limits: {
      maxTokens: 64,
      maxRows: 4,
      maxSequences: 3,
      maxSequenceTokens: 512,
      pages: 128,
      pageSize: 8,
    },
    defaults: { eosTokenIds: [EOS], maxNewTokens: 300 },
    executor: { kind: "cpu", description: "fake", reason: "test" },
  });
  return { engine, prompts };
}

const QWEN = "{% if tools %}[{{ tools | length }}]{% endif %}{{ enable_thinking }}:" +
  "{% for m in messages %}{{ m.content }}{% endfor %}{% if m %}<tool_call>{% endif %}";

Deno.test("generate() gives tools, thinking and variables to the template", async () => {
  const { engine, prompts } = open(QWEN + "{{ documents }}", "ok");
  const templateVariables = { documents: ["d"] };
  const text = await engine.generate(USER, { tools: [TOOL], thinking: false, templateVariables })
    .text();
  assert.equal(text, "ok");
  assert.equal(prompts[0], "[1]False:Hi['d']");
  await engine.generate(USER, { templateVariables: { enable_thinking: true } }).text();
  assert.equal(prompts[1], "True:Hi");
  await engine.close();
});

Deno.test("generate() splits the answer of a chat beside its tokens", async () => {
  const answer =
    '<think>\nhm\n</think>\n\nSo.\n<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>';
  const { engine } = open(QWEN, answer);
  const pieces: Piece[] = [];
  for await (const piece of engine.generate(USER)) pieces.push(piece);
  assert.equal(pieces.length, answer.length + 1);
  assert.equal(pieces.map(({ text }) => text).join(""), "So.");
  assert.equal(pieces.map(({ reasoning = "" }) => reasoning).join(""), "hm");
  assert.deepEqual(pieces.flatMap(({ toolCalls = [] }) => toolCalls), [{
    name: "f",
    arguments: { a: 1 },
  }]);
  assert.deepEqual(await engine.generate(USER).message(), {
    text: "So.",
    reasoning: "hm",
    toolCalls: [{ name: "f", arguments: { a: 1 } }],
  });
  await engine.close();
});

Deno.test("generate() gives what an answer cut short has", async () => {
  const { engine } = open(QWEN, "<think>long thoughts</think>yes");
  const cut = engine.generate(USER, { maxNewTokens: 12 });
  assert.deepEqual(await cut.message(), { text: "", reasoning: "long ", toolCalls: [] });
  assert.equal(cut.finishReason, "length");
  const stopped = engine.generate(USER, { stop: "thou" });
  assert.deepEqual(await stopped.message(), { text: "", reasoning: "long ", toolCalls: [] });
  await engine.close();
});

Deno.test("generate() leaves the text of a plain prompt whole", async () => {
  const { engine } = open(QWEN, "<think>a</think>b");
  const pieces: Piece[] = [];
  for await (const piece of engine.generate("Hi")) pieces.push(piece);
  assert.equal(pieces.map(({ text }) => text).join(""), "<think>a</think>b");
  assert.ok(pieces.every((piece) => !("reasoning" in piece)));
  await engine.close();
});

Deno.test("generate() refuses options that the chat cannot have", async () => {
  const { engine } = open("{{ messages }}", "x");
  const cases: readonly [Prompt, unknown, string, RegExp][] = [
    [
      "Hi",
      { tools: [TOOL] },
      "request/invalid-option",
      /"tools": expected messages as the prompt, got a text/,
    ],
    [
      [72],
      { thinking: true },
      "request/invalid-option",
      /"thinking": expected messages.* got token ids/,
    ],
    [USER, { thinking: "on" }, "request/invalid-option", /"thinking": expected true or false/],
    [USER, { tools: "f" }, "request/invalid-option", /"tools": expected a list of objects/],
    [USER, { templateVariables: { f: () => 1 } }, "request/invalid-option", /JSON values/],
    [USER, { templateVariables: [] }, "request/invalid-option", /JSON values/],
    [USER, { tools: [TOOL] }, "request/template-variable", /"tools"/],
    [USER, { thinking: true }, "request/template-variable", /enable_thinking or thinking/],
    [
      USER,
      { templateVariables: { reasoning_effort: "high" } },
      "request/template-variable",
      /"reasoning_effort"/,
    ],
  ];
  for (const [prompt, options, code, message] of cases) {
    await assert.rejects(
      engine.generate(prompt, options as GenerateOptions).text(),
      (error) =>
        error instanceof RequestError && error.code === code && message.test(error.message),
    );
  }
  await engine.close();
});

Deno.test("generate() of messages says why a template cannot be read", async () => {
  const folder = await Deno.makeTempDir();
  await Deno.writeTextFile(`${folder}/chat_template.jinja`, "{% for %}");
  const template = await ChatTemplate.open(folder, {});
  assert.ok(template);
  const { engine } = open("x", "ok");
  const { unavailable } = template;
  assert.throws(() => new Chat(template, new Tokenizer(unavailable), "").prompt(USER), unavailable);
  await engine.close();
  await Deno.remove(folder, { recursive: true });
});
