import assert from "node:assert/strict";
import fc from "../../../deps/fast_check.ts";
import { MixlineError } from "../../../graph/mod.ts";
import type { Sampling } from "../../../graph/mod.ts";
import { pcg, sampleToken } from "../../../kernels/cpu/sample.ts";
import { numbersOf, random } from "../../support/host_tensors.ts";

const OFF: Sampling = {
  ...{ temperature: 1, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 42 },
};
const GREEDY = { ...OFF, temperature: 0 };

/** Share of each token over many positions. */
function frequencies(logits: Float32Array, options: Sampling, draws = 20_000): number[] {
  const counts = new Array<number>(logits.length).fill(0);
  for (let position = 0; position < draws; position++) {
    counts[sampleToken(logits, options, position)]++;
  }
  return counts.map((count) => count / draws);
}

function softmax(values: readonly number[]): number[] {
  const weights = values.map(Math.exp);
  const sum = weights.reduce((a, b) => a + b, 0);
  return weights.map((weight) => weight / sum);
}

/** pcg_hash with exact integers. */
function reference(input: number): number {
  const mask = 0xffffffffn;
  const state = (BigInt(input) * 747796405n + 2891336453n) & mask;
  const word = (((state >> ((state >> 28n) + 4n)) ^ state) * 277803737n) & mask;
  return Number(((word >> 22n) ^ word) & mask);
}

Deno.test("pcg() equals the published hash in exact integer arithmetic", () => {
  assert.deepEqual([0, 1, 2, 0xffffffff].map(pcg), [0, 1, 2, 0xffffffff].map(reference));
  fc.assert(fc.property(fc.integer({ min: 0, max: 0xffffffff }), (x) => pcg(x) === reference(x)));
});

Deno.test("sampleToken() at temperature 0 takes the largest logit, ties to the lowest id", () => {
  assert.equal(sampleToken(Float32Array.of(1, 5, 5, 2), GREEDY, 0), 1);
  assert.equal(sampleToken(Float32Array.of(-Infinity, -3), GREEDY, 0), 1);
  assert.equal(sampleToken(Float32Array.of(7), OFF, 3), 0);
});

Deno.test("sampleToken() penalizes seen tokens towards lower logits, whatever their sign", () => {
  const penalty = { ...GREEDY, repetitionPenalty: 2 };
  assert.equal(sampleToken(Float32Array.of(3, 2, 1), penalty, 0, [0]), 1);
  assert.equal(sampleToken(Float32Array.of(-1, -1.5), penalty, 0, [0]), 1);
  assert.equal(sampleToken(Float32Array.of(3, 2), penalty, 0, [0, 0, 0]), 1);
  assert.equal(sampleToken(Float32Array.of(3, 1.4), penalty, 0, [0, 99]), 0);
});

Deno.test("sampleToken() draws with the probabilities of the softmax", () => {
  const logits = [0, 1, 2, -1];
  for (const temperature of [1, 0.5]) {
    const expected = softmax(logits.map((logit) => logit / temperature));
    const got = frequencies(Float32Array.from(logits), { ...OFF, temperature });
    got.forEach((share, i) => {
      // Five standard deviations of a binomial share.
      const spread = Math.sqrt(expected[i] * (1 - expected[i]) / 20_000);
      assert.ok(Math.abs(share - expected[i]) < 5 * spread, `token ${i}: ${share}`);
    });
  }
});

Deno.test("sampleToken() keeps what top-k, top-p and min-p keep", () => {
  const kept = (logits: number[], options: Partial<Sampling>) =>
    frequencies(Float32Array.from(logits), { ...OFF, ...options }, 3000)
      .flatMap((share, i) => (share > 0 ? [i] : []));
  const logits = [0.5, 0.1, 0.25, 0.15].map(Math.log);
  assert.deepEqual(kept(logits, { topK: 2 }), [0, 2]);
  assert.deepEqual(kept(logits, { topK: 1 }), [0]);
  assert.deepEqual(kept(logits, { topP: 0.7 }), [0, 2]);
  assert.deepEqual(kept(logits, { topP: 0.4 }), [0]);
  assert.deepEqual(kept(logits, { topP: 0 }), [0]);
  assert.deepEqual(kept(logits, { minP: 0.4 }), [0, 2]);
  assert.deepEqual(kept(logits, { minP: 1 }), [0]);
  // Ties at the threshold stay, and top-p counts what top-k left: 0.5 / 0.75 reaches 0.6.
  assert.deepEqual(kept([1, 0, 0, -1], { topK: 2 }), [0, 1, 2]);
  assert.deepEqual(kept(logits, { topK: 2, topP: 0.6 }), [0]);
  assert.deepEqual(kept(logits, { topK: 99, topP: 1, minP: 0 }), [0, 1, 2, 3]);
});

Deno.test("sampleToken() depends on seed and position alone, and on both", () => {
  const logits = numbersOf(random([50], 1));
  const draws = (seed: number) =>
    Array.from({ length: 40 }, (_, position) => sampleToken(logits, { ...OFF, seed }, position));
  assert.deepEqual(draws(7), draws(7));
  assert.notDeepEqual(draws(7), draws(8));
  assert.ok(new Set(draws(7)).size > 10);
  assert.deepEqual(draws(0xffffffff).length, 40);
});

Deno.test("sampleToken() never leaves the logits' order at a vanishing temperature", () => {
  fc.assert(
    fc.property(fc.nat(1000), fc.nat(1000), (seed, position) => {
      const logits = numbersOf(random([20], seed));
      const greedy = sampleToken(logits, GREEDY, position);
      for (const temperature of [1e-6, 1e-40]) {
        assert.equal(sampleToken(logits, { ...OFF, temperature, seed }, position), greedy);
      }
    }),
    { numRuns: 50 },
  );
});

Deno.test("sampleToken() draws a kept token for any parameters", () => {
  const options = fc.record({
    temperature: fc.double({ min: 0.01, max: 5, noNaN: true }),
    topK: fc.nat(12),
    topP: fc.double({ min: 0, max: 1, noNaN: true }),
    minP: fc.double({ min: 0, max: 1, noNaN: true }),
    repetitionPenalty: fc.constantFrom(1, 1.3),
    seed: fc.integer({ min: 0, max: 0xffffffff }),
  });
  fc.assert(
    fc.property(options, fc.nat(100), (given, seed) => {
      const logits = numbersOf(random([10], seed, 6));
      const token = sampleToken(logits, given, seed, [1, 2]);
      assert.ok(token >= 0 && token < 10);
      const larger = logits.filter((logit) => logit > logits[token]).length;
      if (given.topK > 0 && given.repetitionPenalty === 1) assert.ok(larger < given.topK);
    }),
  );
});

Deno.test("sampleToken() refuses logits that are not finite", () => {
  for (const logits of [[NaN, 1], [1, NaN], [1, Infinity], [-Infinity, -Infinity], []]) {
    assert.throws(() => sampleToken(Float32Array.from(logits), GREEDY, 0), (error) => {
      assert.ok(error instanceof MixlineError);
      assert.equal(error.code, "kernel/logits");
      return true;
    });
  }
});
