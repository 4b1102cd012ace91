import assert from "node:assert/strict";
import { Graph } from "../../../graph/mod.ts";
import { sampleToken } from "../../../kernels/cpu/sample.ts";
import {
  type Draw,
  DRAW_WORDS,
  encodeDraw,
  lowerSampling,
  samplingStateBytes,
  seenWords,
} from "../../../kernels/sampling/sample.ts";
import type { LoweringContext } from "../../../kernels/kernel.ts";
import { webgpuTest } from "../../support/adapter.ts";
import { randomNumbers } from "../../support/op_case.ts";
import { type DispatchRunner, withRunner } from "../../support/run_dispatches.ts";

const SLOTS = 6;
const STEPS = 4;

/** A sampler with its memory on a device. */
class Sampler {
  readonly #graph = new Graph("sampler");
  readonly #logits;
  readonly #rows;
  readonly #ids;
  readonly #positions;

  constructor(
    readonly runner: DispatchRunner,
    readonly vocabulary: number,
    readonly maxRows: number,
    readonly context: Partial<LoweringContext> = {},
  ) {
    this.#logits = this.#graph.addInput("logits", { dtype: "f32", shape: ["R", vocabulary] });
    this.#rows = this.#graph.addInput("logits_rows", { dtype: "i32", shape: ["R"] });
    this.#ids = this.#graph.addInput("token_ids", { dtype: "i32", shape: ["T"] });
    this.#positions = this.#graph.addInput("positions", { dtype: "i32", shape: ["T"] });
    const bytes = samplingStateBytes({ vocabulary, slots: SLOTS, maxRows, maxSteps: STEPS });
    runner.clear();
    for (const [name, size] of Object.entries(bytes)) {
      runner.allocate({ kind: "state", name }, size);
    }
  }

  see(slot: number, tokens: readonly number[]): void {
    const words = new Uint32Array(SLOTS * seenWords(this.vocabulary));
    for (const token of tokens) {
      words[slot * seenWords(this.vocabulary) + (token >> 5)] |= 1 << (token & 31);
    }
    this.runner.write({ kind: "state", name: "seen" }, words);
  }

  /** Draws one token a row; row r belongs to token `rows[r]` of the step. */
  async draw(
    logits: readonly Float32Array[],
    draws: readonly Draw[],
    positions: readonly number[],
    rows: readonly number[] = logits.map((_, i) => i),
  ): Promise<void> {
    const { runner } = this;
    const flat = new Float32Array(logits.length * this.vocabulary);
    logits.forEach((row, i) => flat.set(row, i * this.vocabulary));
    const words = new Uint32Array(draws.length * DRAW_WORDS);
    draws.forEach((draw, i) => words.set(encodeDraw(draw), i * DRAW_WORDS));
    runner.write(this.#logits, flat);
    runner.write({ kind: "state", name: "draws" }, words);
    runner.write(this.#rows, Int32Array.from(rows));
    runner.write(this.#ids, new Int32Array(positions.length).fill(-7));
    runner.write(this.#positions, Int32Array.from(positions));
    await this.run(logits.length, positions.length);
  }

  async run(R: number, T: number): Promise<void> {
    const dispatches = lowerSampling({
      vocabulary: this.vocabulary,
      logits: this.#logits,
      logitsRows: this.#rows,
      tokenIds: this.#ids,
      positions: this.#positions,
    }, { profile: this.runner.profile, maxRows: this.maxRows, ...this.context });
    await this.runner.run(dispatches, { T, R, S: T, P: 1 });
  }

  history(count: number): Promise<Int32Array> {
    return this.runner.readI32({ kind: "state", name: "history" }, count);
  }

  positions(count: number): Promise<Int32Array> {
    return this.runner.readI32(this.#positions, count);
  }

  tokenIds(count: number): Promise<Int32Array> {
    return this.runner.readI32(this.#ids, count);
  }

  async counter(): Promise<number> {
    return (await this.runner.readI32({ kind: "state", name: "counter" }, 1))[0];
  }

  resetCounter(): void {
    this.runner.write({ kind: "state", name: "counter" }, Uint32Array.of(0));
  }

  async seen(slot: number, token: number): Promise<boolean> {
    const words = SLOTS * seenWords(this.vocabulary);
    const all = await this.runner.readI32({ kind: "state", name: "seen" }, words);
    return ((all[slot * seenWords(this.vocabulary) + (token >> 5)] >> (token & 31)) & 1) === 1;
  }
}

const OPEN: Draw = {
  temperature: 1,
  topK: 0,
  topP: 1,
  minP: 0,
  repetitionPenalty: 1,
  seed: 1,
  slot: 0,
  advance: false,
};

/** Logits like a model's: a few large, a long tail. */
function peaked(vocabulary: number, seed: number, scale = 1): Float32Array {
  const next = randomNumbers(seed);
  return Float32Array.from({ length: vocabulary }, () => {
    const a = next();
    return scale * (4 * a + 9 * Math.max(0, a) ** 24 + next());
  });
}

const FILTERS: readonly Partial<Draw>[] = [
  { temperature: 0 },
  { temperature: 0.7 },
  { temperature: 1.3, seed: 0xdeadbeef },
  { topK: 1 },
  { topK: 50 },
  { topP: 0.9 },
  { topP: 0.5, temperature: 0.6 },
  { topP: 0 },
  { minP: 0.05 },
  { minP: 2 },
  { topK: 40, topP: 0.95, minP: 0.02, temperature: 0.8 },
  { repetitionPenalty: 1.3, temperature: 0 },
  { repetitionPenalty: 1.5, topP: 0.9 },
  { temperature: 1e-30 },
];

/** Deep thresholds: these are found by scanning all logits. */
const DEEP: readonly Partial<Draw>[] = [
  { topP: 0.999, temperature: 3 },
  { topK: 3000 },
  { topK: 3500, topP: 0.99 },
  { minP: 1e-6, temperature: 2 },
];

/** Draws with every filter at several positions; all tokens must be the CPU's. */
async function checkDraws(
  sampler: Sampler,
  filters: readonly Partial<Draw>[],
  positions: readonly number[],
): Promise<void> {
  const seen = [3, 17, sampler.vocabulary - 1, 40, 64];
  for (const position of positions) {
    const draws = filters.map((filter) => ({ ...OPEN, ...filter }));
    const logits = filters.map((_, i) => peaked(sampler.vocabulary, 100 * position + i));
    logits.forEach((row) => seen.forEach((id) => row[id] = Math.abs(row[id]) + 8));
    sampler.resetCounter();
    sampler.see(0, seen);
    await sampler.draw(logits, draws, filters.map(() => position));
    const got = await sampler.history(filters.length);
    const expected = draws.map((draw, i) => sampleToken(logits[i], draw, position, seen));
    assert.deepEqual([...got], expected, `position ${position}: ${JSON.stringify(filters)}`);
  }
}

webgpuTest("lowerSampling draws what the CPU draws", () =>
  withRunner(async (runner) => {
    const sampler = new Sampler(runner, 9001, 16);
    await checkDraws(sampler, FILTERS, [0, 1, 2, 77, 4095]);
    assert.equal(await sampler.counter(), 1);
  }));

webgpuTest("lowerSampling finds deep thresholds by scanning", () =>
  withRunner(async (runner) => {
    await checkDraws(new Sampler(runner, 5000, 16), DEEP, [0, 5, 9]);
    const tiny = new Sampler(runner, 37, 16);
    await checkDraws(tiny, [...FILTERS.slice(0, 11), { topK: 36, topP: 0.9999 }], [0, 5]);
  }));

webgpuTest(
  "lowerSampling hands over between dispatches when asked to",
  () =>
    withRunner(async (runner) => {
      const sampler = new Sampler(runner, 9001, 16, { handOff: "dispatch" });
      await checkDraws(sampler, FILTERS, [3]);
    }),
);

webgpuTest("lowerSampling breaks ties towards the lowest id", () =>
  withRunner(async (runner) => {
    const sampler = new Sampler(runner, 8200, 4);
    const flat = new Float32Array(8200).fill(-2);
    const late = flat.slice();
    late[4100] = late[8199] = late[5000] = 1;
    const greedy = { ...OPEN, temperature: 0 };
    // All equal: top-k keeps every tie, so the draw is over all of them.
    const rows = [flat, late, flat, late];
    const draws = [greedy, greedy, { ...OPEN, topK: 2 }, { ...OPEN, topK: 1, topP: 0.1 }];
    await sampler.draw(rows, draws, [4, 4, 4, 4]);
    const expected = rows.map((row, i) => sampleToken(row, draws[i], 4));
    assert.deepEqual([...await sampler.history(4)], expected);
    assert.deepEqual(expected.slice(0, 2), [0, 4100]);
  }));

webgpuTest("lowerSampling advances, remembers and counts", () =>
  withRunner(async (runner) => {
    const sampler = new Sampler(runner, 300, 3);
    const logits = [peaked(300, 1), peaked(300, 2)];
    const draws = [{ ...OPEN, slot: 2, advance: true }, { ...OPEN, slot: 5, temperature: 0 }];
    await sampler.draw(logits, draws, [10, 20, 30], [2, 0]);
    const [first, second] = await sampler.history(2);
    assert.equal(first, sampleToken(logits[0], draws[0], 30));
    assert.equal(second, sampleToken(logits[1], draws[1], 10));
    assert.deepEqual([...await sampler.positions(3)], [10, 20, 31]);
    assert.deepEqual([...await sampler.tokenIds(3)], [-7, -7, first]);
    assert.ok(await sampler.seen(2, first) && await sampler.seen(5, second));
    assert.equal(await sampler.seen(5, first), first === second);
    // The next step goes to the next line of the history, and draws at the position it finds.
    await sampler.run(2, 3);
    const lines = await sampler.history(4);
    assert.deepEqual([...lines.slice(0, 2)], [first, second]);
    assert.equal(lines[2], sampleToken(logits[0], draws[0], 31));
    assert.equal(await sampler.counter(), 2);
  }));

webgpuTest(
  "lowerSampling gives -1 for logits that are not finite",
  () =>
    withRunner(async (runner) => {
      const sampler = new Sampler(runner, 5000, 4);
      const rows = [NaN, Infinity, -Infinity].map((value) => {
        const row = peaked(5000, 3);
        row[4500] = value;
        return row;
      });
      rows.push(new Float32Array(5000).fill(-Infinity));
      const draws = rows.map(() => ({ ...OPEN, topP: 0.9 }));
      await sampler.draw(rows, draws, [1, 1, 1, 1]);
      const expected = sampleToken(rows[2], draws[2], 1);
      assert.deepEqual([...await sampler.history(4)], [-1, -1, expected, -1]);
      assert.throws(() => sampleToken(rows[0], draws[0], 1), { code: "kernel/logits" });
    }),
);
