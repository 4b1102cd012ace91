/**
 * The server with a real engine: the bundled model on the CPU executor.
 *
 * @module
 */

import assert from "node:assert/strict";
import { serveStoryteller } from "../support/server.ts";
import { slowTest } from "../support/quick.ts";

const model = "storyteller";
const PROMPT = "Once upon a time";

/** A schema with a bound on every text, so that answers of a model that knows no JSON end. */
const SCHEMA = {
  type: "object",
  properties: {
    name: { type: "string", maxLength: 12 },
    age: { type: "integer", minimum: 1, maximum: 99 },
    animal: { enum: ["cat", "fox", "owl"] },
  },
  required: ["name", "age", "animal"],
  additionalProperties: false,
};

slowTest("a served storyteller", async (t) => {
  await using opened = await serveStoryteller();
  const { client, url } = opened;
  const complete = async (prompt: string, seed?: number) => {
    const { choices } = await client.completions.create({
      model,
      prompt,
      max_tokens: 24,
      temperature: seed === undefined ? 0 : 1,
      ...(seed !== undefined && { seed }),
    });
    return choices[0].text;
  };

  await t.step("continues a text alone as beside seven others, begun alike or not", async () => {
    const alone = await complete(PROMPT);
    const others = [
      "The old clock",
      "A small dog ran",
      "Once upon a",
      "Lily had a red ball",
      PROMPT,
    ];
    const all = [PROMPT, ...others, "It was a cold", "One day, Tim"];
    const texts = await Promise.all(all.map((prompt) => complete(prompt)));
    assert.equal(texts[0], alone);
    assert.equal(texts[5], alone);
    assert.equal(await complete(PROMPT), alone);
  });

  await t.step("tells the experts of its last step", async () => {
    const { layers }: { layers: { layer: string; counts: number[] }[] } = await (await fetch(
      `${url}/experts`,
    )).json();
    assert.deepEqual(layers.map(({ layer }) => layer), [
      ...[0, 1, 2, 3, 4].map((layer) => `model.layers.${layer}.mlp`),
    ]);
    for (const { counts } of layers) {
      assert.equal(counts.length, 16);
      assert.equal(counts.reduce((a, b) => a + b, 0) % 4, 0, "four experts for each token");
    }
  });

  await t.step("repeats a text with its seed", async () => {
    assert.equal(await complete(PROMPT, 7), await complete(PROMPT, 7));
    assert.notEqual(await complete(PROMPT, 7), await complete(PROMPT, 8));
  });

  await t.step("tells how many tokens of a prompt the cache had", async () => {
    const cached = async (prompt: string, n?: number) => {
      const { usage } = await client.completions.create({ model, prompt, n, max_tokens: 1 });
      return usage?.prompt_tokens_details?.cached_tokens;
    };
    const long = "A dog and a cat lived in a house by the sea. ".repeat(4);
    // The choices share the pages that the first one computes; the next request finds them.
    assert.equal(await cached(long, 3), 0);
    const found = await cached(long) ?? 0;
    assert.ok(found >= 32 && found % 16 === 0, `${found}`);
    const { usage } = await client.responses.create({ model, input: long, max_output_tokens: 1 });
    assert.equal(usage?.input_tokens_details.cached_tokens, 0);
    const again = await client.responses.create({ model, input: long, max_output_tokens: 1 });
    assert.ok(again.usage && again.usage.input_tokens_details.cached_tokens >= 32);
  });

  await t.step("stops at a text, which is left out", async () => {
    const { choices: [{ text, finish_reason }] } = await client.completions.create({
      model,
      prompt: PROMPT,
      temperature: 0,
      max_tokens: 60,
      stop: ["."],
    });
    assert.equal(finish_reason, "stop");
    assert.ok(text.length > 0 && !text.includes("."));
  });

  await t.step("gives the bytes of tokens that are a part of a character, or special", async () => {
    const drawn = async (token: number, max_tokens: number) => {
      const { choices: [{ logprobs }] } = await client.chat.completions.create({
        model,
        messages: [{ role: "user", content: PROMPT }],
        logprobs: true,
        max_tokens,
        temperature: 0,
        logit_bias: { [token]: 100 },
      });
      return (logprobs?.content ?? []).map(({ token, bytes }) => ({ token, bytes }));
    };
    // The last byte of "é" in UTF-8, and the end of an answer.
    const half = await drawn(105, 2);
    assert.deepEqual(half, Array.from({ length: 2 }, () => ({ token: "\ufffd", bytes: [169] })));
    assert.deepEqual(await drawn(2, 2), [{ token: "<|im_end|>", bytes: null }]);
  });

  await t.step("answers with JSON of a schema", async () => {
    for (const seed of [1, 2, 3]) {
      const { choices: [{ message }] } = await client.chat.completions.create({
        model,
        messages: [{ role: "user", content: "Who are you?" }],
        response_format: { type: "json_schema", json_schema: { name: "hero", schema: SCHEMA } },
        max_completion_tokens: 400,
        temperature: 1,
        seed,
      });
      const { name, age, animal } = JSON.parse(message.content ?? "");
      assert.ok(typeof name === "string" && name.length <= 12, message.content ?? "");
      assert.ok(Number.isInteger(age) && age >= 1 && age <= 99);
      assert.ok(["cat", "fox", "owl"].includes(animal));
    }
  });

  await t.step("refuses schemas that it cannot follow, and goes on", async () => {
    for (const schema of [{ type: "object", not: {} }, { type: "bogus" }, { $ref: "#/nowhere" }]) {
      await assert.rejects(
        client.chat.completions.create({
          model,
          messages: [{ role: "user", content: "x" }],
          response_format: { type: "json_schema", json_schema: { name: "x", schema } },
          max_tokens: 4,
        }),
        { status: 400 },
        JSON.stringify(schema),
      );
    }
    assert.equal(opened.server.service.supervisor.restarts, 0);
    assert.equal((await complete(PROMPT)).length > 0, true);
  });

  await t.step("names the field that is wrong as its API does", async () => {
    const messages = [{ role: "user", content: "x" } as const];
    const chat = (fields: object) =>
      client.chat.completions.create({ model, messages, max_tokens: 4, ...fields });
    const long = "word ".repeat(2000);
    const cases: [string, RegExp, () => Promise<unknown>][] = [
      ["max_tokens", /Lower max_tokens, or/, () => chat({ max_tokens: 100_000 })],
      [
        "max_completion_tokens",
        /Lower max_completion_tokens/,
        () => chat({ max_tokens: undefined, max_completion_tokens: 100_000 }),
      ],
      [
        "max_output_tokens",
        /Lower max_output_tokens/,
        () => client.responses.create({ model, input: "x", max_output_tokens: 100_000 }),
      ],
      ["logit_bias", /option "logit_bias"/, () => chat({ logit_bias: { 99999: 1 } })],
      ["reasoning_effort", /"reasoning_effort"/, () => chat({ reasoning_effort: "none" })],
      [
        "reasoning.effort",
        /"reasoning.effort"/,
        () => client.responses.create({ model, input: "x", reasoning: { effort: "low" } }),
      ],
      [
        "chat_template_kwargs.mood",
        /"chat_template_kwargs.mood"/,
        () => chat({ chat_template_kwargs: { mood: 1 } }),
      ],
      ["messages", /Shorten/, () => chat({ messages: [{ role: "user", content: long }] })],
      ["input", /Shorten/, () => client.responses.create({ model, input: long })],
      ["prompt", /at least 1 token/, () => client.completions.create({ model, prompt: "" })],
      ["prompt", /or a list of/, () => client.completions.create({ model, prompt: [] })],
    ];
    for (const [param, message, call] of cases) {
      await assert.rejects(call, { status: 400, param, message });
    }
  });

  await t.step("takes what services with accounts ask for", async () => {
    const caller = { user: "u", safety_identifier: "u", prompt_cache_key: "k" };
    const { choices } = await client.chat.completions.create({
      model,
      messages: [{ role: "user", content: "x" }],
      max_tokens: 2,
      verbosity: "medium",
      ...caller,
    });
    assert.equal(choices.length, 1);
    const { status } = await client.responses.create({
      model,
      input: "x",
      max_output_tokens: 2,
      service_tier: "auto",
      ...caller,
    });
    assert.equal(status, "incomplete");
  });

  await t.step("tokenizes and detokenizes", async () => {
    const post = async (path: string, body: unknown) =>
      await (await fetch(`${url}${path}`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(body),
      })).json();
    const { tokens, count } = await post("/tokenize", { prompt: PROMPT });
    assert.equal(count, 4);
    assert.deepEqual(await post("/detokenize", { tokens }), { prompt: PROMPT });
    const { error } = await post("/detokenize", { tokens: [...tokens, 2048] });
    assert.equal(error.param, "tokens.4");
    assert.match(error.message, /expected an id from 0 to 2047, got 2048/);
    const chat = await post("/tokenize", { messages: [{ role: "user", content: PROMPT }] });
    assert.ok(chat.count > count);
  });
});
