import assert from "node:assert/strict";
import { bindShape, input, MixlineError } from "../../../graph/mod.ts";
import {
  compileSizes,
  createEngine,
  type Engine,
  openCpuExecutor,
  stepLimits,
} from "../../../runtime/mod.ts";
import { runInSlices } from "../../../runtime/cpu/row_slices.ts";
import { cpuTimer } from "../../support/cpu_time.ts";
import { latentAttrs, latentInputs, type LatentModel } from "../../support/latent_cases.ts";
import { buildNode, runOnCpu } from "../../support/op_case.ts";
import { cachedNumbers, run, stepSizes } from "../../support/paged_steps.ts";
import { NO_TENSORS } from "../../support/test_kernels.ts";
import { TINY, tinyLanguageModel } from "../../support/tiny_language_model.ts";

/** An engine of the tiny model with steps of so many tokens. */
async function openEngine(maxNumTokens: number): Promise<Engine> {
  const graph = tinyLanguageModel();
  const limits = stepLimits(graph, { maxSeqLen: 4100, maxBatchSize: 2, maxNumTokens });
  const executor = openCpuExecutor();
  const program = await executor.compile(graph, { source: NO_TENSORS, ...compileSizes(limits) });
  return createEngine({
    program,
    limits,
    codec: { encode: () => [], decode: () => "" },
    vocabSize: TINY.vocab,
    defaults: { eosTokenIds: [] },
    executor: { kind: "cpu", description: "cpu", reason: "test" },
  });
}

/** Token ids; those of another `first` have no common beginning. */
const tokens = (count: number, first = 0) =>
  Array.from({ length: count }, (_, i) => (first + i * 7) % TINY.vocab);

/** Milliseconds of computing within which an abort or a close must have taken effect. */
const SOON_MS = 1000;

Deno.test("a step in slices gives the bits of steps that are too short for them", async () => {
  await using sliced = await openEngine(512);
  await using short = await openEngine(16);
  assert.deepEqual(await sliced.logits(tokens(300)), await short.logits(tokens(300)));
});

Deno.test("latent attention in slices gives the bits of one piece", async () => {
  const model: LatentModel = { heads: 2, nopeDim: 5, ropeDim: 4, valueDim: 3, latentDim: 12 };
  const step = [...run(1, 3, 30), ...run(0, 0, 10)];
  const given = { op: "cached_mla_attention", attrs: latentAttrs(model) } as const;
  const inputs = latentInputs(model, step);
  const { node, values } = buildNode({ ...given, inputs });
  const tensors = new Map(
    [...values].map(([{ id, dtype, shape }, data]) =>
      [id, { dtype, shape: bindShape(shape, stepSizes(step)), data }] as const
    ),
  );
  const cacheOf = () => ({
    keys: cachedNumbers("f16", [1, 16, 16], 11),
    values: cachedNumbers("f16", [1, 16, 0], 12),
  });
  const sizes = { R: 1, ...stepSizes(step) };
  const whole = runOnCpu({ ...given, inputs, sizes, caches: { layer: cacheOf() } }, sizes);
  const cache = cacheOf();
  const slices: number[] = [];
  const sliced = await runInSlices(
    node,
    (value) => {
      const found = tensors.get(value.id);
      assert.ok(found);
      return found;
    },
    sizes,
    (tensor, bindings) => {
      slices.push(Number(bindings.T));
      const own = Object.fromEntries(
        Object.keys(inputs).map((name) => [name, tensor(input(node, name))]),
      );
      const some = { ...sizes, T: Number(bindings.T) };
      return runOnCpu({ ...given, inputs: own, sizes: some, caches: { layer: cache } }, some);
    },
    () => Promise.resolve(),
  );
  assert.ok(slices.length > 1, `${slices}`);
  assert.deepEqual(sliced, whole);
});

Deno.test("timers are served within a long prompt's step", async () => {
  await using engine = await openEngine(4096);
  // The process can lose its core for a while, which no slice is guilty of; hardly three times.
  const seen: string[] = [];
  for (let attempt = 1; attempt <= 3; attempt++) {
    const { ticks, longest, whole } = await turnsDuring(() =>
      engine.generate(tokens(2000, attempt), { maxNewTokens: 1 }).text()
    );
    assert.equal(engine.stats().steps, attempt);
    assert(ticks > 5, `${ticks} turns`);
    if (longest < whole / 3) return;
    seen.push(`${longest} ms of ${whole} ms`);
  }
  assert.fail(`without a turn: ${seen.join(", ")}`);
});

/** How many turns a timer had while something ran, and the longest time between two, in milliseconds. */
async function turnsDuring(work: () => Promise<unknown>) {
  const started = performance.now();
  let [last, longest, ticks] = [started, 0, 0];
  const timer = setInterval(() => {
    longest = Math.max(longest, performance.now() - last);
    last = performance.now();
    ticks++;
  }, 10);
  await work();
  clearInterval(timer);
  return { ticks, longest, whole: performance.now() - started };
}

Deno.test("an abort within a long prompt's step ends the step", async () => {
  await using engine = await openEngine(4096);
  const controller = new AbortController();
  const generation = engine.generate(tokens(4000), { maxNewTokens: 5, signal: controller.signal });
  const ended = generation.text().then(() => undefined, (error: unknown) => error);
  await new Promise((resolve) => setTimeout(resolve, 50));
  const computed = cpuTimer();
  controller.abort();
  const error = await ended;
  assert(error instanceof MixlineError && error.code === "request/aborted", String(error));
  // The place is free again at once, not when the prompt is through.
  await engine.generate(tokens(3), { maxNewTokens: 1 }).text();
  const took = computed();
  assert(took < SOON_MS, `${took} ms from the abort to the next answer`);
  assert.equal(engine.stats().cancelled, 1);
});

Deno.test("closing does not wait for a long prompt's step", async () => {
  const engine = await openEngine(4096);
  const ended = engine.generate(tokens(4000), { maxNewTokens: 5 }).text()
    .then(() => undefined, (error: unknown) => error);
  const logits = engine.logits(tokens(4000)).then(() => undefined, (error: unknown) => error);
  await new Promise((resolve) => setTimeout(resolve, 50));
  const computed = cpuTimer();
  await engine.close();
  const took = computed();
  for (const error of [await ended, await logits]) assert(error instanceof MixlineError);
  assert(took < SOON_MS, `${took} ms to close`);
});
