import assert from "node:assert/strict";
import { type GemmConfig } from "../../../../kernels/moe/algorithms/config.ts";
import { webgpuTest } from "../../../support/adapter.ts";
import { CONFIGS } from "../../../support/moe_configs.ts";
import { lowerWith, moeLayer } from "../../../support/moe_layer.ts";
import { buildNode, randomNumbers } from "../../../support/op_case.ts";
import { DispatchRunner } from "../../../support/run_dispatches.ts";

/** What the sort must find for ids in pair order. */
function sorted(ids: readonly number[], experts: number, blockM: number) {
  const blockExperts: number[] = [];
  const pairs: number[] = [];
  for (let expert = 0; expert < experts; expert++) {
    const own = ids.flatMap((id, pair) => id === expert ? [pair] : []);
    const blocks = Math.ceil(own.length / blockM);
    blockExperts.push(...Array(blocks).fill(expert));
    pairs.push(...own, ...Array(blocks * blockM - own.length).fill(0xffffffff));
  }
  return { blockExperts, pairs };
}

/** Runs the sort of a layer, for steps of up to `most` tokens, and reads what it left. */
async function runSort(
  runner: DispatchRunner,
  given: {
    ids: readonly number[];
    experts: number;
    topK: number;
    blockM: number;
    most: number;
  },
) {
  const { ids, experts, topK, blockM, most } = given;
  const tokens = ids.length / topK;
  const layer = moeLayer({ tokens, topK, experts, selected: ids, hidden: 8, intermediate: 8 });
  const { node, values } = buildNode(layer);
  const [sort] = lowerWith({ ...CONFIGS.grouped as GemmConfig, blockM })(node, {
    profile: runner.profile,
    tokens: { min: 1, max: most },
    maxRows: 1,
    pageSize: 16,
    cacheDtype: () => "f32",
    note() {},
  });
  runner.clear();
  for (const [value, data] of values) runner.write(value, data);
  const plan = sort.bindings.find(({ buffer }) => buffer.kind === "scratch")?.buffer;
  assert(plan?.kind === "scratch");
  // Whatever was there before must not matter.
  runner.write(plan, new Uint32Array(plan.bytes / 4).fill(12345));
  await runner.run([sort], { T: tokens, R: 1, S: 1, P: 1 });
  const words = new Uint32Array(await runner.readBytes(plan, plan.bytes));
  const pairsAt = Number(/const PLAN_PAIRS = (\d+)u/.exec(sort.wgsl)?.[1]);
  const blocks = words[0];
  return {
    blockExperts: [...words.subarray(4, 4 + blocks)],
    pairs: [...words.subarray(pairsAt, pairsAt + blocks * blockM)],
  };
}

webgpuTest(
  "the sort keeps the order of pairs, pads every expert and drops ids outside",
  async () => {
    const runner = await DispatchRunner.open();
    const next = randomNumbers(3);
    const random = (count: number, from: number, to: number) =>
      Array.from({ length: count }, () => from + Math.floor((next() + 1) / 2 * (to - from)));
    const cases = [
      // The example of vLLM's moe_align_block_size.
      { ids: [2, 0, 2, 2], experts: 3, topK: 1, blockM: 2, most: 4 },
      { ids: [5], experts: 6, topK: 1, blockM: 16, most: 64 },
      { ids: [-1, 7, 100, -5], experts: 7, topK: 2, blockM: 4, most: 2 },
      { ids: random(90, -1, 9), experts: 8, topK: 3, blockM: 4, most: 100 },
      { ids: random(1400, 0, 300), experts: 300, topK: 7, blockM: 8, most: 200 },
      { ids: Array(514).fill(1), experts: 2, topK: 2, blockM: 16, most: 257 },
    ];
    for (const given of cases) {
      assert.deepEqual(
        await runSort(runner, given),
        sorted(given.ids, given.experts, given.blockM),
      );
    }
    runner.close();
  },
);
