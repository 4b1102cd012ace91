import assert from "node:assert/strict";
import { formatModel } from "../../bench/model_section.ts";
import { withShares } from "../../bench/model_shares.ts";
import type { ModelResult } from "../../bench/model_result.ts";
import type { ContestResult } from "../../bench/moe_contest.ts";
import { formatRatios, moeRatios } from "../../bench/moe_ratios.ts";
import { drawCharts } from "../../bench/report_charts.ts";
import { failures, type Report } from "../../bench/report_data.ts";
import { writeReportFiles } from "../../bench/report_files.ts";
import { reportPage } from "../../bench/report_page.ts";
import { formatSeconds, summarize } from "../../bench/statistics.ts";
import { stepTime } from "../../bench/token_time.ts";
import type { Ceilings } from "../../runtime/mod.ts";

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

const CEILINGS: Ceilings = {
  ...{ readBytesPerSecond: 1e10, flopsPerSecond: 1e11, dispatchSeconds: 1e-6, clock: "wall clock" },
};

const MODEL: ModelResult = {
  ...{ name: "A model", layers: 2, allLayers: 3, format: "bf16", weightBytes: 5e6 },
  ...{ tokenWeightBytes: 2e6, readySeconds: 2, seconds: { weights: 1 }, coldTokenSeconds: 0.1 },
  prompts: [{
    ...{ tokens: 16, answer: 5, tokenBytes: 3e6, decode: summarize([90, 100, 110]) },
    ...{ firstToken: summarize([0.01, 0.02]), prefill: summarize([1600, 800]) },
  }],
  ...{ streams: [{ streams: 1, tokensPerSecond: summarize([80]) }], streamTokens: 16 },
  tokenTime: stepTime([[
    { kernel: "router", scope: "model.layers.0.mlp.gate", seconds: 1e-3, weightBytes: 1e6 },
    {
      kernel: "attention_decode",
      scope: "model.layers.0.self_attn",
      seconds: 2e-3,
      weightBytes: 0,
    },
    { kernel: "sample", scope: "", seconds: 1e-3, weightBytes: 0 },
  ]], { sequences: 1, tokens: 1, context: 16, cacheBytes: 5e6 }),
  promptTime: stepTime([[
    { kernel: "router", scope: "model.layers.0.mlp.gate", seconds: 1e-3, weightBytes: 1e6 },
  ]], { sequences: 1, tokens: 16, context: 0, cacheBytes: 0 }),
  streamTimes: [
    stepTime([[
      { kernel: "router", scope: "model.layers.0.mlp.gate", seconds: 2e-3, weightBytes: 1e6 },
    ]], { sequences: 8, tokens: 1, context: 16, cacheBytes: 0 }),
  ],
  problems: ["2 streams: no memory"],
};

Deno.test("withShares() gives the bytes of a token, and of each kind, as shares of the ceiling", () => {
  const { prompts, tokenTime, streamTimes } = withShares(MODEL, CEILINGS);
  assert.equal(prompts[0].ofReadBandwidth, 3e6 * 100 / 1e10);
  const shares = tokenTime?.kinds.map(({ kind, ofReadBandwidth }) => [kind, ofReadBandwidth]);
  assert.deepEqual(shares, [["attention", 0.25], ["router", 0.1], ["sampling", 0]]);
  assert.equal(streamTimes[0].kinds[0].ofReadBandwidth, 0.05);
});

Deno.test("formatModel() tells speeds, shares, and what was not measured", () => {
  const text = formatModel(withShares(MODEL, CEILINGS));
  assert.match(text, /^A model, 2 of 3 layers\n/);
  assert.match(
    text,
    /16 tokens: first after 15\.0 ms, then 100 \(90 \.\. 110, n = 3\) tokens\/s, 3\.0 %/,
  );
  assert.match(text, /router: 1000\.0 µs a layer, 10\.0 %/);
  assert.match(text, /sampling: 1000\.0 µs\n/);
  assert.match(text, /NOT measured: 2 streams: no memory/);
});

Deno.test("a report goes on after what fails", async () => {
  const [said, failed]: [string[], unknown[]] = [[], []];
  const parts = [
    { title: "a", work: () => Promise.reject(new Error("broken")) },
    { title: "b", work: () => Promise.resolve(1) },
  ];
  const options = {
    say: (text: string) => said.push(text),
    onFailure: (error: unknown) => failed.push(error),
  };
  assert.deepEqual(await Array.fromAsync(failures(parts, options)), ["a: broken", undefined]);
  assert.deepEqual(said, ["1 of 2  a", "  broken", "2 of 2  b"]);
  assert.equal(failed.length, 1);
  const late = await Array.fromAsync(failures(parts, { minutes: 0 }));
  assert.deepEqual(late, ["a: 0 minutes were over", "b: 0 minutes were over"]);
});

/** A report before anything is measured. */
const EMPTY: Report = {
  device: 'A "GPU" of <tests> & more',
  clock: "wall clock",
  versions: { mixline: "1.2.3", deno: "4.5.6" },
  date: "2026-01-02T03:04:05.000Z",
  rounds: 3,
  ceilings: CEILINGS,
  cases: [],
  models: [],
  leftOut: [],
  ratios: undefined,
};

Deno.test("writeReportFiles() keeps the numbers where the page cannot be made or written", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const files = { numbers: `${folder}/r.json`, page: `${folder}/r.html` };
    await writeReportFiles(files, EMPTY, () => Promise.resolve("old"));
    assert.equal(await Deno.readTextFile(files.page), "old");
    const failing = async (rounds: number, drawPage: () => Promise<string>) => {
      await assert.rejects(
        writeReportFiles(files, { ...EMPTY, rounds }, drawPage),
        /no pictures|r\.html/,
      );
      assert.deepEqual(JSON.parse(await Deno.readTextFile(files.numbers)).rounds, rounds);
      assert.equal(await Deno.readTextFile(files.page), "old");
    };
    await failing(4, () => Promise.reject(new Error("no pictures")));
    // Stands for a full disk: nothing can be written beside the page.
    await Deno.mkdir(`${files.page}.unfinished/x`, { recursive: true });
    await failing(5, () => Promise.resolve("new"));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("reportPage() is one file with nine pictures that needs nothing from elsewhere", async () => {
  const rates = { flopsPerSecond: 1e9, bytesPerSecond: 1e9, ofReadBandwidth: 0.5, ofFlops: 0.1 };
  const results = [1, 64].flatMap((tokens) => [
    result("a", tokens, { ...FAST, cpu: [3, 3, 3] }),
    result("b", tokens, SLOW),
  ]);
  const report: Report = {
    ...EMPTY,
    cases: results.map((each) => ({
      ...each,
      times: each.times.map((time) => ({ ...time, ...rates })),
    })),
    models: [withShares(MODEL, CEILINGS)],
    leftOut: ["c, bf16, T = 1: too large"],
    ratios: moeRatios(results),
  };
  const page = reportPage(report, await drawCharts(report));
  assert.equal(page.match(/<svg/g)?.length, 9);
  assert.doesNotMatch(page, /<script|<link|<img|url\(|href="http|src=/);
  assert.doesNotMatch(page, /NaN|undefined|Infinity/);
  // Ticks are numbers as people write them: 1,500, not 1.5k or 2e+3.
  assert.doesNotMatch(page, />[\d.,]+(k|e\+\d+)</);
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
      "Where a token's time goes",
      "milliseconds of a token",
      "milliseconds of a step",
      "A token of each of 8 answers of A model, after 16 others",
      "prompt tokens/s",
      "2 of 3 layers",
      "16 tokens, 5 new",
      "2 streams: no memory",
    ]
  ) {
    assert.ok(page.includes(text), `the page has "${text}"`);
  }
});
