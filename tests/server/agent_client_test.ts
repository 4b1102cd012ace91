/**
 * A conversation with tools, held by the AI SDK.
 *
 * @module
 */

import assert from "node:assert/strict";
import { slowTest } from "../support/quick.ts";
import { serveScripted } from "../support/server.ts";

slowTest("an agent of the AI SDK calls a tool and hears its result", async () => {
  // Loading it takes longer than the conversation.
  const { createOpenAICompatible, generateText, jsonSchema, stepCountIs, streamText, tool } =
    await import("../../deps/ai_sdk.ts");
  await using opened = await serveScripted();
  const provider = createOpenAICompatible({ name: "mixline", baseURL: `${opened.url}/v1` });
  const cities: string[] = [];
  const request = {
    model: provider("scripted"),
    prompt: 'think Where?\nsay Let me look.\ncall weather {"city":"Bern"}',
    tools: {
      weather: tool({
        description: "Weather of a city",
        inputSchema: jsonSchema<{ city: string }>({
          type: "object",
          properties: { city: { type: "string" } },
          required: ["city"],
        }),
        execute: ({ city }: { city: string }) => {
          cities.push(city);
          // The engine takes the last message, which is the tool's result, as its script.
          return "say Sunny in Bern";
        },
      }),
    },
    stopWhen: stepCountIs(3),
    maxRetries: 0,
  };
  const { text, steps } = await generateText(request);
  assert.equal(text, "Sunny in Bern");
  assert.deepEqual(cities, ["Bern"]);
  assert.deepEqual(steps.map(({ finishReason }) => finishReason), ["tool-calls", "stop"]);

  const streamed = streamText(request);
  let last = "";
  for await (const piece of streamed.textStream) last += piece;
  assert.equal(last, "Let me look.Sunny in Bern");
  assert.deepEqual(cities, ["Bern", "Bern"]);
});
