import assert from "node:assert/strict";
import fc from "../../../deps/fast_check.ts";
import { MOE_ACTIVATIONS } from "../../../graph/mod.ts";
import type { DeviceProfile } from "../../../kernels/kernel.ts";
import { moeCandidates } from "../../../kernels/moe/tuning/candidates.ts";
import {
  type GemmTile,
  type MoeConfig,
  refuseConfig,
} from "../../../kernels/moe/algorithms/config.ts";
import { moeSpecOf } from "../../../kernels/moe/spec.ts";
import { webgpuTest } from "../../support/adapter.ts";
import { numbersOf } from "../../support/host_tensors.ts";
import { CONFIGS } from "../../support/moe_configs.ts";
import { type LayerOptions, lowerWith, moeLayer } from "../../support/moe_layer.ts";
import { buildNode, type OpCase, runOnCpu, runOp } from "../../support/op_case.ts";
import { DispatchRunner } from "../../support/run_dispatches.ts";
import { relativeError, TOLERANCES } from "../../support/tolerances.ts";

type Layer = OpCase<"fused_moe">;

/** Every layer is lowered for steps of so many tokens: those that differ in tokens alone share shaders. */
const CONTEXT = { tokens: { min: 1, max: 41 } };

/**
 * What every algorithm must get right; each line is a layer. Compiling is what takes time, so lines
 * share their sizes and options where these are not what they try.
 */
const LAYERS: Readonly<Record<string, LayerOptions>> = {
  "one token": { tokens: 1 },
  "large numbers": { scale: 1000, tokens: 3 },
  "one expert gets every token, twice": { tokens: 19, selected: Array(38).fill(3) },
  "ids outside of the range": {
    ...{ bias: true, residual: true },
    selected: [-1, 6, 0, 0, 5, 5, 2, 3, 1, -7],
  },
  "no id in the range": {
    ...{ tokens: 2, bias: true, residual: true },
    selected: [-1, 6, 99, -99],
  },
  "one expert twice for a token": {
    ...{ tokens: 2, bias: true, residual: true },
    selected: [4, 4, 4, 1],
  },
  "f16 weights, residual, more tokens than a block, three slots": {
    ...{ dtype: "f16", residual: true, tokens: 41, topK: 3 },
  },
  "odd sizes, biases, residual": { hidden: 37, intermediate: 19, bias: true, residual: true },
  "sizes that no vector divides, f32": { hidden: 31, intermediate: 7, dtype: "f32", bias: true },
  "odd sizes, f16": { hidden: 13, intermediate: 21, dtype: "f16" },
  "many experts, routing on the input, two slots, biases": {
    ...{ experts: 70, tokens: 9, applyRoutingOnInput: true, bias: true },
  },
  "plain experts with biases": { mlp: "plain", activation: "relu2", bias: true },
  "one expert of f32 weights, one slot": { experts: 1, topK: 1, dtype: "f32", tokens: 4 },
};

/** The layer of f32 weights above, whose shaders are there already. */
const RAGGED = LAYERS["sizes that no vector divides, f32"];

/** Tiles with fewer sums, for the tests of many layers: each layer is a shader to compile. */
const SMALL: typeof CONFIGS = {
  ...CONFIGS,
  grouped: withTiles(CONFIGS.grouped, { blockK: 8 }),
  permuted: withTiles(CONFIGS.permuted, { blockK: 8 }),
  skinny: withTiles(CONFIGS.skinny, { threadN: 2 }),
  direct: withTiles(CONFIGS.direct, { threadM: 4 }),
};

function withTiles(config: MoeConfig, tile: Partial<GemmTile>): MoeConfig {
  if (!("blockM" in config)) return config;
  return { ...config, up: { ...config.up, ...tile }, down: { ...config.down, ...tile } };
}

for (const algorithm of Object.keys(CONFIGS) as (keyof typeof CONFIGS)[]) {
  const [config, small] = [CONFIGS[algorithm], SMALL[algorithm]];
  webgpuTest(`${algorithm}: layers of every kind agree with the CPU`, async (t) => {
    const runner = await DispatchRunner.open();
    for (const [name, options] of Object.entries(LAYERS)) {
      await t.step(name, async () => {
        await check(runner, { ...moeLayer(options), context: CONTEXT, lower: lowerWith(small) });
      });
    }
    runner.close();
  });

  webgpuTest(`${algorithm}: two runs give the same bits`, async () => {
    const runner = await DispatchRunner.open();
    const layer = { ...moeLayer({ tokens: 23 }), context: CONTEXT, lower: lowerWith(config) };
    const [first, second] = [await runOp(runner, layer), await runOp(runner, layer)];
    assert.deepEqual(first.got, second.got);
    runner.close();
  });

  webgpuTest(`${algorithm}: a step as large as the largest agrees with the CPU`, async () => {
    const runner = await DispatchRunner.open();
    await check(runner, { ...moeLayer({ tokens: 5 }), lower: lowerWith(small) });
    runner.close();
  });

  webgpuTest(`${algorithm}: NaN in experts that nobody chose stays there`, async () => {
    const runner = await DispatchRunner.open();
    const layer = moeLayer({ ...RAGGED, selected: [0, 1, 1, 2, 0, 2, 1, 0, 2, 9] });
    for (const name of ["w_up", "w_down", "b_up", "b_down"]) {
      const given = layer.inputs[name];
      assert(given && "data" in given && given.data instanceof Float32Array);
      given.data.fill(NaN, given.data.length / 2);
    }
    await check(runner, { ...layer, context: CONTEXT, lower: lowerWith(small) });
    runner.close();
  });

  webgpuTest(`${algorithm}: NaN in one token stays there`, async () => {
    const runner = await DispatchRunner.open();
    const layer = moeLayer({ ...RAGGED, tokens: 7 });
    const x = layer.inputs.x;
    assert(x && "data" in x && x.data instanceof Float32Array);
    const [hidden, bad] = [layer.attrs.hidden, 4];
    x.data.fill(NaN, bad * hidden, (bad + 1) * hidden);
    const lower = lowerWith(small);
    const { got, expected } = await runOp(runner, { ...layer, context: CONTEXT, lower });
    const others = (values: Float32Array) =>
      values.filter((_, i) => Math.floor(i / hidden) !== bad);
    const [ours, theirs] = [others(numbersOf(got[0])), others(numbersOf(expected[0]))];
    assert(relativeError(ours, theirs) <= TOLERANCES.moeF32);
    runner.close();
  });

  webgpuTest(`${algorithm}: what scratch memory held before does not matter`, async () => {
    const runner = await DispatchRunner.open();
    const layer = moeLayer({ tokens: 5, selected: [-1, 3, 6, 9, 0, 0, 5, 1, 2, -4] });
    const { node, values } = buildNode(layer);
    const sizes = { T: 5, R: 1, S: 1, P: 1 };
    const context = {
      ...{ profile: runner.profile, ...CONTEXT, maxRows: 1, pageSize: 16 },
      cacheDtype: () => "f32" as const,
      note() {},
    };
    const dispatches = lowerWith(config)(node, context);
    for (const [value, data] of values) runner.write(value, data);
    for (const { buffer } of dispatches.flatMap(({ bindings }) => bindings)) {
      if (buffer.kind !== "scratch") continue;
      runner.write(buffer, new Float32Array(Math.ceil(buffer.bytes / 4)).fill(NaN));
    }
    await runner.run(dispatches, sizes);
    const [expected] = runOnCpu(layer, sizes);
    const got = await runner.readF32(node.outputs[0], expected.data.length);
    assert(relativeError(got, numbersOf(expected)) <= TOLERANCES.moeF32);
    runner.close();
  });

  webgpuTest(`${algorithm}: works without subgroups`, async () => {
    const runner = await DispatchRunner.open({ without: ["subgroups"] });
    assert.equal(runner.profile.subgroups, false);
    if (algorithm === "direct") {
      const spec = { ...moeSpecOf(buildNode(moeLayer()).node), profile: runner.profile };
      assert.match(String(refuseConfig(config, spec)), /needs subgroups/);
      return runner.close();
    }
    await check(runner, { ...moeLayer({ bias: true }), lower: lowerWith(config) });
    runner.close();
  });

  webgpuTest(`${algorithm}: weights larger than a binding go in parts`, async () => {
    const runner = await DispatchRunner.open();
    const layer = moeLayer({
      ...{ hidden: 64, intermediate: 32, experts: 10, tokens: 7, bias: true, residual: true },
      selected: [0, 9, 8, 1, 7, 2, 6, 3, 5, 4, -1, 10, 9, 0],
    });
    // Three experts of 8 KiB (up) and seven of 4 KiB (down) a binding.
    const profile: DeviceProfile = { ...runner.profile, maxBindingBytes: 30000 };
    const { dispatches } = await check(runner, {
      ...layer,
      context: { profile },
      lower: lowerWith(small),
    });
    const parts = dispatches.filter(({ bindings }) => bindings.some(({ range }) => range));
    assert.equal(parts.length, 4 + 2);
    runner.close();
  });
}

// One of each epilogue: the two GEMV kernels share theirs, and so do the GEMMs, of which the one
// without barriers is compiled soonest. Small tiles have few sums to finish.
for (const algorithm of ["slots", "direct"] as const) {
  const config = withTiles(CONFIGS[algorithm], { blockN: 16, threadM: 2, threadN: 2 });
  webgpuTest(`${algorithm}: every activation agrees with the CPU`, async (t) => {
    const runner = await DispatchRunner.open();
    for (const activation of MOE_ACTIVATIONS) {
      for (const mlp of ["gated", "plain"] as const) {
        if (mlp === "plain" && activation === "swiglu_oai") continue;
        // Sums from -20 to 20: far into both tails.
        const layer = moeLayer({ activation, mlp, tokens: 4, scale: 2 });
        await t.step(`${mlp} ${activation}`, async () => {
          await check(runner, { ...layer, lower: lowerWith(config) });
        });
      }
    }
    runner.close();
  });
}

// Heuristics for GPUs are run on a CPU that plays one as well: they must be right anywhere. The tokens
// are those at which a heuristic takes another algorithm or tile.
for (const software of [true, false]) {
  webgpuTest(`heuristics for ${software ? "CPUs that play GPU" : "GPUs"} are right`, async (t) => {
    const runner = await DispatchRunner.open();
    const context = { profile: { ...runner.profile, software } };
    for (const backend of ["auto", "triton", "trtllm"]) {
      for (const tokens of [1, 2, 4, 20, ...software ? [300] : [60, 900]]) {
        await t.step(`${backend}, ${tokens} tokens`, async () => {
          const layer = moeLayer({ backend, tokens, experts: 8, residual: true });
          const { dispatches } = await check(runner, { ...layer, context });
          const output = backend !== "triton" && tokens <= (software ? 1 : 4);
          assert.equal(dispatches.length, output ? 2 : 4);
        });
      }
    }
    runner.close();
  });
}

const anyLayer = fc.record({
  tokens: fc.integer({ min: 1, max: 40 }),
  hidden: fc.integer({ min: 1, max: 90 }),
  intermediate: fc.integer({ min: 1, max: 70 }),
  experts: fc.integer({ min: 4, max: 12 }),
  topK: fc.integer({ min: 1, max: 4 }),
  dtype: fc.constantFrom("bf16", "f16", "f32"),
  mlp: fc.constantFrom("gated", "plain"),
  bias: fc.boolean(),
  residual: fc.boolean(),
  applyRoutingOnInput: fc.boolean(),
  seed: fc.nat(1000),
});

/** Long unrolled texts take a CPU that plays GPU many seconds to compile. */
function isShort(config: MoeConfig): boolean {
  if (!("blockM" in config)) return true;
  return [config.up, config.down].every(({ threadM, threadN, blockK }) =>
    threadM * threadN * blockK <= 512
  );
}

webgpuTest("whatever a tuner may choose agrees with the CPU on random layers", async () => {
  const runner = await DispatchRunner.open();
  await fc.assert(
    fc.asyncProperty(anyLayer, fc.nat(), fc.nat(), async (options, first, second) => {
      const layer = moeLayer(options);
      const context = { tokens: { min: 1, max: options.tokens } };
      const spec = { ...moeSpecOf(buildNode(layer).node), ...context, profile: runner.profile };
      const pick = (list: readonly MoeConfig[], at: number) => {
        const short = list.filter(isShort);
        return short[at % short.length];
      };
      const half = pick(moeCandidates(spec), first);
      const config = pick(moeCandidates(spec, half), second);
      await check(runner, { ...layer, context, lower: lowerWith(config) });
      runner.clear();
    }),
    { numRuns: 10, seed: 11 },
  );
  runner.close();
});

async function check(runner: DispatchRunner, layer: Layer) {
  const result = await runOp(runner, layer);
  const error = relativeError(numbersOf(result.got[0]), numbersOf(result.expected[0]));
  assert(error <= TOLERANCES.moeF32, `relative error ${error}`);
  return result;
}
