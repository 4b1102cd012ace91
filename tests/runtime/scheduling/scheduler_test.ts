import assert from "node:assert/strict";
import fc from "../../../deps/fast_check.ts";
import { GREEDY, MixlineError } from "../../../graph/mod.ts";
import type { Engine } from "../../../runtime/engine.ts";
import type { GenerateOptions } from "../../../runtime/generation/generate_options.ts";
import type { StepLimits } from "../../../runtime/scheduling/step_limits.ts";
import { collectGarbage } from "../../support/collect.ts";
import { fakeEngine, VOCAB } from "../../support/fake_engine.ts";
import type { NextToken } from "../../support/fake_program.ts";
import { until } from "../../support/until.ts";

const LIMITS: StepLimits = {
  maxTokens: 16,
  maxRows: 8,
  maxSequences: 4,
  maxSequenceTokens: 64,
  pages: 16,
  pageSize: 4,
};

/** A token that depends on every token before and their order. */
const hashing: NextToken = (before, { seed }) =>
  before.reduce((hash, token) => (hash * 31 + token + seed) % 89, 7) + 32;

function open(limits: Partial<StepLimits> = {}, { repeat = 1, next = hashing } = {}) {
  const defaults = { eosTokenIds: [], maxNewTokens: 20 };
  return fakeEngine({ limits: { ...LIMITS, ...limits }, defaults }, { next, repeat });
}

/** What a sequence must give, whatever runs beside it. */
function expected(prompt: readonly number[], count: number, seed: number): number[] {
  const tokens = [...prompt];
  for (let n = 0; n < count; n++) tokens.push(hashing(tokens, { ...GREEDY, seed }));
  return tokens.slice(prompt.length);
}

async function tokensOf(engine: Engine, prompt: number[] | string, options: GenerateOptions) {
  const tokens: number[] = [];
  for await (const { token } of engine.generate(prompt, options)) tokens.push(token);
  return tokens;
}

async function rejection(promise: Promise<unknown>): Promise<MixlineError> {
  const error = await promise.then(() => undefined, (error: unknown) => error);
  assert(error instanceof MixlineError, `rejected with ${error}`);
  return error;
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const letters = (count: number, first = 40) =>
  Array.from({ length: count }, (_, i) => first + i % 60);

function assertEmpty(engine: Engine): void {
  const { running, waiting, pages } = engine.stats();
  assert.deepEqual([running, waiting, pages.used, pages.free], [0, 0, 0, pages.total]);
}

Deno.test("sequences are what they are alone, under arrivals, cancels and lack of pages", async () => {
  const request = fc.record({
    prompt: fc.record({
      shared: fc.constantFrom(0, 0, 5, 9, 14),
      own: fc.array(fc.integer({ min: 32, max: 120 }), { minLength: 1, maxLength: 20 }),
    }),
    maxNewTokens: fc.integer({ min: 15, max: 40 }),
    seed: fc.integer({ min: 0, max: 3 }),
    delay: fc.constantFrom(0, 0, 1, 3),
    /** Tokens after which the reader leaves, aborts, or stops reading without a word. */
    leave: fc.option(fc.record({
      after: fc.nat(10),
      how: fc.constantFrom("return", "abort", "drop"),
    })),
  });
  const shape = fc.record({
    maxTokens: fc.integer({ min: 4, max: 24 }),
    pages: fc.integer({ min: 19, max: 22 }),
    maxSequences: fc.constantFrom(1, 3, 4),
    reusePrefixes: fc.boolean(),
  });
  let preemptions = 0;
  let reused = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.array(request, { minLength: 4, maxLength: 10, size: "max" }),
      shape,
      fc.integer({ min: 1, max: 4 }),
      async (requests, limits, repeat) => {
        const { engine, program } = open({ ...limits, maxSequenceTokens: 76 }, { repeat });
        await Promise.all(requests.map(async (each) => {
          const { prompt, maxNewTokens, seed, delay, leave } = each;
          const tokens = [...letters(prompt.shared), ...prompt.own];
          if (delay > 0) await pause(delay);
          const controller = new AbortController();
          const generation = engine.generate(tokens, {
            maxNewTokens,
            seed,
            signal: controller.signal,
          });
          const got: number[] = [];
          const wanted = expected(tokens, maxNewTokens, seed);
          for (;;) {
            if (leave && got.length >= leave.after) {
              if (leave.how === "abort") controller.abort();
              if (leave.how === "return") await generation.return();
              break;
            }
            const { done, value } = await generation.next();
            if (done) break;
            got.push(value.token);
          }
          assert.deepEqual(got, wanted.slice(0, got.length));
          if (!leave || leave.after > maxNewTokens) assert.equal(got.length, maxNewTokens);
        }));
        await until(() => engine.stats().running === 0);
        assertEmpty(engine);
        assert(program.requests.every(({ tokenIds }) => tokenIds.length <= limits.maxTokens));
        preemptions += engine.stats().preemptions;
        reused += engine.stats().reusedTokens;
      },
    ),
    { numRuns: 150 },
  );
  assert(preemptions > 15, `${preemptions} preemptions: the pools are too large`);
  assert(reused > 1000, `${reused} tokens reused: the prompts have too little in common`);
});

Deno.test("pages are taken as a sequence grows, and given back", async () => {
  const { engine } = open({ pages: 40, maxSequenceTokens: 100 });
  const generation = engine.generate(letters(6), { maxNewTokens: 90 });
  await generation.next();
  const before = engine.stats().pages.used;
  assert(before <= 4, `${before} pages for 7 tokens and some more`);
  for (let i = 0; i < 60; i++) await generation.next();
  assert(engine.stats().pages.used >= 16);
  await generation.return();
  await until(() => engine.stats().running === 0);
  assertEmpty(engine);
});

Deno.test("the youngest sequence gives its pages, and is computed again", async () => {
  const { engine } = open({ pages: 12, maxSequenceTokens: 48 });
  const all = await Promise.all(
    [1, 2, 3].map((seed) => tokensOf(engine, letters(8, 40 + seed), { maxNewTokens: 30, seed })),
  );
  for (const [i, tokens] of all.entries()) {
    assert.deepEqual(tokens, expected(letters(8, 41 + i), 30, i + 1));
  }
  const { preemptions, finished } = engine.stats();
  assert(preemptions > 0 && finished === 3, `${preemptions} preemptions, ${finished} finished`);
  assertEmpty(engine);
});

Deno.test("a prompt whose beginning is known starts behind it", async () => {
  const { engine, program } = open({ pages: 40 });
  await tokensOf(engine, letters(30), { maxNewTokens: 2, seed: 1 });
  const before = program.requests.length;
  const tokens = await tokensOf(engine, [...letters(30), 99], { maxNewTokens: 3, seed: 2 });
  assert.deepEqual(tokens, expected([...letters(30), 99], 3, 2));
  const [first] = program.requests.slice(before);
  assert.equal(first.positions[0], 28);
  assert.equal(engine.stats().reusedTokens, 28);
});

Deno.test("equal prompts that come together are computed once", async () => {
  const { engine, program } = open({ pages: 60, maxTokens: 8, maxSequences: 4 });
  const generations = engine.generateChoices(letters(29), { n: 4, maxNewTokens: 4, seed: 5 });
  const all = await Promise.all(generations.map(async (generation) => {
    const tokens = [];
    for await (const { token } of generation) tokens.push(token);
    return tokens;
  }));
  assert.deepEqual(all, [5, 6, 7, 8].map((seed) => expected(letters(29), 4, seed)));
  const computed = program.requests.reduce((sum, { tokenIds }) => sum + tokenIds.length, 0);
  assert(computed <= 29 + 3 * 1 + 4 * 4, `${computed} tokens computed`);
  assert.equal(engine.stats().reusedTokens, 3 * 28);
});

Deno.test("a long prompt does not hold up a short one, and is not held up", async () => {
  const { engine, program } = open({ maxTokens: 8, pages: 64, maxSequenceTokens: 200 });
  const long = tokensOf(engine, letters(120), { maxNewTokens: 1 });
  const short = await tokensOf(engine, letters(4, 70), { maxNewTokens: 1 });
  assert.equal(short.length, 1);
  assert(program.requests.length <= 4, `${program.requests.length} steps before the short one`);
  const others = Array.from(
    { length: 30 },
    (_, i) => tokensOf(engine, letters(8, 41 + i), { maxNewTokens: 1 }),
  );
  await long;
  // Half of each step is the long prompt's: 120 tokens in at most 30 steps of 4.
  assert(program.requests.length <= 34, `${program.requests.length} steps before the long one`);
  await Promise.all(others);
});

Deno.test("a first token is given before the next step begins", async () => {
  const { program, engine } = open({}, { repeat: 4 });
  const steps: number[] = [];
  for await (const _ of engine.generate("abc", { maxNewTokens: 6 })) {
    steps.push(program.requests.length);
  }
  assert.equal(steps[0], 1);
  await engine.close();
});

Deno.test("those that wait are served in the order of arrival", async () => {
  const { engine } = open({ maxSequences: 1, maxTokens: 8 });
  const order: number[] = [];
  await Promise.all([1, 2, 3, 4, 5].map(async (seed) => {
    await tokensOf(engine, letters(5), { maxNewTokens: 3, seed });
    order.push(seed);
  }));
  assert.deepEqual(order, [1, 2, 3, 4, 5]);
});

Deno.test("a full queue refuses with 429 and takes the next one later", async () => {
  const { engine } = open({ maxSequences: 1, maxWaiting: 2 });
  const running = [1, 2, 3].map((seed) => tokensOf(engine, letters(5), { maxNewTokens: 9, seed }));
  const error = await rejection(tokensOf(engine, letters(5), { maxNewTokens: 9 }));
  assert.deepEqual([error.code, error.httpStatus], ["request/queue-full", 429]);
  assert.equal(engine.stats().refused, 1);
  await Promise.all(running);
  assert.equal((await tokensOf(engine, letters(5), { maxNewTokens: 9 })).length, 9);
});

Deno.test("iterators that are dropped block nobody, and go on when they are read again", async () => {
  const { engine } = open({ maxSequences: 2, pages: 64, maxSequenceTokens: 256 });
  const dropped = [];
  for (let seed = 0; seed < 6; seed++) {
    const generation = engine.generate(letters(5), { maxNewTokens: 200, seed });
    dropped.push({ generation, first: await generation.next() });
  }
  await until(() => engine.stats().running === 0);
  assertEmpty(engine);
  assert.equal((await tokensOf(engine, letters(5, 60), { maxNewTokens: 20 })).length, 20);
  const [{ generation, first }] = dropped;
  const tokens = first.done ? [] : [first.value.token];
  for await (const { token } of generation) tokens.push(token);
  assert.deepEqual(tokens, expected(letters(5), 200, 0));
});

Deno.test("iterators that are dropped are garbage, though a signal and a timer of theirs live on", async () => {
  const { engine, program } = open({ maxSequences: 2, pages: 64, maxSequenceTokens: 256 });
  const { signal } = new AbortController();
  const drop = async (options: GenerateOptions) => {
    // Whatever keeps the sequence keeps this, too.
    const allowedTokens = () => undefined;
    await engine.generate(letters(5), { maxNewTokens: 200, allowedTokens, ...options }).next();
    return new WeakRef(allowedTokens);
  };
  const dropped = [await drop({}), await drop({ signal }), await drop({ timeoutMs: 60_000 })];
  await until(() => engine.stats().running === 0);
  program.requests.length = 0;
  await collectGarbage();
  assert.deepEqual(dropped.map((each) => each.deref()), [undefined, undefined, undefined]);
  assert.equal(signal.aborted, false);
});

Deno.test("a request ends with 504 when its time is over, also while it waits", async () => {
  const { engine } = open({ maxSequences: 1, maxSequenceTokens: 4000, pages: 1000 });
  const generation = engine.generate(letters(5), { maxNewTokens: 3900 });
  await generation.next();
  const reading = generation.text();
  const error = await rejection(tokensOf(engine, letters(3), { maxNewTokens: 9, timeoutMs: 15 }));
  assert.deepEqual([error.code, error.httpStatus], ["request/timeout", 504]);
  await generation.return();
  await reading;
  const slow = await rejection(
    tokensOf(engine, letters(3), { maxNewTokens: 3900, timeoutMs: 10 }),
  );
  assert.equal(slow.code, "request/timeout");
  await until(() => engine.stats().running === 0);
  assertEmpty(engine);
});

Deno.test("a sequence whose logits are broken fails alone", async () => {
  const { engine } = open({}, {
    next: (before, sampling) =>
      sampling.seed === 9 && before.length === 7 ? -1 : hashing(before, sampling),
  });
  const [good, bad] = await Promise.all([
    tokensOf(engine, letters(5), { maxNewTokens: 9, seed: 1 }),
    rejection(tokensOf(engine, letters(5), { maxNewTokens: 9, seed: 9 })),
  ]);
  assert.deepEqual(good, expected(letters(5), 9, 1));
  assert.equal(bad.code, "kernel/logits");
  assert.deepEqual([engine.stats().failed, engine.stats().finished], [1, 1]);
  assertEmpty(engine);
});

Deno.test("a tokenizer or an allowedTokens that throws ends its own sequence alone", async () => {
  const { engine } = open();
  const thrown = new Error("no grammar");
  const results = await Promise.allSettled([
    tokensOf(engine, letters(5), { maxNewTokens: 9, seed: 1 }),
    tokensOf(engine, letters(5), {
      maxNewTokens: 9,
      allowedTokens: (made) => {
        if (made.length === 3) throw thrown;
        return undefined;
      },
    }),
    tokensOf(engine, letters(5), { allowedTokens: () => new Uint32Array(VOCAB / 32) }),
    tokensOf(engine, letters(5), { allowedTokens: () => new Uint32Array(1).fill(1) }),
  ]);
  assert.equal(results[0].status, "fulfilled");
  assert(results[1].status === "rejected" && results[1].reason === thrown);
  for (const result of results.slice(2)) {
    assert(result.status === "rejected" && result.reason.code === "request/allowed-tokens");
  }
  assertEmpty(engine);
});

Deno.test("stats() counts tokens, sequences and pages", async () => {
  const { engine } = open({ pages: 40 });
  await tokensOf(engine, letters(10), { maxNewTokens: 5 });
  const stats = engine.stats();
  assert.deepEqual(JSON.parse(JSON.stringify(stats)), stats);
  assert.deepEqual(
    [stats.promptTokens, stats.generatedTokens, stats.finished, stats.maxRunning],
    [10, 5, 1, 4],
  );
  // 14 tokens are in the cache; the last one was never computed.
  assert.deepEqual(stats.pages, { total: 40, used: 0, free: 40, remembered: 3, tokens: 4 });
});
