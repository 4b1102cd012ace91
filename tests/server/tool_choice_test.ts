/**
 * Forced calls of tools as OpenAI's client sees them: a real engine with the marks of each output
 * format, whose model knows nothing of tools.
 *
 * @module
 */

import assert from "node:assert/strict";
import OpenAI from "../../deps/openai.ts";
import { pipeline } from "../../mod.ts";
import { makeNotationModel, type Notation, NOTATIONS } from "../support/format_models.ts";
import { slowTest } from "../support/quick.ts";
import { serveScripted, serveStoryteller, type TestServer } from "../support/server.ts";

const CITIES = ["Bern", "Oslo"];

const TOOLS = [
  {
    type: "function" as const,
    function: {
      name: "weather",
      parameters: {
        type: "object",
        properties: {
          city: { type: "string", enum: CITIES },
          days: { type: "integer", minimum: 1, maximum: 9 },
        },
        required: ["city", "days"],
        additionalProperties: false,
      },
    },
  },
  { type: "function" as const, function: { name: "now" } },
];

const messages = [{ role: "user" as const, content: "Once upon a time" }];

/** What prompts end with when thinking is off. */
const CLOSED_REASONING: Readonly<Record<string, string>> = {
  qwen: "<think>\n\n</think>\n\n",
  glm: "<think></think>\n",
  deepseek: "</think>",
  mistral: "[THINK][/THINK]",
};

/** One notation of each family of which models are common. */
const TESTED = ["qwen", "mistral", "harmony", "deepseek", "glm"];

for (const notation of NOTATIONS.filter(({ name }) => TESTED.includes(name))) {
  slowTest(
    `the openai client forces calls of a model that writes as ${notation.name} does`,
    async () => {
      await using opened = await serveNotation(notation);
      const { client } = opened;
      const model = (await client.models.list()).data[0].id;
      const request = {
        model,
        messages,
        tools: TOOLS,
        parallel_tool_calls: false,
        max_tokens: 200,
        seed: 3,
        // Reasoning of a storyteller would be a whole story.
        logit_bias: await likely(opened, "<|end|>"),
      };
      const named = { type: "function" as const, function: { name: "weather" } };
      for (const tool_choice of ["required" as const, named]) {
        const { choices: [choice] } = await client.chat.completions.create({
          ...request,
          tool_choice,
        });
        const [call, ...rest] = choice.message.tool_calls ?? [];
        assert.ok(call?.type === "function" && rest.length === 0, JSON.stringify(choice));
        assert.equal(choice.finish_reason, "tool_calls");
        assert.equal(choice.message.content, null);
        checkCall(call.function, tool_choice === "required" ? ["weather", "now"] : ["weather"]);
        const streamed = await client.chat.completions.stream({ ...request, tool_choice })
          .finalChatCompletion();
        const [again] = streamed.choices[0].message.tool_calls ?? [];
        assert.ok(again?.type === "function");
        assert.deepEqual(again.function.arguments, call.function.arguments);
        assert.equal(streamed.choices[0].finish_reason, "tool_calls");
      }
      // The prompts of the others have closed the reasoning before it begins.
      if (notation.name !== "harmony") await checkResponse(opened, model);
    },
  );
}

Deno.test("calls that cannot be forced are refused, by the field that asks for them", async () => {
  await using opened = await serveScripted();
  const { client } = opened;
  const refused = async (fields: object, expected: RegExp) => {
    const request = { model: "scripted", messages, ...fields };
    await assert.rejects(
      client.chat.completions.create(request as OpenAI.ChatCompletionCreateParams),
      (error) =>
        error instanceof OpenAI.BadRequestError &&
        error.param?.startsWith("tool_choice") === true &&
        expected.test(error.message),
      JSON.stringify(fields),
    );
  };
  await refused({ tool_choice: "required" }, /expected tools in the request, got none/);
  const other = { type: "function", function: { name: "when" } };
  await refused({ tools: TOOLS, tool_choice: other }, /expected "weather" or "now", got "when"/);
  await refused({ tools: TOOLS, tool_choice: "any" }, /expected "none", "auto", "required" or/);
  const allowed = { type: "allowed_tools", allowed_tools: { mode: "auto", tools: [] } };
  await refused({ tools: TOOLS, tool_choice: allowed }, /other choices are not supported/);
  await assert.rejects(
    client.responses.create({ model: "scripted", input: "say x", tool_choice: "required" }),
    (error) => error instanceof OpenAI.BadRequestError && error.param === "tool_choice",
  );
});

slowTest("a model that calls no tools in a known form is not forced to", async () => {
  await using opened = await serveNotation({ name: "", format: "thinking", sign: "</think>" });
  const model = (await opened.client.models.list()).data[0].id;
  await assert.rejects(
    opened.client.chat.completions.create({
      ...{ model, messages, tools: TOOLS, tool_choice: "required" },
    }),
    /expected a model whose calls have a known form .* "thinking"/,
  );
  assert.equal(opened.server.service.supervisor.restarts, 0);
});

async function serveNotation(notation: Notation): Promise<TestServer> {
  const root = await Deno.makeTempDir({ prefix: "mixline_notation_" });
  const closed = CLOSED_REASONING[notation.format];
  const model = await makeNotationModel(root, { ...notation, ...(closed && { opening: closed }) });
  const opened = await serveStoryteller({}, {}, pipeline().settings({ maxBatchSize: 2 }), model);
  return {
    ...opened,
    async [Symbol.asyncDispose]() {
      await opened[Symbol.asyncDispose]();
      await Deno.remove(root, { recursive: true });
    },
  };
}

async function checkResponse({ client }: TestServer, model: string): Promise<void> {
  const response = await client.responses.create({
    model,
    input: "Once upon a time",
    tools: TOOLS.map(({ type, function: { name, parameters = null } }) => ({
      ...{ type, name, parameters, strict: false },
    })),
    tool_choice: { type: "function", name: "now" },
    max_output_tokens: 400,
  });
  const [item] = response.output;
  assert.ok(item?.type === "function_call", JSON.stringify(response.output));
  assert.deepEqual([item.name, item.arguments], ["now", "{}"]);
}

/** Biases that make a token come where it may, if the tokenizer has it. */
async function likely({ server }: TestServer, mark: string) {
  const ids = await server.service.supervisor.engine.encode(mark);
  return ids.length === 1 ? { [ids[0]]: 100 } : {};
}

function checkCall(call: { name: string; arguments: string }, names: readonly string[]): void {
  assert.ok(names.includes(call.name), call.name);
  const given = JSON.parse(call.arguments);
  if (call.name === "now") return assert.deepEqual(given, {});
  assert.deepEqual(Object.keys(given), ["city", "days"]);
  assert.ok(CITIES.includes(given.city) && given.days >= 1 && given.days <= 9);
}
