import assert from "node:assert/strict";
import { type DrawDetails, Graph } from "../../../graph/mod.ts";
import { adjustLogits, logprobsOf } from "../../../kernels/cpu/sample.ts";
import {
  decodeLogprobs,
  encodeDetails,
  LOGPROB_WORDS,
  lowerDrawDetails,
} from "../../../kernels/sampling/draw_details.ts";
import { seenWords } from "../../../kernels/sampling/sample.ts";
import { webgpuTest } from "../../support/adapter.ts";
import { randomNumbers } from "../../support/op_case.ts";
import { withRunner } from "../../support/run_dispatches.ts";

const ROWS = 7;
const NATS = 2e-5;

/** A mask that allows about one token of `every`, and the given ones. */
function mask(vocabulary: number, every: number, seed: number, sure: readonly number[] = []) {
  const next = randomNumbers(seed);
  const words = new Uint32Array(seenWords(vocabulary));
  for (let id = 0; id < vocabulary; id++) {
    if (Math.abs(next()) * every < 1 || sure.includes(id)) words[id >>> 5] |= 1 << (id & 31);
  }
  return words;
}

function adjustments(entries: readonly (readonly [number, number])[]) {
  return {
    ids: Int32Array.from(entries, ([id]) => id),
    values: Float32Array.from(entries, ([, value]) => value),
  };
}

function cases(vocabulary: number): DrawDetails[] {
  const last = vocabulary - 1;
  const many = Array.from(
    { length: Math.min(vocabulary, 900) },
    (_, i): [number, number] => [last - i, i % 7 - 3.3],
  );
  return [
    {},
    { logprobs: 0 },
    { logprobs: 20 },
    { adjust: adjustments([[0, 100], [last, -0.37]]), logprobs: 3 },
    { adjust: adjustments(many), logprobs: 20 },
    { allowed: mask(vocabulary, 9, 3, [last]), logprobs: 20 },
    {
      allowed: mask(vocabulary, 1e9, 4, [last, 5]),
      adjust: adjustments([[5, -3]]),
      logprobs: 20,
    },
  ];
}

for (const vocabulary of [37, 5000, 9001]) {
  webgpuTest(
    `lowerDrawDetails does what the CPU does, with ${vocabulary} tokens`,
    () =>
      withRunner(async (runner) => {
        const graph = new Graph("details");
        const logits = graph.addInput("logits", { dtype: "f32", shape: ["R", vocabulary] });
        const next = randomNumbers(vocabulary);
        const rows = Array.from(
          { length: ROWS },
          () => Float32Array.from({ length: vocabulary }, () => Math.fround(6 * next())),
        );
        // Ties, and a logit that is none.
        rows[2].fill(7, 3, 9);
        rows[2][11] = -Infinity;
        const flat = new Float32Array(ROWS * vocabulary);
        rows.forEach((row, i) => flat.set(row, i * vocabulary));
        const details = cases(vocabulary);
        const tokens = Int32Array.from(details, (_, row) => row === 6 ? 5 : (row * 5) % vocabulary);
        runner.clear();
        runner.write(logits, flat);
        runner.write({ kind: "state", name: "history" }, tokens);
        runner.write({ kind: "state", name: "draw_details" }, encodeDetails(details, ROWS + 2));
        const masks = new Uint32Array((ROWS + 2) * seenWords(vocabulary));
        details.forEach(({ allowed }, row) =>
          masks.set(allowed ?? [], row * seenWords(vocabulary))
        );
        runner.write({ kind: "state", name: "masks" }, masks);
        runner.allocate({ kind: "state", name: "logprobs" }, (ROWS + 2) * LOGPROB_WORDS * 4);
        const { before, after } = lowerDrawDetails({ vocabulary, logits, maxRows: ROWS + 2 });
        await runner.run([before, after], { T: ROWS, R: ROWS, S: ROWS, P: 1 });
        const changed = await runner.readF32(logits, flat.length);
        const words = ROWS * LOGPROB_WORDS;
        const records = await runner.readI32({ kind: "state", name: "logprobs" }, words);
        for (const [row, each] of details.entries()) {
          const expected = adjustLogits(rows[row], each);
          const got = changed.subarray(row * vocabulary, (row + 1) * vocabulary);
          for (let id = 0; id < vocabulary; id++) {
            const same = got[id] === expected[id] ||
              (expected[id] === -Infinity && got[id] < -3e38);
            assert(same, `row ${row}, token ${id}: ${got[id]} for ${expected[id]}`);
          }
          if (each.logprobs === undefined) continue;
          const wanted = logprobsOf(expected, tokens[row], each.logprobs);
          const record = new Uint32Array(records.slice(row * LOGPROB_WORDS).buffer);
          const found = decodeLogprobs(record);
          assert.deepEqual(
            found.top.map(({ token }) => token),
            wanted.top.map(({ token }) => token),
            `row ${row}`,
          );
          const pairs = [[found.logprob, wanted.logprob]];
          found.top.forEach(({ logprob }, i) => pairs.push([logprob, wanted.top[i].logprob]));
          for (const [a, b] of pairs) {
            const close = Math.abs(a - b) <= NATS * Math.max(1, Math.abs(b)) ||
              (b === -Infinity && a < -3e38);
            assert(close, `row ${row}: ${a} for ${b}`);
          }
        }
      }),
  );
}

Deno.test("logprobsOf() gives probabilities that add up to 1, and no token that is not allowed", () => {
  const logits = Float32Array.of(1, 2, 3, 4, 5);
  const { logprob, top } = logprobsOf(logits, 1, 20);
  assert.equal(top.length, 5);
  assert.deepEqual(top.map(({ token }) => token), [4, 3, 2, 1, 0]);
  assert(Math.abs(top.reduce((sum, each) => sum + Math.exp(each.logprob), 0) - 1) < 1e-12);
  assert.equal(logprob, top[3].logprob);
  const allowed = adjustLogits(logits, { allowed: Uint32Array.of(0b00110) });
  assert.deepEqual(logprobsOf(allowed, 2, 20).top.map(({ token }) => token), [2, 1]);
  assert.deepEqual([...logits], [1, 2, 3, 4, 5], "the logits stay as they are");
});
