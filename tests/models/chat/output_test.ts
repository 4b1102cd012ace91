/** Answers split into text, reasoning and calls of tools. */

import assert from "node:assert/strict";
import fc from "../../../deps/fast_check.ts";
import { findOutputFormat, OUTPUT_FORMATS, type OutputStart } from "../../../models/mod.ts";

interface Answer {
  text: string;
  reasoning: string;
  toolCalls: unknown[];
}

function split(name: string, pieces: readonly string[], start: Partial<OutputStart> = {}): Answer {
  const format = OUTPUT_FORMATS.find((each) => each.name === name);
  assert.ok(format);
  const parser = format.open({ prompt: "", ...start });
  const answer: Answer = { text: "", reasoning: "", toolCalls: [] };
  for (const part of [...pieces.map((piece) => parser.push(piece)), parser.end()]) {
    answer.text += part.text ?? "";
    answer.reasoning += part.reasoning ?? "";
    answer.toolCalls.push(...part.toolCalls ?? []);
  }
  return answer;
}

const answer = (text: string, reasoning = "", ...toolCalls: unknown[]) => ({
  text,
  reasoning,
  toolCalls,
});
const call = (name: string, args: unknown) => ({ name, arguments: args });
const D = (name: string) => `<｜tool▁${name}｜>`;

/** Format, answer, parts, and how the prompt ends. */
const CASES: readonly [string, string, Answer, Partial<OutputStart>?][] = [
  ["thinking", "<think>\nOne.\nTwo.\n</think>\n\nYes.\n", answer("Yes.\n", "One.\nTwo.")],
  ["thinking", "hm\n</think>\n\nYes", answer("Yes", "hm"), {
    prompt: "<|im_start|>assistant\n<think>\n",
  }],
  ["thinking", "no end", answer("", "no end"), { prompt: "<think>" }],
  ["thinking", "Plain < text </ok>", answer("Plain < text </ok>")],
  [
    "qwen",
    'Let me see.\n<tool_call>\n{"name": "f", "arguments": {"a": [1, null]}}\n</tool_call>\n<tool_call>\n{"name": "g", "arguments": {}}\n</tool_call>',
    answer("Let me see.", "", call("f", { a: [1, null] }), call("g", {})),
  ],
  [
    "qwen",
    "<think>x</think>\n<tool_call>\n<function=run>\n<parameter=code>\nif a:\n  b\n</parameter>\n<parameter=n>\n5\n</parameter>\n</function>\n</tool_call>",
    answer("", "x", call("run", { code: "if a:\n  b", n: 5 })),
  ],
  [
    "qwen",
    "<tool_call>\n<function=f>\n<parameter=zip>\n01234\n</parameter>\n<parameter=on>\nTrue\n</parameter>\n</function>\n</tool_call>",
    answer("", "", call("f", { zip: "01234", on: true })),
    {
      tools: [{
        type: "function",
        function: { name: "f", parameters: { properties: { zip: { type: "string" } } } },
      }],
    },
  ],
  ["qwen", "a\n<tool_call>{broken</tool_call> b", answer("a\n<tool_call>{broken</tool_call> b")],
  ["qwen", 'a <tool_call>{"name": "f", "arguments": {}}', answer("a", "", call("f", {}))],
  ["qwen", 'a <tool_call>{"name": "f", "argu', answer('a <tool_call>{"name": "f", "argu')],
  [
    "glm",
    "<think>t</think>\n<tool_call>f\n<arg_key>city</arg_key>\n<arg_value>Bern</arg_value>\n<arg_key>n</arg_key>\n<arg_value>2</arg_value>\n</tool_call>",
    answer("", "t", call("f", { city: "Bern", n: 2 })),
  ],
  ["glm", "<tool_call>no name here</tool_call>", answer("<tool_call>no name here</tool_call>")],
  [
    "deepseek",
    `Sure.${D("calls▁begin")}${D("call▁begin")}function${D("sep")}f\n\`\`\`json\n{"a": 1}\n\`\`\`${
      D("call▁end")
    }\n${D("call▁begin")}function${D("sep")}g\n\`\`\`json\n{}\n\`\`\`${D("call▁end")}${
      D("calls▁end")
    }`,
    answer("Sure.", "", call("f", { a: 1 }), call("g", {})),
  ],
  [
    "deepseek",
    `t</think>ok${D("calls▁begin")}${D("call▁begin")}f${D("sep")}{"a": "b"}${D("call▁end")}${
      D("calls▁end")
    }`,
    answer("ok", "t", call("f", { a: "b" })),
    { prompt: "<｜Assistant｜><think>" },
  ],
  [
    "deepseek",
    `x${D("calls▁begin")}nothing${D("calls▁end")}`,
    answer(`x${D("calls▁begin")}nothing${D("calls▁end")}`),
  ],
  [
    "mistral",
    '[TOOL_CALLS][{"name": "f", "arguments": {"a": 1}, "id": "x"}]',
    answer("", "", call("f", { a: 1 })),
  ],
  [
    "mistral",
    'Hm. [TOOL_CALLS]f[ARGS]{"a": 1}[TOOL_CALLS]g[ARGS]{}',
    answer("Hm.", "", call("f", { a: 1 }), call("g", {})),
  ],
  ["mistral", "[THINK]t[/THINK]A", answer("A", "t")],
  ["mistral", "[TOOL_CALLS]nonsense", answer("[TOOL_CALLS]nonsense")],
  [
    "kimi",
    'Ok.<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{"a": 1}<|tool_call_end|><|tool_calls_section_end|>',
    answer("Ok.", "", call("f", { a: 1 })),
  ],
  [
    "minimax",
    't</think>\n<minimax:tool_call>\n<invoke name="f">\n<parameter name="a">5</parameter>\n<parameter name="b">x y</parameter>\n</invoke>\n</minimax:tool_call>',
    answer("", "t", call("f", { a: 5, b: "x y" })),
    { prompt: "]~b]ai\n<think>\n" },
  ],
  [
    "harmony",
    "<|channel|>analysis<|message|>Think.<|end|><|start|>assistant<|channel|>final<|message|>Answer.<|return|>",
    answer("Answer.", "Think."),
  ],
  [
    "harmony",
    '<|channel|>analysis<|message|>A<|end|><|start|>assistant<|channel|>commentary to=functions.f <|constrain|>json<|message|>{"a":1}<|call|>',
    answer("", "A", call("f", { a: 1 })),
  ],
  [
    "harmony",
    '<|start|>assistant to=functions.f<|channel|>commentary json<|message|>{"a":1}',
    answer("", "", call("f", { a: 1 })),
  ],
  [
    "harmony",
    "<|channel|>analysis<|message|>A<|end|><|start|>assistant<|channel|>analysis<|message|>B<|end|><|start|>assistant<|channel|>commentary<|message|>Plan<|end|><|start|>assistant<|channel|>final<|message|>Done",
    answer("Plan\n\nDone", "A\n\nB"),
  ],
  ["harmony", "No channel at all", answer("No channel at all")],
  ["harmony", "<|channel|>final", answer("<|channel|>final")],
  [
    "harmony",
    "<|channel|>commentary to=functions.f<|message|>not json<|call|>",
    answer("<|channel|>commentary to=functions.f<|message|>not json<|call|>"),
  ],
];

for (const [name, text, expected, start] of CASES) {
  Deno.test(`${name} splits ${JSON.stringify(text.slice(0, 60))}`, () => {
    assert.deepEqual(split(name, [text], start), expected);
    assert.deepEqual(split(name, [...text], start), expected);
  });
}

for (const { name, marks } of OUTPUT_FORMATS) {
  const word = fc.oneof(
    fc.constantFrom(...marks),
    fc.constantFrom(...marks.map((mark) => mark.slice(0, -1))),
    fc.constantFrom(
      "a",
      " ",
      "\n",
      "<",
      "[",
      "{",
      "to=f",
      "assistant",
      "final",
      '{"name": "f", "arguments": {}}',
      '{"a": 1}',
      "word",
    ),
  );
  const prompts = ["", "<think>\n", "[THINK]"];

  Deno.test(`${name} gives the same however the answer is cut`, () => {
    fc.assert(
      fc.property(
        fc.array(word, { maxLength: 12 }),
        fc.array(fc.nat(8), { minLength: 1, maxLength: 20 }),
        fc.constantFrom(...prompts),
        (words, sizes, prompt) => {
          const text = words.join("");
          const pieces: string[] = [];
          for (let at = 0, i = 0; at < text.length; i++) {
            const size = sizes[i % sizes.length] + 1;
            pieces.push(text.slice(at, at += size));
          }
          assert.deepEqual(split(name, pieces, { prompt }), split(name, [text], { prompt }));
        },
      ),
      { numRuns: 1000 },
    );
  });

  Deno.test(`${name} loses no word`, () => {
    const letters = fc.stringMatching(/^[0-9]{1,3}$/);
    fc.assert(
      fc.property(
        fc.array(fc.oneof(fc.constantFrom(...marks), letters), { maxLength: 10 }),
        (words) => {
          const parts = split(name, [words.join("")]);
          const all = parts.text + parts.reasoning + JSON.stringify(parts.toolCalls);
          const count = (text: string) => text.replaceAll(/[^0-9]/g, "").length;
          const said = words.filter((each) => !marks.includes(each)).join("");
          // Names of channels and recipients are no text; these words are none of them after a mark.
          if (name === "harmony" && /<\|(channel|constrain|start)\|>/.test(words.join(""))) return;
          assert.equal(count(all), count(said));
        },
      ),
      { numRuns: 1000 },
    );
  });
}

Deno.test("findOutputFormat() recognizes templates by their marks", () => {
  const of = (template: string, type = "") => findOutputFormat(template, type)?.name;
  assert.equal(of("{{ '<|start|>assistant<|channel|>' }}"), "harmony");
  assert.equal(of("", "gpt_oss"), "harmony");
  assert.equal(of("<tool_call>\n{{ x | tojson }}</tool_call>"), "qwen");
  assert.equal(of("<tool_call>{{ name }}<arg_key>"), "glm");
  assert.equal(of("<think></think>" + D("calls▁begin")), "deepseek");
  assert.equal(of("[TOOL_CALLS]"), "mistral");
  assert.equal(of("<think><|tool_calls_section_begin|>"), "kimi");
  assert.equal(of("'<minimax:tool_call>'"), "minimax");
  assert.equal(of("{% if '</think>' in content %}"), "thinking");
  assert.equal(of("{{ messages }}", "qwen3_moe"), undefined);
});
