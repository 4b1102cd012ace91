/** Chat templates against what Jinja2 makes of them, and within their bounds. */

import assert from "node:assert/strict";
import fc from "../../../deps/fast_check.ts";
import { CheckpointError, RequestError } from "../../../graph/mod.ts";
import { type ChatMessage, ChatTemplate } from "../../../models/mod.ts";
import { cpuTimer } from "../../support/cpu_time.ts";
import { slowTest } from "../../support/quick.ts";

const USER = { role: "user", content: "Hi" };

function render(source: string, variables: Record<string, unknown> = {}): string {
  return new ChatTemplate(source).render([USER], { variables });
}

/** Template, variables, and what Jinja2 3.1 with transformers' settings prints. */
const CASES: readonly [string, Record<string, unknown>, string][] = [
  ["{{ x }}|{{ y }}|{{ z }}", { x: null, y: true }, "None|True|"],
  [
    "{{ x | string }} {{ y | string }} {{ z | string }}",
    { x: null, y: false, z: 1.5 },
    "None False 1.5",
  ],
  ["{{ x }}", { x: ["a", null, true, { b: "it's" }] }, `['a', None, True, {'b': "it's"}]`],
  ["{{ x | tojson }}", { x: { a: [1, null, true, "é<"] } }, '{"a": [1, null, true, "é<"]}'],
  ["{{ x ~ 1 ~ none }}", { x: true }, "True1None"],
  ["{{ '=' * 3 }}{{ [1] * 2 }}", {}, "===[1, 1]"],
  [
    "{{ 0 == '' }}{{ none == u }}{{ 1 == true }}{{ [1] == [1] }}{{ '1' == 1 }}",
    {},
    "FalseFalseTrueTrueFalse",
  ],
  [
    "{{ -1 % 3 }}{{ 'a' < 'b' }}{{ none in [none] }}{{ 'k' in x }}",
    { x: { k: 0 } },
    "2TrueTrueTrue",
  ],
  ["{{ ' \n a\n'.strip('\n') }}|{{ 'a \n'.rstrip('\n') }}|", {}, " \n a|a |"],
  ["{{ 'a-b-c'.replace('-', '+', 1) }}{{ ','.join(['x', 'y']) }}", {}, "a+b-cx,y"],
  ["{{ 'a\nb'.splitlines() }}{{ 'xay'.partition('a')[2] }}", {}, "['a', 'b']y"],
  [
    "{% for k, v in x.items() %}{{ k }}={{ v }};{% endfor %}",
    { x: { items: 1, keys: 2 } },
    "items=1;keys=2;",
  ],
  ["{% for t in tools %}{{ t }}{% else %}none{% endfor %}", {}, "none"],
  ["{% for c in 'abc' if c != 'b' %}{{ loop.index }}{{ c }}{% endfor %}", {}, "1a2c"],
  ["{% for i in range(2) %}{{ x }}{% set x = i %}{% endfor %}{{ x }}", {}, ""],
  [
    "{% set n = namespace(x=0) %}{% for i in range(4) %}{% if i == 2 %}{% break %}{% endif %}{% set n.x = n.x + 1 %}{% endfor %}{{ n.x }}",
    {},
    "2",
  ],
  [
    "{% macro f(a, b=2) %}{{ a }}{{ b }}{{ kwargs.c }}{% endmacro %}{{ f(1, c=none) }}",
    {},
    "12None",
  ],
  ["{% generation %}a{% endgeneration %}b", {}, "ab"],
  ["{% filter upper %}a{{ 1 }}{% endfilter %}", {}, "A1"],
  ["{{ u | default('d') }}{{ '' | d('e', true) }}{{ u | length }}", {}, "de0"],
  ["{{ [3, 1] | sort | join('<') }}{{ x | map('upper') | list }}", { x: ["a"] }, "1<3['A']"],
  [
    "{{ 'a\n\nb' | indent(2) }}{{ messages | selectattr('role', 'equalto', 'user') | list | length }}",
    {},
    "a\n\n  b1",
  ],
  [
    "{{ x.a is defined }}{{ x is mapping }}{{ 'a' is string }}{{ none is none }}",
    { x: {} },
    "FalseTrueTrueTrue",
  ],
  [
    "{{ 'one\\\n two' }}{{ '\\d\\/' }}{{ 'a\\'b' }}{{ {'k': {'v': '}}'}}['k'].v }}",
    {},
    "one two\\d\\/a'b}}",
  ],
  ["{# '#}{{ 'text' | selectattr('type') | list | length }}", {}, "0"],
  ["line\r\n{% if true %}\r\nyes\r\n{% endif %}\r\nend", {}, "line\nyes\nend"],
];

for (const [source, variables, expected] of CASES) {
  Deno.test(`render() prints what Jinja2 does of ${JSON.stringify(source)}`, () => {
    assert.equal(render(source, variables), expected);
  });
}

Deno.test("strftime_now() is English and knows Python's codes", () => {
  const text = render("{{ strftime_now('%d %B %Y|%b|%-d|%H:%M') }}");
  const months =
    "January|February|March|April|May|June|July|August|September|October|November|December";
  assert.match(
    text,
    new RegExp(`^\\d\\d (${months}) \\d{4}\\|[A-Z][a-z]{2}\\|\\d{1,2}\\|\\d\\d:\\d\\d$`),
  );
});

Deno.test("render() refuses what Python does, rather than print something else", () => {
  const sources = [
    "{{ u.a }}",
    "{{ x.a.b }}",
    "{{ 'a' + 1 }}",
    "{{ x.a() }}",
    "{{ 1 in 'a' }}",
    "{{ none | length }}",
  ];
  for (const source of sources) {
    assert.throws(() => render(source, { x: {} }), RequestError, source);
  }
});

Deno.test("render() gives what Jinja2 does of chats with tools, in the manner of three families", async () => {
  const golden = JSON.parse(
    await Deno.readTextFile(new URL("../../golden/chats/chats.json", import.meta.url)),
  );
  assert.equal(golden.rows.length, 66);
  for (const { template, chat, add_generation_prompt, rendered } of golden.rows) {
    const { messages, variables } = golden.chats[chat];
    const tokens = { bos_token: "<s>", eos_token: "</s>" };
    const made = new ChatTemplate(golden.templates[template], tokens)
      .render(messages, { addGenerationPrompt: add_generation_prompt, variables });
    assert.equal(made, rendered, `${template}: ${chat}`);
  }
});

const HOSTILE: readonly [string, string][] = [
  ["a long loop", "{% for i in range(100000000) %}{% endfor %}"],
  ["a range that no memory holds", "{% for i in range(10000000000) %}{% endfor %}"],
  [
    "nested loops",
    "{% for i in range(3000) %}{% for j in range(3000) %}{% for k in range(3000) %}{% endfor %}{% endfor %}{% endfor %}",
  ],
  [
    "a text that doubles",
    "{% set n = namespace(s='ab') %}{% for i in range(99) %}{% set n.s = n.s ~ n.s %}{% endfor %}{{ n.s }}",
  ],
  ["a text that is replaced by itself", "{% set s = 'a' * 100000 %}{{ s.replace('a', s) }}"],
  ["a text repeated", "{{ 'abcd' * 1000000000 }}"],
  ["an indent without end", "{{ 'a\nb' | indent(1000000000) }}"],
  ["a separator that multiplies", "{% set s = 'a' * 100000 %}{{ range(100000) | join(s) }}"],
  [
    "lists in lists",
    "{% set n = namespace(a=['x']) %}{% for i in range(60) %}{% set n.a = [n.a, n.a] %}{% endfor %}{{ n.a }}",
  ],
  [
    "a list that becomes JSON",
    "{% set n = namespace(a=['x']) %}{% for i in range(60) %}{% set n.a = [n.a, n.a] %}{% endfor %}{{ n.a | tojson }}",
  ],
  ["a macro that calls itself", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"],
  [
    "a macro that calls itself twice",
    "{% macro f(n) %}{% if n > 0 %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(40) }}",
  ],
  ["a value within itself", "{% set n = namespace() %}{% set n.a = n %}{{ n.a | tojson }}"],
];

/** Those that reach their bound after most of a second. */
const SLOW = [
  "nested loops",
  "lists in lists",
  "a list that becomes JSON",
  "a macro that calls itself twice",
];

for (const [name, source] of HOSTILE) {
  const test = SLOW.includes(name) ? slowTest : Deno.test;
  test(`render() stops ${name}`, () => {
    const computed = cpuTimer();
    assert.throws(
      () => render(source),
      (error) => error instanceof RequestError && error.code === "request/chat",
    );
    // A second at most; without the bound these take minutes or all memory.
    assert.ok(computed() < 20_000);
  });
}

Deno.test("render() has room for a long chat", () => {
  const source =
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | trim }}<|im_end|>\n{% endfor %}";
  const messages = Array.from(
    { length: 2_000 },
    () => ({ role: "user", content: "word ".repeat(200) }),
  );
  assert.ok(new ChatTemplate(source).render(messages).length > 2_000 * 999);
});

Deno.test("render() reaches no property of JavaScript's", () => {
  const names = ["constructor", "__proto__", "prototype", "toString", "Deno", "globalThis", "eval"];
  fc.assert(fc.property(
    fc.constantFrom("messages", "'a'", "raise_exception", "x", "range", "namespace", "1", "none"),
    fc.array(fc.constantFrom(...names), { minLength: 1, maxLength: 3 }),
    fc.boolean(),
    (start, path, dotted) => {
      const expression = path.reduce(
        (text, name) => dotted ? `${text}.${name}` : `${text}['${name}']`,
        start,
      );
      try {
        assert.equal(render(`{{ ${expression} }}`, { x: { a: 1 } }), "");
      } catch (error) {
        assert.ok(error instanceof RequestError || error instanceof CheckpointError);
      }
    },
  ));
  assert.equal(render("{{ Deno }}{{ globalThis }}{{ process }}"), "");
});

Deno.test("render() joins text parts and refuses other kinds by name", () => {
  const template = new ChatTemplate("{{ messages[0].content }}");
  const text = (content: unknown) => template.render([{ role: "user", content }]);
  assert.equal(text([{ type: "text", text: "Hel" }, { type: "text", text: "lo" }]), "Hello");
  assert.equal(text([]), "");
  assert.throws(() => text([{ type: "image_url", image_url: { url: "x" } }]), /"image_url"/);
  assert.throws(
    () => text(5),
    /message 0's content of the chat: expected a text or a list of parts/,
  );
  const broken = [undefined, [], [null], [{ content: "x" }], [{ role: 5, content: "x" }]];
  for (const messages of broken) {
    assert.throws(
      () => template.render(messages as ChatMessage[]),
      (error) => error instanceof RequestError && error.code === "request/messages",
    );
  }
});

Deno.test("render() gives templates the arguments of tool calls in the form they take", () => {
  const call = { type: "function", function: { name: "f", arguments: '{"a": null}' } };
  const messages = [{ role: "assistant", content: null, tool_calls: [call] }];
  const read = "{% set c = messages[0].tool_calls[0].function %}";
  const mapping = new ChatTemplate(
    `${read}{% for k, v in c.arguments | items %}{{ k }}={{ v }}{% endfor %}`,
  );
  assert.equal(mapping.render(messages), "a=None");
  const pasted = new ChatTemplate(`${read}{{ c.name + c.arguments }}`);
  assert.equal(pasted.render(messages), 'f{"a":null}');
  const refusing = new ChatTemplate("{{ raise_exception('no tools here') }}");
  assert.throws(() => refusing.render(messages), /no tools here/);
});

Deno.test("variablesOf() takes what the template reads and refuses the rest by name", () => {
  const template = new ChatTemplate(
    "{% if tools %}{{ tools }}{% endif %}{{ enable_thinking }}{{ documents }}",
  );
  assert.deepEqual(
    template.variablesOf({ tools: [1], thinking: false, templateVariables: { documents: [] } }),
    {
      tools: [1],
      enable_thinking: false,
      documents: [],
    },
  );
  assert.deepEqual(template.variablesOf({ tools: [] }), {});
  const plain = new ChatTemplate("{{ messages[0].tools }}{{ x | enable_thinking }}");
  const code = (error: unknown) =>
    error instanceof RequestError && error.code === "request/template-variable";
  assert.throws(() => plain.variablesOf({ tools: [1] }), code);
  assert.throws(() => plain.variablesOf({ thinking: true }), code);
  assert.throws(() => plain.variablesOf({ templateVariables: { messages: [] } }), code);
  assert.throws(
    () => template.variablesOf({ templateVariables: { enable_thinkin: true } }),
    (error) =>
      code(error) && String(Reflect.get(error as object, "hint")).includes("enable_thinking"),
  );
});

Deno.test("ChatTemplate.open() keeps a template that cannot be read, and its reason", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${folder}/chat_template.jinja`, "{% for %}");
    const template = await ChatTemplate.open(folder, {});
    assert.ok(template?.unavailable?.message.includes(folder));
    assert.throws(() => template?.render([USER]), template?.unavailable);
    await Deno.writeTextFile(`${folder}/chat_template.jinja`, " ".repeat(50_000));
    assert.match(
      (await ChatTemplate.open(folder, {}))?.unavailable?.message ?? "",
      /run of more than/,
    );
    await Deno.remove(`${folder}/chat_template.jinja`);
    await Deno.writeTextFile(`${folder}/chat_template.json`, '{"chat_template": "json"}');
    assert.equal((await ChatTemplate.open(folder, {}))?.render([USER]), "json");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("a template for tools renders requests with tools", () => {
  const named = [{ name: "default", template: "chat" }, {
    name: "tool_use",
    template: "{{ tools[0] }}",
  }];
  const template = ChatTemplate.of(named, {}, "config");
  assert.equal(template?.render([USER]), "chat");
  assert.equal(template?.render([USER], { variables: { tools: ["f"] } }), "f");
  assert.ok(template?.readsTools);
});
