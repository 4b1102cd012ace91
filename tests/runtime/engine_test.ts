import assert from "node:assert/strict";
import fc from "../../deps/fast_check.ts";
import { DeviceError, MixlineError, RequestError } from "../../graph/mod.ts";
import type { Engine } from "../../runtime/engine.ts";
import type { StepLimits } from "../../runtime/scheduling/step_limits.ts";
import { fakeEngine, LETTERS } from "../support/fake_engine.ts";
import type { NextToken } from "../support/fake_program.ts";

const EOS = 3;
const LIMITS: StepLimits = {
  maxTokens: 8,
  maxRows: 4,
  maxSequences: 3,
  maxSequenceTokens: 64,
  pages: 12,
  pageSize: 8,
};

/** Letters are tokens; the answer is a function of everything before. */
const CODEC = {
  ...LETTERS,
  decode: (ids: readonly number[]) => String.fromCharCode(...ids.filter((id) => id > 8)),
};

function open(
  next: NextToken,
  { repeat = 1, limits = {}, parts = {} }: {
    repeat?: number;
    limits?: Partial<StepLimits>;
    parts?: Parameters<typeof fakeEngine>[0];
  } = {},
) {
  const defaults = { eosTokenIds: [EOS], maxNewTokens: 20 };
  return fakeEngine(
    { codec: CODEC, limits: { ...LIMITS, ...limits }, defaults, ...parts },
    { next, repeat },
  );
}

/** Continues with the letters of a text after a prompt of `length` tokens. */
const reciting = (text: string, length: number): NextToken => (before) =>
  before.length - length < text.length ? text.charCodeAt(before.length - length) : EOS;

/** A token that depends on every token before and their order. */
const hashing: NextToken = (before, { seed }) =>
  before.reduce((hash, token) => (hash * 31 + token + seed) % 89, 7) + 32;

async function tokensOf(
  engine: Engine,
  ...request: Parameters<Engine["generate"]>
): Promise<number[]> {
  const tokens = [];
  for await (const { token } of engine.generate(...request)) tokens.push(token);
  return tokens;
}

async function rejection(promise: Promise<unknown>): Promise<MixlineError> {
  const error = await promise.then(() => undefined, (error: unknown) => error);
  assert(error instanceof MixlineError, `rejected with ${error}`);
  return error;
}

Deno.test("generate() gives text up to an end token", async () => {
  const { engine } = open(reciting("a story", 2));
  const generation = engine.generate("ab", { temperature: 0 });
  assert.equal(await generation.text(), "a story");
  assert.equal(generation.finishReason, "stop");
  assert.equal(generation.promptTokens, 2);
});

Deno.test("generate() goes past end tokens when told to, up to the length", async () => {
  const { engine } = open(reciting("a", 1));
  const generation = engine.generate("x", { maxNewTokens: 5, ignoreEos: true });
  assert.equal((await tokensOf(engine, "x", { maxNewTokens: 5, ignoreEos: true })).length, 5);
  assert.equal(await generation.text(), "a");
  assert.equal(generation.finishReason, "length");
});

Deno.test("generate() cuts at a stop string that spans tokens", async () => {
  const { engine } = open(reciting("one. two. three", 1));
  const pieces = [];
  for await (const piece of engine.generate("x", { stop: [". th", "zzz"] })) pieces.push(piece);
  assert.equal(pieces.map(({ text }) => text).join(""), "one. two");
  assert.equal(pieces.length, "one. two. th".length);
});

Deno.test("generate() gives held text back when the end comes first", async () => {
  const { engine } = open(reciting("one. t", 1));
  assert.equal(await engine.generate("x", { stop: ". three" }).text(), "one. t");
  assert.equal(await engine.generate("x", { stop: ". three", maxNewTokens: 5 }).text(), "one. ");
});

Deno.test("generate() is the same alone, in chunks, side by side and several steps at once", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.record({
          prompt: fc.array(fc.integer({ min: 32, max: 120 }), { minLength: 1, maxLength: 30 }),
          maxNewTokens: fc.integer({ min: 1, max: 30 }),
          seed: fc.integer({ min: 0, max: 50 }),
        }),
        { minLength: 1, maxLength: 7 },
      ),
      fc.integer({ min: 1, max: 5 }),
      fc.integer({ min: 3, max: 40 }),
      async (requests, repeat, maxTokens) => {
        const { engine, program } = open(hashing, { repeat, limits: { maxTokens } });
        const all = await Promise.all(
          requests.map(({ prompt, ...options }) => tokensOf(engine, prompt, options)),
        );
        for (const [i, { prompt, maxNewTokens, seed }] of requests.entries()) {
          const tokens = [...prompt];
          for (let n = 0; n < maxNewTokens; n++) {
            tokens.push(hashing(tokens, { seed } as never));
          }
          assert.deepEqual(all[i], tokens.slice(prompt.length));
        }
        assert(program.requests.every(({ tokenIds }) => tokenIds.length <= maxTokens));
        assert.deepEqual(engine.report.load, { pages: 0, running: 0, waiting: 0 });
      },
    ),
    { numRuns: 40 },
  );
});

Deno.test("generate() shares steps between sequences", async () => {
  const { engine, program } = open(hashing);
  await Promise.all(
    ["ab", "cd", "ef"].map((prompt) => tokensOf(engine, prompt, { maxNewTokens: 10 })),
  );
  assert(program.requests.some(({ tokenIds }) => tokenIds.length === 3));
  assert(program.requests.length < 20, `${program.requests.length} steps`);
});

Deno.test("generate() refuses what does not fit, with numbers", async () => {
  const { engine } = open(hashing);
  const long = await rejection(tokensOf(engine, "x".repeat(64)));
  assert.match(long.message, /expected a prompt of at most 63 tokens, got 64/);
  const wish = await rejection(tokensOf(engine, "x".repeat(60), { maxNewTokens: 5 }));
  assert.match(wish.message, /5 tokens after a prompt of 60: expected at most 64 together, got 65/);
  assert.match((await rejection(tokensOf(engine, ""))).message, /at least 1 token, got 0/);
  assert.match((await rejection(tokensOf(engine, [1, 128]))).message, /0 to 127, got 128/);
  assert.equal(await tokensOf(engine, "x".repeat(60)).then((tokens) => tokens.length), 4);
});

Deno.test("generate() refuses wrong options by name", async () => {
  const { engine } = open(hashing);
  const table: [Record<string, unknown>, RegExp][] = [
    [{ temperature: -1 }, /"temperature": expected a number from 0 to 1000, got -1/],
    [{ topP: 0 }, /"topP": expected a number above 0 and at most 1, got 0/],
    [{ topK: 1.5 }, /"topK"/],
    [{ minP: 2 }, /"minP"/],
    [{ repetitionPenalty: 0 }, /"repetitionPenalty"/],
    [{ seed: -1 }, /"seed"/],
    [{ maxNewTokens: 0 }, /"maxNewTokens"/],
    [{ temperature: "hot" }, /got "hot"/],
    [{ stop: [""] }, /"stop": expected a text or an array of texts that are not empty/],
  ];
  for (const [options, message] of table) {
    const error = await rejection(tokensOf(engine, "x", options));
    assert(error instanceof RequestError);
    assert.match(error.message, message);
  }
  const unknown = await rejection(tokensOf(engine, "x", { temprature: 1 } as never));
  assert.equal(unknown.hint, 'Did you mean "temperature"?');
});

Deno.test("generate() stops at an abort and frees its pages", async () => {
  const { engine } = open(hashing);
  const controller = new AbortController();
  const tokens: number[] = [];
  const error = await rejection((async () => {
    for await (const { token } of engine.generate("abc", { signal: controller.signal })) {
      tokens.push(token);
      if (tokens.length === 4) controller.abort(new Error("enough"));
    }
  })());
  assert.equal(error.code, "request/aborted");
  assert.equal((error.cause as Error).message, "enough");
  assert.equal(tokens.length, 4);
  await rejection(tokensOf(engine, "abc", { signal: AbortSignal.abort() }));
  await new Promise((resolve) => setTimeout(resolve, 1));
  assert.deepEqual(engine.report.load, { pages: 0, running: 0, waiting: 0 });
});

Deno.test("generate() frees its pages when the reader leaves, and waits for a slow reader", async () => {
  const { engine, program } = open(hashing, {
    limits: { maxSequenceTokens: 800, pages: 100, maxSequences: 1 },
  });
  for await (const _ of engine.generate("abc", { maxNewTokens: 700 })) {
    await new Promise((resolve) => setTimeout(resolve, 2));
    assert(program.requests.length < 80, `${program.requests.length} steps ahead of the reader`);
    break;
  }
  assert.equal((await tokensOf(engine, "next", { maxNewTokens: 300 })).length, 300);
  assert.deepEqual(engine.report.load, { pages: 0, running: 0, waiting: 0 });
});

Deno.test("generate() queues what has no room yet", async () => {
  const { engine } = open(hashing, { limits: { pages: 8, maxSequences: 3 } });
  const lengths = await Promise.all(
    Array.from({ length: 6 }, () => tokensOf(engine, "0123456789", { maxNewTokens: 30 })),
  );
  assert.deepEqual(lengths.map((tokens) => tokens.length), [30, 30, 30, 30, 30, 30]);
});

Deno.test("generate() passes a failing step on and goes on afterwards", async () => {
  const { engine, program } = open(hashing);
  program.failure = new DeviceError("device/lost", "Cannot go on: expected a device, got none");
  assert.equal((await rejection(tokensOf(engine, "abc"))).code, "device/lost");
  program.failure = undefined;
  assert.equal((await tokensOf(engine, "abc", { maxNewTokens: 3 })).length, 3);
});

Deno.test("generate() tells the program which tokens a penalty knows", async () => {
  const { engine, program } = open(hashing);
  await tokensOf(engine, "0123456789ab", { maxNewTokens: 2, repetitionPenalty: 1.2 });
  assert.deepEqual([...program.seen], [[0, CODEC.encode("0123456789ab")]]);
});

Deno.test("logits() gives every row, beside running generations", async () => {
  const { engine } = open(hashing);
  const prompt = Array.from({ length: 21 }, (_, i) => i + 40);
  const [logits, tokens] = await Promise.all([
    engine.logits(prompt),
    tokensOf(engine, "abc", { maxNewTokens: 12 }),
  ]);
  assert.equal(logits.length, 21 * 128);
  let sum = 0;
  for (const [row, token] of prompt.entries()) {
    sum += token;
    assert.equal(logits.subarray(row * 128, row * 128 + 128).indexOf(1), sum % 128);
  }
  assert.equal(tokens.length, 12);
});

Deno.test("logits() that no memory can hold say how much they are", async () => {
  const { engine, program } = open(hashing);
  program.step = () =>
    Promise.resolve({ logits: { length: 2 ** 40 } as Float32Array<ArrayBuffer> });
  const error = await rejection(engine.logits([40, 41]));
  assert.equal(error.code, "device/out-of-memory");
  assert.match(error.message, /expected 4398046511104 bytes of host memory, got "Array/);
  assert.deepEqual(engine.report.load, { pages: 0, running: 0, waiting: 0 });
});

Deno.test("close() ends generations and disposes of the program", async () => {
  const { engine, program } = open(hashing);
  const generation = engine.generate("abc", { maxNewTokens: 50 });
  assert.equal((await generation.next()).done, false);
  const rest = rejection(generation.text());
  await engine.close();
  assert.equal((await rest).code, "request/engine-closed");
  assert(program.disposed);
  assert.equal((await rejection(tokensOf(engine, "abc"))).code, "request/engine-closed");
  assert.equal((await rejection(engine.logits([40]))).code, "request/engine-closed");
});

Deno.test("close() waits for outputs that are being read, and closes what a program may fail to", async () => {
  let isClosed = false;
  const { engine, program } = open(hashing, {
    parts: {
      watchedExperts: [{ output: "chosen", scope: "layer", experts: 2 }],
      onClose: () => {
        isClosed = true;
      },
    },
  });
  const outputs = Promise.withResolvers<Record<string, never>>();
  program.recentOutputs = () => outputs.promise;
  program.dispose = () => {
    throw new Error("disposed twice");
  };
  const load = engine.recentExpertLoad();
  const closed = engine.close();
  await new Promise((resolve) => setTimeout(resolve, 1));
  assert.equal(isClosed, false);
  outputs.resolve({});
  assert.deepEqual(await load, []);
  await assert.rejects(closed, /disposed twice/);
  assert.equal(isClosed, true);
});

Deno.test("generate() refuses messages without a chat template", async () => {
  const { engine } = open(hashing);
  const error = await rejection(tokensOf(engine, [{ role: "user", content: "hi" }]));
  assert.equal(error.code, "request/no-chat-template");
});

Deno.test("next() called early waits its turn", async () => {
  const { engine } = open(reciting("abc", 1));
  const generation = engine.generate("x");
  const results = await Promise.all(Array.from({ length: 5 }, () => generation.next()));
  assert.deepEqual(results.map(({ done }) => done ?? false), [false, false, false, false, true]);
});
