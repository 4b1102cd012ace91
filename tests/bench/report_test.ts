import assert from "node:assert/strict";
import type { ContestResult } from "../../bench/moe_contest.ts";
import { formatRatios, moeRatios } from "../../bench/moe_ratios.ts";
import { drawCharts } from "../../bench/report_charts.ts";
import type { Report } from "../../bench/report_data.ts";
import { reportPage } from "../../bench/report_page.ts";
import { formatSeconds, summarize } from "../../bench/statistics.ts";

/** A layer with the given times of three rounds, in milliseconds. */
function result(
  shape: string,
  tokens: number,
  milliseconds: Readonly<Record<string, readonly number[]>>,
): ContestResult {
  const times = Object.entries(milliseconds).map(([name, rounds]) => ({
    ...{ name, rounds, seconds: summarize(rounds.map((each) => each / 1000)) },
    ...{ dispatches: name === "cpu" ? 0 : 2, notes: [] },
  }));
  return { shape, format: "bf16", tokens, flops: 1e6 * tokens, activeWeightBytes: 1e6, times };
}

const FAST = { auto: [1, 2, 1], triton: [2, 4, 2], trtllm: [1, 2, 1], unfused: [4, 8, 40] };
const SLOW = { auto: [6, 6, 6], triton: [4, 5, 5], trtllm: [9, 9, 9], unfused: [6, 6, 6] };

Deno.test("summarize() gives the median of an even number of measurements between two", () => {
  assert.deepEqual(summarize([4, 1, 3, 2]), { n: 4, median: 2.5, lowest: 1, highest: 4 });
  assert.deepEqual(summarize([7]), { n: 1, median: 7, lowest: 7, highest: 7 });
});

Deno.test("formatSeconds() takes the unit that fits", () => {
  assert.deepEqual([2, 0.0123, 4.5e-5].map(formatSeconds), ["2.00 s", "12.3 ms", "45.0 µs"]);
});

Deno.test("moeRatios() compares times of the same round, and finds the worst case", () => {
  const ratios = moeRatios([result("a", 1, FAST), result("b", 1, SLOW), result("a", 64, FAST)]);
  assert.ok(ratios);
  const [one, many] = ratios.overUnfused;
  assert.deepEqual([one.tokens, many.tokens], [1, 64]);
  assert.deepEqual(one.ratio, { n: 2, median: 2.5, lowest: 1, highest: 4 });
  assert.deepEqual(ratios.ofBetter, { n: 3, median: 1, lowest: 1, highest: 1.2 });
  assert.deepEqual(ratios.worst, { layer: "b, bf16, T = 1", ratio: 1.2 });
});

Deno.test("formatRatios() says which aims are missed", () => {
  const good = moeRatios([result("a", 1, FAST), result("a", 64, FAST)]);
  const bad = moeRatios([result("a", 1, SLOW)]);
  assert.ok(good && bad);
  assert.doesNotMatch(formatRatios(good), /NOT/);
  assert.equal(formatRatios(bad).match(/NOT as wanted/g)?.length, 2);
});

Deno.test("moeRatios() has nothing to say where nobody ran beside auto", () => {
  assert.equal(moeRatios([result("a", 1, { auto: [1] })]), undefined);
});

Deno.test("reportPage() is one file with four pictures that needs nothing from elsewhere", async () => {
  const rates = { flopsPerSecond: 1e9, bytesPerSecond: 1e9, ofReadBandwidth: 0.5, ofFlops: 0.1 };
  const results = [1, 64].flatMap((tokens) => [
    result("a", tokens, { ...FAST, cpu: [3, 3, 3] }),
    result("b", tokens, SLOW),
  ]);
  const report: Report = {
    device: 'A "GPU" of <tests> & more',
    clock: "wall clock",
    versions: { mixline: "1.2.3", deno: "4.5.6" },
    date: "2026-01-02T03:04:05.000Z",
    rounds: 3,
    ceilings: {
      ...{ readBytesPerSecond: 1e10, flopsPerSecond: 1e11, dispatchSeconds: 1e-6 },
      clock: "wall clock",
    },
    cases: results.map((each) => ({
      ...each,
      times: each.times.map((time) => ({ ...time, ...rates })),
    })),
    leftOut: ["c, bf16, T = 1: too large"],
    ratios: moeRatios(results),
  };
  const page = reportPage(report, await drawCharts(report));
  assert.equal(page.match(/<svg/g)?.length, 4);
  assert.doesNotMatch(page, /<script|<link|<img|url\(|href="http|src=/);
  assert.doesNotMatch(page, /NaN|undefined|Infinity/);
  assert.match(page, /A &quot;GPU&quot; of &lt;tests> &amp; more/);
  for (
    const text of [
      "time (µs)",
      "tokens per step (T)",
      "GFLOP/s",
      "computed by",
      "dispatches",
      "prefers-color-scheme: dark",
      "2026-01-02 03:04 UTC",
      "Mixline 1.2.3, Deno 4.5.6",
      "too large",
    ]
  ) {
    assert.ok(page.includes(text), `the page has "${text}"`);
  }
});
