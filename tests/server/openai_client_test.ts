/**
 * The server as OpenAI's own client sees it, in front of an engine that follows scripts.
 *
 * @module
 */

import assert from "node:assert/strict";
import OpenAI from "../../deps/openai.ts";
import { serveScripted, type TestServer } from "../support/server.ts";
import { slowTest } from "../support/quick.ts";
import { until } from "../support/until.ts";

const model = "scripted";

function user(content: string) {
  return [{ role: "user" as const, content }];
}

Deno.test("the openai client", async (t) => {
  await using opened: TestServer = await serveScripted();
  const { client } = opened;

  await t.step("lists the model", async () => {
    const models = await client.models.list();
    assert.deepEqual(models.data.map(({ id }) => id), [model]);
    assert.deepEqual(await client.models.retrieve(model), models.data[0]);
    await assert.rejects(client.models.retrieve("org/other"), OpenAI.NotFoundError);
  });

  await t.step("gets a chat's answer, with usage", async () => {
    const answer = await client.chat.completions.create({
      model,
      messages: user("say Hello\nsay  you"),
    });
    assert.equal(answer.choices[0].message.content, "Hello you");
    assert.equal(answer.choices[0].finish_reason, "stop");
    assert.deepEqual(answer.usage, {
      ...{ prompt_tokens: 18, completion_tokens: 2, total_tokens: 20 },
      prompt_tokens_details: { cached_tokens: 0 },
      completion_tokens_details: { reasoning_tokens: 0 },
    });
  });

  await t.step("streams a chat's answer, with usage at its end", async () => {
    const stream = await client.chat.completions.create({
      model,
      messages: user("say a\nsay b\nsay c"),
      stream: true,
      stream_options: { include_usage: true },
    });
    const texts: string[] = [];
    const ends: (string | null)[] = [];
    let tokens: number | undefined;
    for await (const { choices, usage } of stream) {
      for (const { delta, finish_reason } of choices) {
        texts.push(delta.content ?? "");
        if (finish_reason) ends.push(finish_reason);
      }
      if (usage) tokens = usage.completion_tokens;
    }
    assert.deepEqual(texts.filter((text) => text !== ""), ["a", "b", "c"]);
    assert.deepEqual(ends, ["stop"]);
    assert.equal(tokens, 3);
  });

  await t.step("gets several choices, and stops at max_tokens", async () => {
    const { choices } = await client.chat.completions.create({
      model,
      messages: user("count 10"),
      n: 3,
      max_completion_tokens: 4,
    });
    assert.deepEqual(choices.map(({ index, message }) => [index, message.content]), [
      [0, "0 1 2 3 "],
      [1, "0 1 2 3 "],
      [2, "0 1 2 3 "],
    ]);
    assert.equal(choices[0].finish_reason, "length");
  });

  await t.step("gets calls of tools, streamed and not", async () => {
    const request = {
      model,
      messages: user('say Let me see\ncall weather {"city":"Bern"}\ncall time {}'),
      tools: [
        {
          type: "function" as const,
          function: { name: "weather", parameters: { type: "object" } },
        },
        { type: "function" as const, function: { name: "time" } },
      ],
    };
    const { choices: [choice] } = await client.chat.completions.create(request);
    assert.equal(choice.finish_reason, "tool_calls");
    assert.equal(choice.message.content, "Let me see");
    const calls = choice.message.tool_calls ?? [];
    assert.deepEqual(
      calls.map((call) =>
        call.type === "function" && [call.function.name, call.function.arguments]
      ),
      [["weather", '{"city":"Bern"}'], ["time", "{}"]],
    );
    assert.equal(new Set(calls.map(({ id }) => id)).size, 2);
    const streamed = await client.chat.completions.stream(request).finalChatCompletion();
    assert.deepEqual(
      streamed.choices[0].message.tool_calls?.map((call) =>
        call.type === "function" && call.function.name
      ),
      ["weather", "time"],
    );
  });

  await t.step("gets reasoning apart from the answer", async () => {
    const { choices: [{ message }], usage } = await client.chat.completions.create({
      model,
      messages: user("think Hm\nsay Yes"),
    });
    assert.equal(usage?.completion_tokens_details?.reasoning_tokens, 1);
    assert.equal(message.content, "Yes");
    assert.equal(Reflect.get(message, "reasoning_content"), "Hm");
  });

  await t.step("gets log-probabilities of chats and of texts", async () => {
    const chat = await client.chat.completions.create({
      model,
      messages: user("say é"),
      logprobs: true,
      top_logprobs: 1,
    });
    const [token] = chat.choices[0].logprobs?.content ?? [];
    assert.deepEqual([token.token, token.logprob, token.bytes], ["é", -0.5, [195, 169]]);
    assert.equal(token.top_logprobs[0].token, "é");
    const text = await client.completions.create({ model, prompt: "say a\nsay b", logprobs: 1 });
    assert.deepEqual(text.choices[0].logprobs?.tokens, ["a", "b"]);
    assert.deepEqual(text.choices[0].logprobs?.text_offset, [0, 1]);
  });

  await t.step("continues several texts at once, and echoes them", async () => {
    const { choices, usage } = await client.completions.create({
      model,
      prompt: ["say one", "say two"],
      echo: true,
      n: 2,
    });
    assert.deepEqual(choices.map(({ text }) => text), [
      "say oneone",
      "say oneone",
      "say twotwo",
      "say twotwo",
    ]);
    assert.equal(usage?.prompt_tokens, 14);
  });

  await t.step("ends a stream early, and the engine hears of it", async () => {
    const stream = await client.chat.completions.create({
      model,
      messages: user("say first\nhang"),
      stream: true,
    });
    for await (const chunk of stream) if (chunk.choices[0]?.delta.content) break;
    stream.controller.abort();
    // The engine ends its sequence a moment before the server's stream does.
    const { supervisor, admission } = opened.server.service;
    await until(
      async () => (await supervisor.engine.stats()).running === 0 && admission.inFlight === 0,
      2_000,
    );
  });

  await t.step("gets a response, with reasoning, text and calls as items", async () => {
    const request = {
      model,
      instructions: "Be brief",
      input: 'think Hm\nsay Hello\ncall weather {"city":"Bern"}',
      tools: [{
        type: "function" as const,
        name: "weather",
        parameters: { type: "object" },
        strict: false,
      }],
    };
    const response = await client.responses.create(request);
    assert.equal(response.output_text, "Hello");
    assert.deepEqual(response.output.map(({ type }) => type), [
      "reasoning",
      "message",
      "function_call",
    ]);
    assert.equal(response.status, "completed");
    // What was put out is put in again, as agents do, with the result of the call as parts.
    const put = response.output.flatMap((item) =>
      item.type === "reasoning" || item.type === "message" || item.type === "function_call"
        ? [item]
        : []
    );
    const call = put.at(-1);
    assert.ok(call?.type === "function_call");
    const next = await client.responses.create({
      ...request,
      input: [{ role: "user", content: request.input }, ...put, {
        type: "function_call_output",
        call_id: call.call_id,
        output: [{ type: "input_text", text: "say Sunny" }],
      }],
    });
    assert.equal(next.output_text, "Sunny");
    const stream = client.responses.stream(request);
    const types = new Set<string>();
    for await (const { type } of stream) types.add(type);
    const final = await stream.finalResponse();
    assert.equal(final.output_text, "Hello");
    assert.ok(types.has("response.output_text.delta") && types.has("response.completed"));
    await assert.rejects(
      client.responses.create({ model, input: "say x", previous_response_id: "resp_1" }),
      (error) => error instanceof OpenAI.BadRequestError && error.param === "previous_response_id",
    );
  });

  await t.step("gets an error in the middle of a response as the next of its events", async () => {
    const answer = await fetch(`${opened.url}/v1/responses`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ model, input: "say a\nfail 500", stream: true }),
    });
    const lines = (await answer.text()).split("\n").filter((line) => line.startsWith("data: "));
    const events = lines.map((line) => JSON.parse(line.slice("data: ".length)));
    assert.equal(events.at(-1).type, "error");
    assert.deepEqual(events.map((event) => event.sequence_number), [...events.keys()]);
  });

  await t.step("gets errors as its own classes", async () => {
    await assert.rejects(
      client.chat.completions.create({ model: "other", messages: user("say x") }),
      (error) => error instanceof OpenAI.NotFoundError && error.code === "model_not_found",
    );
    await assert.rejects(
      client.chat.completions.create({ model, messages: [] }),
      (error) => error instanceof OpenAI.BadRequestError && error.param === "messages",
    );
    const stream_options = { include_usage: true };
    for (
      const create of [
        () => client.completions.create({ model, prompt: "say x", stream_options }),
        () => client.chat.completions.create({ model, messages: user("say x"), stream_options }),
      ]
    ) {
      await assert.rejects(create, {
        param: "stream_options",
        message: /"stream_options": expected stream: true beside it/,
      });
    }
    await assert.rejects(
      client.chat.completions.create({ model, messages: user("fail 503") }),
      (error) => error instanceof OpenAI.InternalServerError && error.status === 503,
    );
    const stream = await client.chat.completions.create({
      model,
      messages: user("say a\nfail 500"),
      stream: true,
    });
    await assert.rejects(async () => {
      for await (const _ of stream);
    }, /Cannot go on/);
  });
});

slowTest("chunks of a stream have one time, and it is measured to its end", async () => {
  await using opened = await serveScripted();
  const times = new Set<number>();
  const stream = await opened.client.chat.completions.create({
    model,
    messages: user("say a\nwait 1100\nsay b"),
    stream: true,
  });
  for await (const { created } of stream) times.add(created);
  assert.equal(times.size, 1);
  const { values } = await opened.server.service.metrics.duration.get();
  const [seconds] = values.filter(({ metricName }) => metricName?.endsWith("_sum"));
  assert.equal(seconds.labels.route, "/v1/chat/completions");
  assert.ok(seconds.value > 1.1, `${seconds.value} s`);
});
