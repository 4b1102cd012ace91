import assert from "node:assert/strict";
import {
  compileSizes,
  createEngine,
  type Engine,
  type Executor,
  type GenerateOptions,
  openCpuExecutor,
  openWebGpuExecutor,
  type StepLimits,
  stepLimits,
} from "../../runtime/mod.ts";
import { webgpuTest } from "../support/adapter.ts";
import { countGpuCalls } from "../support/count_gpu_calls.ts";
import { randomNumbers } from "../support/op_case.ts";
import { sharedExecutor } from "../support/shared_executor.ts";
import { NO_TENSORS } from "../support/test_kernels.ts";
import { TINY, tinyLanguageModel, type TinyOptions } from "../support/tiny_language_model.ts";

const SETTINGS = { maxSeqLen: 64, maxBatchSize: 3, maxNumTokens: 16 };

/** An engine whose tokens are letters, on an executor that stays open. */
async function openEngine(
  executor: Executor,
  change: Partial<StepLimits> = {},
  options: TinyOptions = {},
  onClose = () => {},
): Promise<Engine> {
  const graph = tinyLanguageModel(options);
  const limits = { ...stepLimits(graph, SETTINGS), ...change };
  const program = await executor.compile(graph, { source: NO_TENSORS, ...compileSizes(limits) });
  return createEngine({
    program,
    limits,
    codec: {
      encode: (text) => Array.from(text, (letter) => letter.charCodeAt(0) - 32),
      decode: (ids) => String.fromCharCode(...ids.map((id) => id + 32)),
    },
    vocabSize: TINY.vocab,
    defaults: { eosTokenIds: [] },
    executor: { kind: executor.kind, description: executor.description, reason: "test" },
    onClose,
  });
}

const REQUESTS: [string, GenerateOptions][] = [
  ["a prompt of more tokens than a step has", { maxNewTokens: 3, temperature: 0 }],
  ["short", { maxNewTokens: 5, temperature: 1, seed: 7 }],
  ["third", { maxNewTokens: 4, temperature: 0.8, topP: 0.9, repetitionPenalty: 1.3, seed: 8 }],
  ["waits for a place", { maxNewTokens: 3, temperature: 0 }],
];

webgpuTest(
  "generate() gives on WebGPU what it gives on the CPU, alone and side by side",
  async () => {
    await using webgpu = await openEngine(sharedExecutor());
    await using cpu = await openEngine(openCpuExecutor());
    const texts = await Promise.all(REQUESTS.map((request) => webgpu.generate(...request).text()));
    for (const [i, request] of REQUESTS.entries()) {
      const expected = await cpu.generate(...request).text();
      assert.equal(texts[i], expected, "side by side");
      assert.equal(await webgpu.generate(...request).text(), expected, "alone");
    }
    assert.deepEqual(webgpu.report.load, { pages: 0, running: 0, waiting: 0 });
  },
);

webgpuTest("generate() gives the same text alone and in a batch of 32", async () => {
  const limits = stepLimits(tinyLanguageModel(), {
    ...SETTINGS,
    maxBatchSize: 32,
    maxNumTokens: 48,
  });
  await using engine = await openEngine(
    sharedExecutor(),
    { ...limits, reusePrefixes: false },
  );
  const { lists } = engine.report.program as {
    lists: { tokens: { max: number; single?: boolean } }[];
  };
  const ends = lists.flatMap(({ tokens: { max, single } }) => single ? [max] : []);
  // GPUs have one for 2 to 4 sequences, too.
  assert.deepEqual(ends.slice(-3), [8, 16, 32]);
  const requests = Array.from({ length: 32 }, (_, i): [string, GenerateOptions] => [
    `prompt number ${"x".repeat(i % 7)} ${i}`,
    // They end one by one, so that steps of all sizes are made.
    { maxNewTokens: 4 + i, temperature: i % 2, seed: i },
  ]);
  const texts = await Promise.all(requests.map((request) => engine.generate(...request).text()));
  for (const i of [0, 7, 16, 25, 31]) {
    assert.equal(texts[i], await engine.generate(...requests[i]).text(), `request ${i} alone`);
  }
});

webgpuTest("logits() gives on WebGPU what it gives on the CPU, in chunks", async () => {
  await using webgpu = await openEngine(sharedExecutor());
  await using cpu = await openEngine(openCpuExecutor());
  const tokens = Array.from({ length: 21 }, (_, i) => (i * 11) % TINY.vocab);
  const [got, wanted] = [await webgpu.logits(tokens), await cpu.logits(tokens)];
  assert.equal(got.length, 21 * TINY.vocab);
  const largest = wanted.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  for (const [i, value] of wanted.entries()) {
    assert(Math.abs(value - got[i]) <= 1e-4 * largest, `logit ${i}: ${got[i]} for ${value}`);
  }
});

webgpuTest("generate() stops at an abort in the middle and leaves the device usable", async () => {
  await using engine = await openEngine(sharedExecutor());
  const expected = await engine.generate(...REQUESTS[1]).text();
  const controller = new AbortController();
  await assert.rejects(async () => {
    for await (const _ of engine.generate("abort", { signal: controller.signal })) {
      controller.abort();
    }
  }, /got an aborted one/);
  assert.equal(await engine.generate(...REQUESTS[1]).text(), expected);
  assert.deepEqual(engine.report.load, { pages: 0, running: 0, waiting: 0 });
});

webgpuTest("profile() times every dispatch of a step where the device has a clock", async () => {
  const executor = sharedExecutor();
  await using engine = await openEngine(executor);
  const decode = await engine.profile(1, 40);
  const prefill = await engine.profile(16);
  if (!executor.device.profile.timestamps) return assert.equal(decode, undefined);
  const kernels = decode?.map(({ kernel }) => kernel) ?? [];
  assert.deepEqual([kernels[0], kernels.at(-1)], ["embedding", "sample"]);
  const bytes = (decode ?? []).reduce((sum, { weightBytes }) => sum + weightBytes, 0);
  assert.equal(bytes, Reflect.get(engine.report.program, "weightBytesPerToken"));
  for (const { scope, seconds } of [...decode ?? [], ...prefill ?? []]) {
    assert(seconds >= 0 && seconds < 60, `${seconds} s`);
    assert(scope === "" || scope.startsWith("model.layers.0"), scope);
  }
  const batch = await engine.profile(1, 8, 3) ?? [];
  assert.deepEqual([batch[0].kernel, batch.at(-1)?.kernel], ["embedding", "sample"]);
  const refused: [string, ...number[]][] = [
    ["1 to 16 tokens after 0, got 17", 17],
    ["1 to 8 tokens after 3 in each of 2 sequences, got 9", 9, 3, 2],
  ];
  for (const [expected, ...step] of refused) {
    await assert.rejects(engine.profile(...step), new RegExp(`expected ${expected}`));
  }
  await assert.rejects(engine.profile(1, 0, 1000), /expected 1 to \d+ sequences, got 1000/);
  await assert.rejects(engine.profile(1, -1), /expected a context of 0 to \d+ tokens, got -1/);
  assert.deepEqual(engine.report.load, { pages: 0, running: 0, waiting: 0 });
});

webgpuTest("a step of several sequences costs the host what a step of one does", async () => {
  await using engine = await openEngine(sharedExecutor(), { maxWaiting: 8 });
  const count = async (sequences: number) => {
    const generations = Array.from(
      { length: sequences },
      (_, seed) => engine.generate("prompt", { maxNewTokens: 40, temperature: 1, seed }),
    );
    // Prompts, and the first steps, which bring all inputs to the device.
    for (let i = 0; i < 4; i++) await Promise.all(generations.map((each) => each.next()));
    const before = engine.stats();
    const calls = await countGpuCalls(async () => {
      await Promise.all(generations.map(async (each) => {
        for (let i = 0; i < 30; i++) await each.next();
      }));
    });
    const { steps, generatedTokens } = engine.stats();
    await Promise.all(generations.map((each) => each.return()));
    return { calls, steps: steps - before.steps, tokens: generatedTokens - before.generatedTokens };
  };
  const [one, three] = [await count(1), await count(3)];
  assert(three.tokens >= 2.5 * three.steps, `${three.tokens} tokens in ${three.steps} steps`);
  for (const { calls, steps } of [one, three]) {
    // Nothing is created but commands; one is recorded ahead, and some anew when a submit has more steps.
    const { submit = 0, createCommandEncoder = 0, writeBuffer = 0, ...others } = calls;
    assert.deepEqual(others, {});
    // How many steps a submit has follows the time they take, so that slow machines record more often.
    assert(submit <= steps && createCommandEncoder <= steps + 4, JSON.stringify(calls));
    // Of all inputs only the block table changes, when sequences need pages: 30 tokens in 16 each.
    assert(writeBuffer <= 8, JSON.stringify(calls));
  }
});

webgpuTest("close() gives the device's memory back", async () => {
  const executor = await openWebGpuExecutor({ selfTest: false });
  const engine = await openEngine(executor, {}, {}, () => executor.dispose());
  await engine.generate("x", { maxNewTokens: 2 }).text();
  assert(executor.device.allocatedBytes > 0);
  await engine.close();
  assert.equal(executor.device.allocatedBytes, 0);
});

/** Greedy requests with the same beginning, longer together than the pages of `SCARCE`. */
const LONG: [string, GenerateOptions][] = ["one", "two", "three", "four"].map((name) => [
  `A beginning that all of them share, then ${name}`,
  { maxNewTokens: 16, temperature: 0 },
]);
const SCARCE: Partial<StepLimits> = { pages: 7 };

for (const kind of ["webgpu", "cpu"] as const) {
  const test = kind === "webgpu" ? webgpuTest : Deno.test;
  const openKind = () => kind === "webgpu" ? sharedExecutor() : openCpuExecutor();

  for (const window of [undefined, 20]) {
    const name = `with and without known prefixes and preemption, window ${window ?? "none"}`;
    test(`generate() on ${kind} is the same ${name}`, async () => {
      const texts = async (engine: Engine, together: boolean) => {
        if (together) {
          return await Promise.all(LONG.map((request) => engine.generate(...request).text()));
        }
        const alone = [];
        for (const request of LONG) alone.push(await engine.generate(...request).text());
        return alone;
      };
      const open = async (change: Partial<StepLimits>) =>
        await openEngine(openKind(), change, { window });
      await using plain = await open({ reusePrefixes: false });
      const expected = await texts(plain, false);
      assert.equal(plain.stats().reusedTokens, 0);
      assert.deepEqual(await texts(plain, true), expected, "side by side");
      for (const reusePrefixes of [true, false]) {
        await using engine = await open({ ...SCARCE, reusePrefixes });
        assert.deepEqual(await texts(engine, true), expected, `side by side, ${reusePrefixes}`);
        assert.deepEqual(await texts(engine, false), expected, `alone, ${reusePrefixes}`);
        const { preemptions, reusedTokens, pages } = engine.stats();
        assert(preemptions > 0, "the pages suffice");
        assert.equal(reusedTokens > 0, reusePrefixes);
        assert.equal(pages.used, 0);
      }
    });
  }

  test(`generate() on ${kind} is the same under arrivals, cancels and lack of pages`, async () => {
    const next = randomNumbers(7);
    const below = (n: number) => Math.floor(Math.abs(next()) * n) % n;
    const requests = Array.from({ length: 14 }, (_, seed): [string, GenerateOptions] => [
      ["", "A beginning of several", "A beginning of several pages, then"][below(3)] + " x" + seed,
      { maxNewTokens: 18 + below(6), temperature: below(2), seed },
    ]);
    await using plain = await openEngine(openKind(), { reusePrefixes: false });
    const expected: string[] = [];
    for (const request of requests) expected.push(await plain.generate(...request).text());
    await using engine = await openEngine(openKind(), { pages: 7 });
    await Promise.all(requests.map(async (request, i) => {
      await new Promise((resolve) => setTimeout(resolve, below(3) * 10));
      const leaves = i % 4 === 3 ? 1 + below(5) : Infinity;
      let text = "";
      for await (const piece of engine.generate(...request)) {
        text += piece.text;
        if (text.length >= leaves) break;
      }
      assert.equal(text, expected[i].slice(0, text.length));
      if (leaves === Infinity) assert.equal(text, expected[i]);
    }));
    while (engine.stats().running > 0) await new Promise((resolve) => setTimeout(resolve, 1));
    const { preemptions, pages, waiting } = engine.stats();
    assert.deepEqual([pages.used, waiting], [0, 0]);
    assert(preemptions > 0, "the pages suffice");
  });

  test(`generate() on ${kind}: a sequence of NaN fails alone and leaves nothing behind`, async () => {
    const poisonToken = "@".charCodeAt(0) - 32;
    const options = { maxNewTokens: 12, temperature: 0 };
    await using engine = await openEngine(openKind(), { pages: 8 }, { poisonToken });
    const expected = await engine.generate("innocent", options).text();
    const [beside, poisoned] = await Promise.allSettled([
      engine.generate("innocent", options).text(),
      engine.generate("a @ b, and what comes then", options).text(),
    ]);
    assert(beside.status === "fulfilled" && beside.value === expected, JSON.stringify(beside));
    assert(poisoned.status === "rejected" && poisoned.reason.code === "kernel/logits");
    // Whoever gets the pages with NaN in them must not see it.
    for (let i = 0; i < 4; i++) {
      const prompt = `${i} other text`;
      await assert.doesNotReject(
        engine.generate(prompt, { maxNewTokens: 40, temperature: 0 }).text(),
      );
    }
    assert.equal(await engine.generate("innocent", options).text(), expected);
  });

  test(`generate() on ${kind} follows biases, penalties, allowed tokens and log-probabilities`, async () => {
    const code = (letter: string) => letter.charCodeAt(0) - 32;
    const options = { maxNewTokens: 12, temperature: 0 };
    await using engine = await openEngine(openKind());
    const plain = await engine.generate("a prompt", options).text();
    const text = (more: GenerateOptions) =>
      engine.generate("a prompt", { ...options, ...more }).text();
    assert.equal(await text({ logitBias: { [code("Q")]: 100 } }), "Q".repeat(12));
    const banned = await text({ logitBias: new Map([[code(plain[0]), -100]]) });
    assert.notEqual(banned[0], plain[0]);
    // What was made once is out of reach afterwards, and with the frequency what was made often.
    assert.equal(new Set(await text({ presencePenalty: 100 })).size, 12);
    const turns = await text({ frequencyPenalty: 100, logitBias: { 3: 100, 4: 100, 5: 100 } });
    assert.equal(new Set(turns.slice(0, 3)).size, 3);
    assert.deepEqual(new Set(turns.slice(0, 3)), new Set(["#", "$", "%"]));
    // A grammar of a kind: letters and digits take turns.
    const mask = (first: number, last: number) => {
      const words = new Uint32Array(3);
      for (let id = first; id <= last; id++) words[id >>> 5] |= 1 << (id & 31);
      return words;
    };
    const seen: number[][] = [];
    const pieces = [];
    const constrained = engine.generate("a prompt", {
      ...options,
      temperature: 1,
      seed: 3,
      logprobs: 3,
      allowedTokens: (made) => {
        seen.push([...made]);
        return made.length % 2 === 0 ? mask(code("A"), code("Z")) : mask(code("0"), code("9"));
      },
    });
    for await (const piece of constrained) pieces.push(piece);
    assert.match(pieces.map((piece) => piece.text).join(""), /^([A-Z][0-9]){6}$/);
    assert.deepEqual(seen.at(-1), pieces.slice(0, -1).map(({ token }) => token));
    for (const { token, logprobs } of pieces) {
      assert(logprobs && logprobs.top.length === 3 && logprobs.logprob <= 0);
      const own = logprobs.top.find((each) => each.token === token);
      if (own) assert.equal(own.logprob, logprobs.logprob);
      const sum = logprobs.top.reduce((total, { logprob }) => total + Math.exp(logprob), 0);
      assert(sum > 0 && sum < 1 + 1e-5, `${sum}`);
    }
    // Beside all of that, and after it, a plain request is what it was.
    const [beside] = await Promise.all([
      text({}),
      text({ presencePenalty: 1, logprobs: 0 }),
      text({ allowedTokens: () => mask(0, 40) }),
    ]);
    assert.equal(beside, plain);
    assert.equal(await text({}), plain);
  });
}
