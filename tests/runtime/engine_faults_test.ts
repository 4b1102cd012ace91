import assert from "node:assert/strict";
import { MixlineError, RequestError } from "../../graph/mod.ts";
import type { Engine } from "../../runtime/engine.ts";
import { fakeEngine, LETTERS } from "../support/fake_engine.ts";

/** Letters are tokens, but "€" is one that the model does not have. */
function open(): Engine {
  return fakeEngine({
    codec: {
      ...LETTERS,
      encode: (text) => Array.from(text, (letter) => letter === "€" ? 3000 : letter.charCodeAt(0)),
      renderChat: (messages) => ({
        formOf: () => "",
        text: messages.map(({ content }) => String(content)).join(""),
      }),
    },
  }).engine;
}

/** What a JavaScript caller or the body of a request may hand over. */
function generate(engine: Engine, ...args: readonly unknown[]): Promise<string> {
  return Reflect.apply(engine.generate, engine, args).text();
}

async function refusal(work: Promise<unknown>): Promise<RequestError> {
  const error = await work.then(() => undefined, (error: unknown) => error);
  assert(error instanceof RequestError, `not a RequestError: ${error}`);
  return error;
}

const circle: Record<string, unknown> = {};
circle.self = circle;

Deno.test("generate() refuses options of every wrong type by name", async () => {
  const engine = open();
  const wrong: readonly unknown[] = [
    ...[null, true, "x", 1n, Symbol("s"), [], {}, () => 1, circle, NaN, -1e300, Infinity],
  ];
  const names = [
    ...["maxNewTokens", "temperature", "topK", "topP", "minP", "repetitionPenalty", "seed"],
    ...["presencePenalty", "frequencyPenalty", "logprobs", "timeoutMs", "signal"],
  ];
  for (const name of names) {
    for (const value of wrong) {
      const error = await refusal(generate(engine, "x", { [name]: value }));
      assert.equal(error.details.option, name, `${name}: ${error.message}`);
      assert(error.message.length < 250, error.message);
    }
  }
  const others: [Record<string, unknown>, RegExp][] = [
    [{ stop: 5 }, /"stop": expected a text or an array of texts that are not empty, got 5/],
    [{ stop: null }, /"stop": .* got null/],
    [{ stop: new Set(["a"]) }, /"stop": .* got object Set/],
    [{ stop: ["a", 1] }, /"stop": .* got \["a",1\]/],
    [{ ignoreEos: 1 }, /"ignoreEos": expected true or false, got 1/],
    [{ signal: {} }, /"signal": expected an AbortSignal, got \{\}/],
    [{ topP: 1n }, /"topP": .* got 1n/],
    [{ repetitionPenalty: 1e-40 }, /"repetitionPenalty": expected a number from 0.01 to 100/],
    [{ logitBias: [1] }, /"logitBias": expected an object/],
    [{ logitBias: { 128: 1 } }, /"logitBias": expected token ids from 0 to 127, got "128"/],
    [{ logitBias: { a: 1 } }, /"logitBias": .* got "a"/],
    [{ logitBias: { 1: 101 } }, /"logitBias": expected numbers from -100 to 100, got 101/],
    [{ allowedTokens: 1 }, /"allowedTokens": expected a function, got 1/],
  ];
  for (const [options, message] of others) {
    assert.match((await refusal(generate(engine, "x", options))).message, message);
  }
  for (const options of [null, 5, "x", []]) {
    assert.match((await refusal(generate(engine, "x", options))).message, /options as an object/);
  }
  assert.equal((await generate(engine, "x")).length, 8);
});

Deno.test("generate() refuses prompts of every wrong type", async () => {
  const engine = open();
  const prompts: readonly unknown[] = [
    ...[undefined, null, 5, 1n, {}, new String("x"), Symbol("s"), () => 1, new Set([1])],
    ...[{ length: 1, 0: 5 }, new Float32Array(1), new Uint8Array(2), [undefined], [1n], ["a"]],
    ...[[1.5], [-1], [NaN], [128], [, 5], [5, null], [5, { role: "user", content: "x" }]],
    ...[[{}], [null], [{ role: 1, content: "x" }], [{ role: "user", content: "x" }, 5]],
    ...[[{ type: "text", text: "x" }], [circle]],
  ];
  for (const prompt of prompts) {
    const error = await refusal(generate(engine, prompt));
    assert.match(error.code, /^request\/(prompt|token-id|chat)$/);
  }
  for (const ids of [undefined, null, "abc", {}, [1n], [128], { length: 2 }]) {
    await refusal(Reflect.apply(engine.logits, engine, [ids]));
  }
  assert.throws(() => Reflect.apply(engine.encode, engine, [5]), RequestError);
});

Deno.test("generate() checks the ids of texts and chats against the vocabulary", async () => {
  const engine = open();
  const message = /token 2 of the prompt: expected an id from 0 to 127, got 3000/;
  for (const prompt of ["ab€", [{ role: "user", content: "ab€" }]]) {
    const error = await refusal(generate(engine, prompt));
    assert.match(error.message, message);
    assert.match(error.hint ?? "", /tokenizer's files/);
  }
});

Deno.test("a wrong request leaves those beside it alone", async () => {
  const engine = open();
  const expected = await generate(engine, "fox");
  const results = await Promise.allSettled([
    generate(engine, "fox"),
    generate(engine, "x", { stop: new Set(["a"]) }),
    generate(engine, "x", { signal: {} }),
    generate(engine, "x", { repetitionPenalty: 1e-40 }),
    generate(engine, null, null),
    generate(engine, "fox"),
  ]);
  const kinds = results.map((result) =>
    result.status === "fulfilled" ? result.value : result.reason instanceof MixlineError
  );
  assert.deepEqual(kinds, [expected, true, true, true, true, expected]);
  assert.deepEqual(engine.report.load, { pages: 0, running: 0, waiting: 0 });
});
