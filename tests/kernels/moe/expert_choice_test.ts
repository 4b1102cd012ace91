/**
 * Layers whose experts choose from the router's logits, against the router that chooses by itself.
 */

import assert from "node:assert/strict";
import type { Node, Value } from "../../../graph/mod.ts";
import { type DeviceProfile, type Dispatch, KERNELS } from "../../../kernels/mod.ts";
import { registerMoeBackend } from "../../../kernels/moe/backend.ts";
import { trtllmBackend } from "../../../kernels/moe/trtllm.ts";
import { webgpuTest } from "../../support/adapter.ts";
import { GPU_PROFILE } from "../../support/gpu_profile.ts";
import { randomNumbers } from "../../support/op_case.ts";
import {
  lowerRouted,
  type RoutedCase,
  type RoutedLayer,
  routedLayer,
} from "../../support/routed_layer.ts";
import { type DispatchRunner, withRunner } from "../../support/run_dispatches.ts";
import { relativeError, TOLERANCES } from "../../support/tolerances.ts";

const kernelsOf = (dispatches: readonly Dispatch[]) => dispatches.map(({ kernel }) => kernel);

/**
 * Units in the last place by which a weight may differ: a GPU's compiler is free to contract and approximate
 * the same text in two shaders in two ways, an exponential and a division by some units each.
 */
const WEIGHT_UNITS = 8;

/** Ids, weights and the layer's result; numbers as bits. */
async function results(runner: DispatchRunner, pair: RoutedLayer, dispatches: readonly Dispatch[]) {
  const { router, layer, data, sizes } = pair;
  runner.clear();
  for (const [value, numbers] of data) runner.write(value, numbers);
  const pairs = sizes.T * router.attrs.topK;
  runner.write(router.outputs[0], new Int32Array(pairs).fill(-7));
  runner.write(router.outputs[1], new Float32Array(pairs).fill(-7));
  await runner.run(dispatches, sizes);
  const bits = async (value: Value, count: number) => [
    ...new Uint32Array(await runner.readBytes(value, count * 4)),
  ];
  return {
    selected: [...await runner.readI32(router.outputs[0], pairs)],
    weights: await bits(router.outputs[1], pairs),
    y: await bits(layer.outputs[0], sizes.T * layer.attrs.hidden),
  };
}

/** A device as a GPU, on which experts choose. */
function asGpu({ profile }: DispatchRunner): DeviceProfile {
  return { ...profile, software: false };
}

/** The dispatches of both nodes, each lowered without the other: the router chooses. */
function apart({ router, layer, sizes }: RoutedLayer, profile: DeviceProfile): readonly Dispatch[] {
  const context = {
    ...{ profile, tokens: { min: 1, max: sizes.T }, maxRows: 1, pageSize: 16 },
    ...{ maxSequences: 1, maxSequenceTokens: 16, cacheDtype: () => "f32" as const, note() {} },
  };
  return [router, layer].flatMap((node) => {
    const kernel = KERNELS.find(({ op }) => op === node.op);
    assert.ok(kernel);
    return kernel.lower(node as Node, context);
  });
}

/** A software adapter compiles the arithmetic of both shaders alike. */
function profileUnits({ profile }: DispatchRunner): number {
  return profile.software ? 0 : WEIGHT_UNITS;
}

/** Positive numbers as bits, whose distance is in units of the last place. */
function assertNear(
  got: readonly number[],
  expected: readonly number[],
  units: number,
  what: string,
) {
  assert.equal(got.length, expected.length, what);
  for (const [i, bits] of got.entries()) {
    assert.ok(Math.abs(bits - expected[i]) <= units, `${what} ${i}: ${bits} and ${expected[i]}`);
  }
}

function assertSameResult(got: readonly number[], expected: readonly number[], what: string) {
  const numbers = (bits: readonly number[]) => new Float32Array(Uint32Array.from(bits).buffer);
  const error = relativeError(numbers(got), numbers(expected));
  assert.ok(error <= TOLERANCES.moeF32, `${what} is off by ${error}`);
}

async function check(runner: DispatchRunner, c: RoutedCase): Promise<number[]> {
  const pair = routedLayer(c);
  const profile = asGpu(runner);
  const { dispatches } = lowerRouted(pair, profile);
  assert.deepEqual(
    kernelsOf(dispatches),
    ["router_logits", "moe_gate_up", "moe_down"],
    JSON.stringify({ ...c, w: undefined, x: undefined, bias: undefined }),
  );
  const got = await results(runner, pair, dispatches);
  const expected = await results(runner, pair, apart(pair, profile));
  const what = JSON.stringify({ ...c, w: undefined, x: undefined, bias: undefined });
  assert.deepEqual(got.selected, expected.selected, `${what}: ids`);
  const units = profileUnits(runner);
  assertNear(got.weights, expected.weights, units, `${what}: weights`);
  if (units === 0) assert.deepEqual(got.y, expected.y, `${what}: result`);
  else assertSameResult(got.y, expected.y, `${what}: result`);
  assert.ok(got.y.some((each) => each !== 0));
  return got.selected;
}

const CASES: readonly RoutedCase[] = [
  { E: 8, K: 2 },
  { E: 64, K: 8, normEps: 1e-5, H: 520, I: 8 },
  { E: 128, K: 8, normEps: 1e-6, renormalize: true, H: 256, I: 8 },
  { E: 37, K: 5, softmaxOver: "selected", H: 72 },
  { E: 31, K: 31, renormalize: true },
  { E: 66, K: 64 },
  { E: 96, K: 7, scoring: "sigmoid", renormalize: true, scale: 2.5 },
  { E: 90, K: 3, scoring: "sigmoid", scale: 0.5, normEps: 1e-5 },
  { E: 33, K: 1 },
  { E: 1, K: 1 },
];

webgpuTest(
  "experts choose what their router would",
  () =>
    withRunner(async (runner) => {
      for (const c of CASES) await check(runner, c);
    }),
);

const SIGMOID = { scoring: "sigmoid", renormalize: true, sumOffset: 1e-20, scale: 2.5 } as const;

/** DeepSeek's and GLM's routers, Qwen's with a gate, Gemma's with scales, and what else there is. */
const GENERAL: readonly RoutedCase[] = [
  { E: 60, K: 6, shared: 2, normEps: 1e-5, H: 264 },
  { E: 64, K: 4, shared: 1, ...SIGMOID, correction: 0.5, normEps: 1e-5 },
  { E: 33, K: 8, ...SIGMOID, correction: 40 },
  { E: 50, K: 3, shared: 1, sharedGate: true, renormalize: true },
  { E: 48, K: 3, shared: 3, sharedGate: true, normEps: 1e-6, T: 2, seed: 5 },
  { E: 40, K: 4, renormalize: true, expertScale: true, logitScale: 0.2 },
  { E: 12, K: 4, renormalize: true, sumFloor: 0.7, logitScale: 0.1 },
  { E: 30, K: 4, renormalize: true, normPower: 0.5 },
  { E: 9, K: 9, scoring: "sigmoid", softmaxOver: "selected" },
  { E: 70, K: 5, softmaxOver: "selected", correction: 2, expertScale: true },
  { E: 29, K: 3, renormalize: true, normPower: 2, sumOffset: 0.5 },
];

webgpuTest(
  "experts choose what a router with corrections, shared slots and scales would",
  () =>
    withRunner(async (runner) => {
      for (const c of GENERAL) await check(runner, c);
    }),
);

webgpuTest("experts choose for each of several tokens", () =>
  withRunner(async (runner) => {
    for (const [T, E, K] of [[2, 128, 8], [3, 100, 5], [5, 128, 4], [8, 128, 4], [7, 85, 3]]) {
      await check(runner, { T, E, K, normEps: 1e-5, seed: T });
    }
  }));

webgpuTest("experts choose the same in random layers", () =>
  withRunner(async (runner) => {
    const next = randomNumbers(11);
    const below = (end: number) => Math.floor((next() / 2 + 0.5) * end);
    for (let i = 0; i < 6; i++) {
      const E = 2 + below(runner.profile.subgroupSize * 16 - 2);
      const K = 1 + below(Math.min(E, 12));
      await check(runner, {
        ...{ E, K, seed: i, H: 8 * (1 + below(12)), I: 4 * (1 + below(9)) },
        T: 1 + below(Math.min(8, Math.floor(E / 4 / K)) || 1),
        scoring: below(2) === 0 ? "softmax" : "sigmoid",
        softmaxOver: "all",
        renormalize: below(2) === 0,
        scale: below(2) === 0 ? 1 : 1.5,
        ...(below(2) === 0 && { normEps: 1e-5 }),
      });
    }
  }));

/** A bias is the logit where x is zero. */
function ofLogits(logits: readonly number[], K: number, more: Partial<RoutedCase> = {}) {
  const E = logits.length;
  return { E, K, x: new Float32Array(64), bias: Float32Array.from(logits), ...more };
}

webgpuTest(
  "experts give ties to the smaller id, and what is no number comes last",
  () =>
    withRunner(async (runner) => {
      const levels = Array.from({ length: 64 }, (_, i) => i % 7 === 3 ? 2 : 1);
      const chosen = async (c: RoutedCase) => {
        const pair = routedLayer({ ...c, normEps: undefined });
        const { selected } = await results(
          runner,
          pair,
          lowerRouted(pair, asGpu(runner)).dispatches,
        );
        assert.deepEqual(
          selected,
          (await results(runner, pair, apart(pair, asGpu(runner)))).selected,
        );
        return selected;
      };
      assert.deepEqual(await chosen(ofLogits(levels, 12)), [
        ...[3, 10, 17, 24, 31, 38, 45, 52, 59],
        ...[0, 1, 2],
      ]);
      // Sigmoids that saturate are equal although their logits are not.
      const high = Array.from({ length: 40 }, (_, i) => 100 + i);
      assert.deepEqual(await chosen(ofLogits(high, 4, { scoring: "sigmoid" })), [0, 1, 2, 3]);
      const odd = [-0, NaN, 0, -Infinity, 5, Infinity, NaN, -3];
      assert.deepEqual(await chosen(ofLogits(odd, 8)), [5, 4, 0, 2, 7, 1, 6, 3]);
      assert.deepEqual(await chosen(ofLogits(Array(70).fill(NaN), 3)), [0, 1, 2]);
      const negative = Array.from({ length: 50 }, (_, i) => -1 - (i * 17) % 50);
      assert.deepEqual(await chosen(ofLogits(negative, 3)), [0, 3, 6]);
    }),
);

Deno.test("routers choose by themselves where experts do not, and say why", () => {
  const reason = (c: RoutedCase, profile = GPU_PROFILE, tokens = c.T ?? 1) => {
    const { dispatches, notes } = lowerRouted(routedLayer(c), profile, tokens);
    assert.ok(!kernelsOf(dispatches).includes("router_logits"));
    return notes.map(({ text }) => text).find((text) => text.startsWith("chooses by itself: "))
      ?.slice("chooses by itself: ".length);
  };
  const plain = { E: 64, K: 8, H: 16, I: 4 };
  assert.match(reason({ ...plain, watched: true }) ?? "", /others than one layer/);
  assert.match(reason({ ...plain, backend: "triton" }) ?? "", /backend triton takes experts/);
  assert.match(reason({ ...plain, T: 8 }) ?? "", /kernels of/);
  assert.match(reason({ ...plain, groups: { count: 4, kept: 2, by: "best" } }) ?? "", /groups/);
  assert.match(reason({ ...plain, scoring: "sparse_mixer", K: 2 }) ?? "", /sparse mixer/);
  assert.match(reason({ ...plain, correction: 1 }) ?? "", /added to a softmax of all/);
  assert.match(reason({ ...plain, logitScale: -1 }) ?? "", /not above 0/);
  assert.match(reason(plain, { ...GPU_PROFILE, maxStorageBuffers: 5 }) ?? "", /6 buffers/);
  assert.match(reason({ ...plain, layer: { applyRoutingOnInput: true } }) ?? "", /multiply/);
  assert.match(reason(plain, { ...GPU_PROFILE, software: true }) ?? "", /software adapter/);
  assert.match(reason(plain, { ...GPU_PROFILE, subgroups: false }) ?? "", /subgroups/);
  assert.match(reason({ ...plain, E: 600 }) ?? "", /600 experts are too many/);
  const small = { ...GPU_PROFILE, maxBindingBytes: 4096 };
  assert.match(reason(plain, small) ?? "", /bound in parts/);
  assert.equal(
    reason({ ...plain, E: 512 }, GPU_PROFILE, 16),
    undefined,
    "many tokens need no reason",
  );
});

Deno.test("a backend whose refuseChoice() throws is named", () => {
  const name: string = "tests_only_throwing_choice";
  registerMoeBackend({
    ...trtllmBackend,
    name: name as "trtllm",
    refuseChoice() {
      throw new TypeError("spec.tokens.least is undefined");
    },
  });
  const pair = routedLayer({ E: 64, K: 8, H: 16, I: 4, backend: name });
  assert.throws(
    () => lowerRouted(pair, GPU_PROFILE),
    /"tests_only_throwing_choice": expected refuseChoice\(\) to return, got TypeError: spec/,
  );
});

Deno.test("experts choose on a GPU with backend trtllm and auto, for up to 8 tokens", () => {
  for (const backend of ["auto", "trtllm"]) {
    for (const tokens of [1, 8]) {
      const { dispatches, notes } = lowerRouted(
        routedLayer({ E: 512, K: 10, H: 16, I: 4, backend }),
        GPU_PROFILE,
        tokens,
      );
      assert.deepEqual(kernelsOf(dispatches), ["router_logits", "moe_gate_up", "moe_down"]);
      assert.ok(notes.some(({ text }) => /logits alone, the experts choose$/.test(text)));
    }
  }
});

Deno.test("a backend that knows nothing of logits is given what the router chose", () => {
  const name = "takes_choices" as "auto";
  const { refuseChoice: _, ...backend } = trtllmBackend;
  registerMoeBackend({
    ...backend,
    name,
    compile(spec, values, note) {
      assert.equal(values.choice, undefined);
      return trtllmBackend.compile(spec, values, note);
    },
  });
  const { dispatches } = lowerRouted(
    routedLayer({ E: 64, K: 8, H: 16, I: 4, backend: name }),
    GPU_PROFILE,
  );
  assert.deepEqual(kernelsOf(dispatches), ["router", "moe_gate_up", "moe_down"]);
});
