/**
 * Routers whose logits are infinite or no numbers: whatever the weights are, a choice holds every expert at
 * most once, and where scores are numbers it is the CPU's.
 */

import assert from "node:assert/strict";
import type { AttrsOf } from "../../../graph/mod.ts";
import { webgpuTest } from "../../support/adapter.ts";
import { activation, type OpInput, runOp, worstDifference } from "../../support/op_case.ts";
import { lowerRouted, routedLayer } from "../../support/routed_layer.ts";
import { type DispatchRunner, withRunner } from "../../support/run_dispatches.ts";
import { TOLERANCES } from "../../support/tolerances.ts";

const [INF, LOW] = [Infinity, -Infinity];

/** Logits of twelve experts: of each row a token. */
const LOGITS = [
  [1, 2, INF, 3, 4, 5, 6, 7, 8, 9, 10, 11],
  [INF, 2, 3, 4, INF, 5, 6, INF, INF, INF, 7, 8],
  [INF, INF, INF, INF, INF, INF, INF, INF, INF, INF, INF, INF],
  [LOW, LOW, LOW, LOW, LOW, LOW, LOW, LOW, LOW, LOW, LOW, INF],
  [LOW, 1, LOW, INF, LOW, 2, LOW, LOW, LOW, 3, LOW, LOW],
  [5, LOW, LOW, LOW, LOW, LOW, LOW, LOW, LOW, LOW, LOW, LOW],
  [LOW, LOW, LOW, LOW, LOW, LOW, LOW, LOW, LOW, LOW, LOW, LOW],
];
/** The same, with what is no number: the CPU's order is not defined. */
const NO_NUMBERS = [
  [INF, NaN, 1, NaN, 2, INF, NaN, NaN, NaN, NaN, NaN, 3],
  [NaN, NaN, NaN, NaN, NaN, NaN, NaN, NaN, NaN, NaN, NaN, INF],
  [LOW, NaN, LOW, NaN, LOW, NaN, LOW, NaN, LOW, NaN, LOW, NaN],
];
const EXPERTS = 12;

type Attrs = Partial<AttrsOf<"moe_router">>;

/** Routers whose scores are numbers for infinite logits, so that the CPU's choice is defined. */
const DEFINED: Record<string, Attrs & { readonly correction?: number }> = {
  "sigmoid": { scoring: "sigmoid", renormalize: true, topK: 4 },
  "logits, softmax of the chosen": { softmaxOver: "selected", topK: 4 },
  "sigmoid and corrections": { scoring: "sigmoid", topK: 4, correction: 0.5 },
  "sigmoid in groups": {
    ...{ scoring: "sigmoid", topK: 4 },
    groups: { count: 4, kept: 2, by: "two_best" },
  },
  "scaled logits and a shared slot": {
    ...{ softmaxOver: "selected", topK: 4, logitScale: 0.5, shared: 1 },
  },
  "the sparse mixer": { scoring: "sparse_mixer", jitter: 0.01, topK: 2 },
};

/** A softmax of all experts is NaN for every one of them. */
const UNDEFINED: Record<string, Attrs & { readonly correction?: number }> = {
  "softmax": { topK: 4 },
  "softmax and corrections": { topK: 4, correction: 0.5, renormalize: true },
  "softmax in groups": { topK: 4, groups: { count: 4, kept: 2, by: "best" } },
  "softmax in groups by their two best": {
    ...{ topK: 4, groups: { count: 4, kept: 2, by: "two_best" } },
  },
  "softmax and shared slots": { topK: 4, shared: 2 },
  "softmax of scaled logits": { topK: 4, logitScale: 0.5 },
};

/** What is chosen for each row of logits, and what the CPU chooses: ids before shared slots. */
async function choices(
  runner: DispatchRunner,
  rows: readonly (readonly number[])[],
  { correction, ...attrs }: Attrs & { readonly correction?: number },
) {
  const { topK = 2, shared = 0 } = attrs;
  const x = { ...activation(["T", 8], { T: 1 }, 1), data: new Float32Array(8) };
  const numbers = (data: Float32Array<ArrayBuffer>, ...shape: number[]): OpInput => ({
    ...{ dtype: "f32", shape, data, weight: true },
  });
  const found = [];
  for (const row of rows) {
    const { got, expected } = await runOp(runner, {
      op: "moe_router",
      attrs: {
        ...{ topK, scoring: "softmax", softmaxOver: "all", renormalize: false, scale: 1 },
        ...attrs,
      },
      sizes: { T: 1 },
      inputs: {
        x,
        w: numbers(new Float32Array(EXPERTS * 8), EXPERTS, 8),
        bias: numbers(Float32Array.from(row), EXPERTS),
        correction: correction === undefined
          ? undefined
          : numbers(Float32Array.from(row, (_, i) => correction * (i % 3 - 1)), EXPERTS),
      },
    });
    const [own, cpu] = [got, expected].map(([{ data }]) => [...data].map(Number).slice(0, topK));
    const behind = [...got[0].data].map(Number).slice(topK);
    assert.deepEqual(behind, Array.from({ length: shared }, (_, i) => EXPERTS + i));
    const isFinite = [...expected[1].data].every((each) => Number.isFinite(Number(each)));
    // Of weights: unknown where the CPU has no numbers.
    const off = isFinite ? worstDifference(got[1], expected[1]) : undefined;
    found.push({ row, own, cpu, off });
  }
  return found;
}

function assertDistinct(ids: readonly number[], what: string): void {
  assert.equal(new Set(ids).size, ids.length, `${what}: ${ids} are distinct`);
  assert.ok(ids.every((id) => id >= 0 && id < EXPERTS), `${what}: ${ids} are experts`);
}

for (const [name, attrs] of Object.entries({ ...DEFINED, ...UNDEFINED })) {
  webgpuTest(
    `moeRouter chooses no expert twice among infinite logits: ${name}`,
    () =>
      withRunner(async (runner) => {
        for (const { row, own, cpu, off } of await choices(runner, LOGITS, attrs)) {
          assertDistinct(own, `${row}`);
          assertDistinct(cpu, `${row} on the CPU`);
          if (!(name in DEFINED)) continue;
          assert.deepEqual(own, cpu, `${row}`);
          assert.ok((off ?? 0) < TOLERANCES.kernelF32, `${row}: weights off by ${off}`);
        }
        for (const { row, own, cpu } of await choices(runner, NO_NUMBERS, attrs)) {
          assertDistinct(own, `${row}`);
          assertDistinct(cpu, `${row} on the CPU`);
        }
      }),
  );
}

webgpuTest("experts choose none twice among infinite logits", () =>
  withRunner(async (runner) => {
    const profile = { ...runner.profile, software: false };
    for (
      const [name, { correction, groups, topK = 4, ...attrs }] of Object.entries({
        ...DEFINED,
        ...UNDEFINED,
      })
    ) {
      if (groups || attrs.scoring === "sparse_mixer") continue;
      for (const row of [...LOGITS, ...NO_NUMBERS]) {
        const pair = routedLayer({
          ...{ E: EXPERTS, K: topK, x: new Float32Array(64), bias: Float32Array.from(row) },
          ...attrs,
          ...(correction !== undefined && attrs.scoring === "sigmoid" && { correction }),
        });
        const { dispatches } = lowerRouted(pair, profile);
        assert.equal(dispatches[0].kernel, "router_logits", name);
        runner.clear();
        for (const [value, data] of pair.data) runner.write(value, data);
        await runner.run(dispatches, pair.sizes);
        const slots = pair.router.attrs.topK + (attrs.shared ?? 0);
        const ids = [...await runner.readI32(pair.router.outputs[0], slots)].slice(0, topK);
        assertDistinct(ids, `${name}: ${row}`);
      }
    }
  }));
