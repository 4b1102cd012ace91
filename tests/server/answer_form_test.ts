/**
 * Answers that must call tools or be JSON: the tokens that a grammar allows, in every notation.
 *
 * @module
 */

import assert from "node:assert/strict";
import { type AnswerDemand, Chat, loadModel, type TextForm } from "../../models/mod.ts";
import type { Piece } from "../../runtime/mod.ts";
import { Grammars } from "../../server/engine/grammar.ts";
import { untilFirstCall } from "../../server/engine/one_call.ts";
import { makeNotationModel, NOTATIONS } from "../support/format_models.ts";
import { slowTest } from "../support/quick.ts";

const TOOLS = [
  {
    type: "function",
    function: {
      name: "weather",
      parameters: {
        type: "object",
        properties: { city: { type: "string" }, days: { type: "integer" } },
        required: ["city"],
        additionalProperties: false,
      },
    },
  },
  { type: "function", function: { name: "now" } },
];

const D = (name: string) => `<｜tool▁${name}｜>`;
const ARGS = '{"city": "B<r>", "days": 2}';

/** Two calls, `weather(city: "B<r>", days: 2)` and `now()`, with what the notation has around. */
const CALLS: Readonly<
  Record<string, readonly [begin: string, calls: string[], between: string, end: string]>
> = {
  qwen: [
    "",
    [
      `<tool_call>\n{"name": "weather", "arguments": ${ARGS}}\n</tool_call>`,
      '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>',
    ],
    "\n",
    "",
  ],
  "qwen-coder": [
    "",
    [
      "<tool_call>\n<function=weather>\n<parameter=city>\nB<r>\n</parameter>\n" +
      "<parameter=days>\n2\n</parameter>\n</function>\n</tool_call>",
      "<tool_call>\n<function=now>\n</function>\n</tool_call>",
    ],
    "\n",
    "",
  ],
  mistral: [
    "[TOOL_CALLS][",
    [
      `{"name": "weather", "arguments": ${ARGS}}`,
      '{"name": "now", "arguments": {}}',
    ],
    ", ",
    "]",
  ],
  "mistral-args": ["", [`[TOOL_CALLS]weather[ARGS]${ARGS}`, "[TOOL_CALLS]now[ARGS]{}"], "", ""],
  harmony: [
    "",
    [
      `<|channel|>commentary to=functions.weather <|constrain|>json<|message|>${ARGS}`,
    ],
    "",
    "",
  ],
  deepseek: [
    D("calls▁begin"),
    [
      `${D("call▁begin")}function${D("sep")}weather\n\`\`\`json\n${ARGS}\n\`\`\`${D("call▁end")}`,
      `${D("call▁begin")}function${D("sep")}now\n\`\`\`json\n{}\n\`\`\`${D("call▁end")}`,
    ],
    "\n",
    D("calls▁end"),
  ],
  "deepseek-v3.1": [
    D("calls▁begin"),
    [
      `${D("call▁begin")}weather${D("sep")}${ARGS}${D("call▁end")}`,
      `${D("call▁begin")}now${D("sep")}{}${D("call▁end")}`,
    ],
    "",
    D("calls▁end"),
  ],
  glm: [
    "",
    [
      "<tool_call>weather\n<arg_key>city</arg_key>\n<arg_value>B<r></arg_value>\n" +
      "<arg_key>days</arg_key>\n<arg_value>2</arg_value>\n</tool_call>",
      "<tool_call>now\n</tool_call>",
    ],
    "\n",
    "",
  ],
  kimi: [
    "<|tool_calls_section_begin|>",
    [
      `<|tool_call_begin|>functions.weather:0<|tool_call_argument_begin|>${ARGS}<|tool_call_end|>`,
      "<|tool_call_begin|>functions.now:1<|tool_call_argument_begin|>{}<|tool_call_end|>",
    ],
    "",
    "<|tool_calls_section_end|>",
  ],
  minimax: [
    "<minimax:tool_call>\n",
    [
      '<invoke name="weather">\n<parameter name="city">B<r></parameter>\n' +
      '<parameter name="days">2</parameter>\n</invoke>',
      '<invoke name="now">\n</invoke>',
    ],
    "\n",
    "\n</minimax:tool_call>",
  ],
};

const SCHEMA = {
  type: "object",
  properties: { a: { type: "integer" } },
  required: ["a"],
  additionalProperties: false,
};

const THOUGHTS: Readonly<Record<string, string>> = {
  mistral: "[THINK]hm {x}[/THINK]",
  "mistral-args": "[THINK]hm {x}[/THINK]",
  harmony: "<|channel|>analysis<|message|>hm {x}<|end|><|start|>assistant",
};

/** Notations of different shape, which a quick run tries. */
const QUICK = ["qwen", "mistral-args", "harmony", "deepseek-v3.1"];

for (const asTokens of [true, false]) {
  const kind = asTokens ? "tokens" : "texts";
  for (const notation of NOTATIONS) {
    const test = asTokens && QUICK.includes(notation.name) ? Deno.test : slowTest;
    test(`forced calls are those of ${notation.name}, with marks that are ${kind}`, async () => {
      const root = await Deno.makeTempDir({ prefix: "mixline_forms_" });
      try {
        const folder = await makeNotationModel(root, notation, { asTokens });
        await checkNotation(notation.name, await openChat(folder));
      } finally {
        await Deno.remove(root, { recursive: true });
      }
    });
  }
}

type OpenChat = Awaited<ReturnType<typeof openChat>>;

/** A chat with two tools, and whether a form lets a text come. */
async function openChat(folder: string) {
  const { tokenizer, chatTemplate, config } = await loadModel(folder);
  assert.ok(chatTemplate);
  const chat = new Chat(chatTemplate, tokenizer, config.model_type);
  const vocabulary = tokenizer.vocabulary(config.vocab_size);
  const endTokens = [2, 0];
  const grammars = new Grammars({ vocabulary, endTokens });
  const prompt = chat.prompt([{ role: "user", content: "Hi" }], { tools: TOOLS });
  const accepts = async (form: TextForm, text: string) => {
    const ids = tokenizer.encode(text, { addSpecialTokens: false });
    using guide = await grammars.guide(form, "tools");
    const made: number[] = [];
    for (const id of [...ids, endTokens[0]]) {
      const mask = guide.allowedTokens(made);
      assert.ok(mask);
      if (!(mask[id >> 5] >>> (id & 31) & 1)) return tokenizer.decode(made) || "(nothing)";
      made.push(id);
    }
    return true;
  };
  return { chat, prompt, accepts, idOf: (mark: string) => vocabulary.added.get(mark) };
}

/** A mark within a call. */
const MARK = /<[|｜][^>]*>|\[[A-Z_]+\]|<\/?[\w:]+>/;

async function checkNotation(name: string, { prompt, accepts, idOf }: OpenChat): Promise<void> {
  const [begin, [weather, now = ""], between, end] = CALLS[name];
  const one = begin + weather + end;
  const two = begin + weather + between + now + end;
  const thought = THOUGHTS[name] ?? "<think>\nhm {x}\n</think>\n\n";
  const isLone = now === "";
  const spelled = one.replace(MARK, (mark) => `\u0001<${idOf(mark) ?? 0}>`);
  const check = async (demand: AnswerDemand, text: string, expected: boolean) => {
    const got = await accepts(prompt.formOf(demand), text);
    assert.equal(got === true, expected, `${JSON.stringify(demand)} of ${text}: ${got}`);
  };
  const many = { calls: { several: true } };
  const single = { calls: { several: false } };
  await check(many, one, true);
  await check(many, spelled, spelled === one);
  await check(many, thought + one, true);
  if (!isLone) await check(many, two, true);
  if (!isLone) await check(single, two, false);
  await check(many, "Sure. " + one, false);
  await check(many, begin + weather.replace("weather", "whether") + end, false);
  await check(many, begin + weather.replace("2", "two") + end, false);
  await check(single, "", false);
  await check({ calls: { several: false, name: "now" } }, one, false);
  if (!isLone) await check({ calls: { several: false, name: "now" } }, begin + now + end, true);
  const value = name === "harmony" ? '<|channel|>final<|message|>{"a": 1}' : '{"a": 1}';
  await check({ json: SCHEMA }, value, true);
  await check({ json: SCHEMA }, thought + value, true);
  await check({ json: SCHEMA }, one, false);
  await check({ json: SCHEMA, ...many }, value, true);
  await check({ json: SCHEMA, ...many }, one, true);
  const { answer } = prompt;
  assert.ok(answer);
  const { toolCalls = [], text } = answer.parser.push(isLone ? one + "<|call|>" : two);
  const rest = answer.parser.end().toolCalls ?? [];
  assert.deepEqual([...toolCalls, ...rest], [
    { name: "weather", arguments: { city: "B<r>", days: 2 } },
    ...(isLone ? [] : [{ name: "now", arguments: {} }]),
  ]);
  assert.equal(text ?? "", "");
}

Deno.test("a call is not forced where its form is not known, nor where a text is bounded", async () => {
  const root = await Deno.makeTempDir({ prefix: "mixline_forms_" });
  try {
    const plain = { name: "plain", format: "thinking", sign: "</think>" };
    const { prompt } = await openChat(await makeNotationModel(root, plain));
    assert.throws(() => prompt.formOf({ calls: { several: true } }), {
      code: "request/tool-choice",
      message: /expected a model whose calls have a known form .* got one .* "thinking"/,
    });
    const glm = NOTATIONS.find(({ name }) => name === "glm");
    assert.ok(glm);
    const { chat } = await openChat(await makeNotationModel(root, glm));
    const parameters = { type: "object", properties: { zip: { type: "string", pattern: "\\d+" } } };
    const tools = [{ type: "function", function: { name: "f", parameters } }];
    const bounded = chat.prompt([{ role: "user", content: "Hi" }], { tools });
    assert.throws(() => bounded.formOf({ calls: { several: true } }), /"zip" without "pattern"/);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});

Deno.test("untilFirstCall() ends a generation with its first call, and leaves out others", async () => {
  const call = (name: string) => ({ name, arguments: {} });
  let ended = false;
  async function* pieces(): AsyncGenerator<Piece> {
    try {
      yield { token: 1, text: "a" };
      yield { token: 2, text: "", toolCalls: [call("f"), call("g")] };
      yield { token: 3, text: "", toolCalls: [call("h")] };
    } finally {
      ended = true;
    }
  }
  const got = await Array.fromAsync(untilFirstCall(pieces()));
  assert.deepEqual(got, [
    { token: 1, text: "a" },
    { token: 2, text: "", toolCalls: [call("f")] },
  ]);
  assert.ok(ended);
});
