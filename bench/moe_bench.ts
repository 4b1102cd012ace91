/**
 * MoE layers by backend, number of tokens, weight format and shape, next to an unfused baseline and
 * the CPU. The table has wall times from inputs on the device to numbers on the host; the lines after
 * it have GPU times and ratios. `deno task bench bench/moe_bench.ts`
 *
 * @module
 */

import { benchDevice, benchPipelines, moeCases, roundsOf } from "./bench_device.ts";
import {
  consume,
  type ContestResult,
  type MoeCase,
  MoeContest,
  servingBackends,
} from "./moe_contest.ts";
import { formatCase, formatRatios, moeRatios } from "./moe_ratios.ts";

const device = await benchDevice();
const cases = moeCases(device);
const results: ContestResult[] = [];
let current: { readonly layer: MoeCase; readonly contest: MoeContest } | undefined;

/** The contest of a case; the one before it gives its memory back, and GPU times are taken first. */
async function contestOf(layer: MoeCase): Promise<MoeContest> {
  if (current?.layer === layer) return current.contest;
  current?.contest.dispose();
  current = undefined;
  const contest = await MoeContest.open(device, layer, await benchPipelines());
  current = { layer, contest };
  results.push(await contest.compare(roundsOf(device)));
  return contest;
}

function register(layer: MoeCase, name: string): void {
  const { shape, format, tokens } = layer;
  const group = `MoE ${shape.name} (${shape.hidden} x ${shape.intermediate}, ` +
    `${shape.topK} of ${shape.experts} experts), ${format}, T = ${tokens}`;
  let rotation = 0;
  Deno.bench(`${name} T=${tokens} ${format} ${shape.name}`, {
    group,
    baseline: name === "auto",
    n: 5,
    warmup: 1,
  }, async (b) => {
    const contest = await contestOf(layer);
    const contestant = contest.contestants.find((each) => each.name === name);
    if (name === "cpu" && contest.cpu) {
      b.start();
      consume(contest.cpu());
      b.end();
    } else if (contestant) {
      b.start();
      const output = await contest.run(contestant, rotation++);
      b.end();
      consume(output);
    }
  });
}

for (const layer of cases) {
  for (const name of servingBackends(layer, device)) register(layer, name);
  if (layer.format === "bf16") register(layer, "unfused");
  if (device.profile.software) register(layer, "cpu");
}

addEventListener("unload", () => {
  const { description, timestamps } = device.profile;
  console.log(`\n${description}, times by ${timestamps ? "timestamp-query" : "wall clock"}`);
  for (const result of results) console.log(formatCase(result));
  const ratios = moeRatios(results);
  if (ratios) console.log(`\n${formatRatios(ratios)}`);
});
