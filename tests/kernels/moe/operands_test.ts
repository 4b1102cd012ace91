/** MoE layers that keep operands in f16: what is rounded, what is not, and who refuses. */

import assert from "node:assert/strict";
import { PACKED_FORMATS } from "../../../graph/mod.ts";
import type { DeviceProfile, Dispatch, LoweringContext } from "../../../kernels/kernel.ts";
import { moeBackend } from "../../../kernels/moe/backend.ts";
import {
  type GemmConfig,
  gemmStorage,
  type GemmTile,
  type MoeConfig,
  refuseConfig,
} from "../../../kernels/moe/algorithms/config.ts";
import { gemmHeuristic } from "../../../kernels/moe/tuning/heuristic.ts";
import { fusedMoeKernel } from "../../../kernels/moe/kernel.ts";
import { describeConfig } from "../../../kernels/moe/select.ts";
import { type DeviceMoeSpec, moeSpecOf } from "../../../kernels/moe/spec.ts";
import { webgpuTest } from "../../support/adapter.ts";
import { GPU_PROFILE } from "../../support/gpu_profile.ts";
import { numbersOf } from "../../support/host_tensors.ts";
import { CONFIGS } from "../../support/moe_configs.ts";
import { type LayerOptions, lowerWith, moeLayer } from "../../support/moe_layer.ts";
import { buildNode, type OpCase, runOp } from "../../support/op_case.ts";
import { packedLayer } from "../../support/packed_layer.ts";
import { type DispatchRunner, withRunner } from "../../support/run_dispatches.ts";
import { relativeError, TOLERANCES } from "../../support/tolerances.ts";

/** Configurations whose products keep f16 operands, and the others. */
const HALF = ["grouped", "permuted"] as const;
const FULL = (Object.keys(CONFIGS) as (keyof typeof CONFIGS)[])
  .filter((name) => !HALF.some((each) => each === name));

const TILE: GemmTile = {
  ...{ blockN: 32, blockK: 16, threadM: 8, threadN: 8, groupM: 1 },
  ...{ lanes: 1, staging: "both" },
};

/** Every layer is lowered for steps of so many tokens: those that differ in tokens alone share shaders. */
const CONTEXT = { tokens: { min: 1, max: 41 } };

const LAYERS: Readonly<Record<string, LayerOptions>> = {
  "one token": { tokens: 1 },
  "odd sizes, biases, residual": { hidden: 37, intermediate: 19, bias: true, residual: true },
  "sizes that no vector divides, f32": { hidden: 31, intermediate: 7, dtype: "f32", bias: true },
  "f16 weights": { dtype: "f16", residual: true },
  "plain experts": { mlp: "plain", activation: "relu2" },
  "routing on the input": { applyRoutingOnInput: true },
  "one expert gets every token": { tokens: 19, selected: Array(38).fill(3) },
  "experts that nobody chose": { tokens: 3, selected: [0, 5, 5, 0, 0, 5] },
  "ids outside of the range": { selected: [-1, 6, 0, 0, 5, 5, 2, 3, 1, -7], residual: true },
  "no id in the range": { tokens: 2, selected: [-1, 6, 99, -99], residual: true },
  "more tokens than a block, three slots": { tokens: 41, topK: 3 },
};

function lowerFor(
  name: keyof typeof CONFIGS,
  options: LayerOptions,
  profile: DeviceProfile = { ...GPU_PROFILE, subgroupSize: 8 },
): readonly Dispatch[] {
  return lowerWith(CONFIGS[name])(buildNode(moeLayer(options)).node, contextOf(profile));
}

function contextOf(profile: DeviceProfile, own: Partial<LoweringContext> = {}): LoweringContext {
  return {
    profile,
    tokens: { min: 1, max: 512 },
    maxRows: 1,
    pageSize: 16,
    cacheDtype: () => "f32",
    note() {},
    ...own,
  };
}

function specOf(options: LayerOptions, profile = GPU_PROFILE): DeviceMoeSpec {
  return { ...moeSpecOf(buildNode(moeLayer(options)).node, contextOf(profile)), profile };
}

/**
 * Tokens and choices for both algorithms, which find rows in their own ways; weights, sizes and
 * epilogues in turns, as both multiply and finish by one text.
 */
function layersFor(turn: number): [string, LayerOptions][] {
  const all = Object.entries(LAYERS);
  const isRouting = ([, options]: [string, LayerOptions]) =>
    options.tokens !== undefined || options.selected !== undefined;
  const others = all.filter((layer) => !isRouting(layer));
  return [...all.filter(isRouting), ...others.filter((_, i) => i % 2 === turn)];
}

for (const [turn, algorithm] of HALF.entries()) {
  webgpuTest(`${algorithm}: layers with f16 operands agree with the CPU`, async (t) => {
    await withRunner(async (runner) => {
      for (const [name, options] of layersFor(turn)) {
        const layer = { ...moeLayer({ ...options, operands: "f16" }), context: CONTEXT };
        await t.step(name, () => check(runner, layer, CONFIGS[algorithm]));
      }
    });
  });
}

webgpuTest("f16 operands take packed weights of every format", async (t) => {
  await withRunner(async (runner) => {
    for (const format of PACKED_FORMATS) {
      const layer = packedLayer({ format, hidden: 64, intermediate: 32, operands: "f16" });
      const { grouped } = CONFIGS;
      assert.ok("blockM" in grouped);
      const small = { threadM: 2, threadN: 2, blockK: 32 };
      const [up, down] = [grouped.up, grouped.down].map((tile) => ({ ...tile, ...small }));
      await t.step(format, () => check(runner, layer, { ...grouped, up, down }));
    }
  });
});

webgpuTest("f16 operands give the same bits twice, and others than f32", async () => {
  await withRunner(async (runner) => {
    const run = async (operands: "f16" | "f32") => {
      const layer = moeLayer({ tokens: 23, operands });
      return (await runOp(runner, { ...layer, lower: lowerWith(CONFIGS.grouped) })).got;
    };
    const [first, second, full] = [await run("f16"), await run("f16"), await run("f32")];
    assert.deepEqual(first, second);
    assert.notDeepEqual(first, full);
  });
});

webgpuTest("f16 operands make an activation of 1e5 infinite, f32 operands do not", async () => {
  await withRunner(async (runner) => {
    const run = async (name: keyof typeof CONFIGS, operands: "f16" | "f32", first: number) => {
      const layer = positiveLayer(operands, first);
      const { got } = await runOp(runner, { ...layer, lower: lowerWith(CONFIGS[name]) });
      return numbersOf(got[0]);
    };
    for (const name of HALF) {
      assert.ok((await run(name, "f16", 1e5)).every((value) => value === Infinity), name);
      assert.ok((await run(name, "f16", 65504)).every(Number.isFinite), "the largest f16");
      assert.ok((await run(name, "f32", 1e5)).every(Number.isFinite), name);
    }
    // Kernels for few tokens have f32 operands whatever the layer asks for.
    assert.ok((await run("slots", "f16", 1e5)).every(Number.isFinite));
  });
});

Deno.test("f16 operands are those of the staged GEMM; other kernels stay as they are", () => {
  for (const name of HALF) {
    for (const { kernel, wgsl } of lowerFor(name, { operands: "f16" })) {
      const isGemm = kernel.startsWith("moe_gemm");
      assert.equal(wgsl.startsWith("enable f16;\n"), isGemm, kernel);
      assert.equal(wgsl.includes("array<array<Operand, STRIDE>"), isGemm, kernel);
    }
  }
  for (const name of FULL) {
    const texts = (operands: "f16" | "f32") => lowerFor(name, { operands }).map(({ wgsl }) => wgsl);
    assert.deepEqual(texts("f16"), texts("f32"), name);
  }
});

Deno.test("moeSpecOf() has f32 operands unless the node says otherwise", () => {
  assert.equal(specOf({}).operands, "f32");
  assert.equal(specOf({ operands: "f16" }).operands, "f16");
});

Deno.test("gemmStorage() counts half the bytes for f16 operands, so that larger tiles fit", () => {
  const [full, half] = [specOf({}), specOf({ operands: "f16" })];
  const tile = { ...TILE, blockN: 128, blockK: 64 };
  const config: GemmConfig = { algorithm: "grouped", blockM: 128, up: tile, down: tile };
  assert.equal(gemmStorage(128, tile, full), 256 * 17 * 16);
  assert.equal(gemmStorage(128, tile, half), 256 * 17 * 8);
  assert.match(refuseConfig(config, full) ?? "", /69632 bytes of workgroup memory/);
  assert.equal(refuseConfig(config, half), undefined);
});

Deno.test("gemmHeuristic() stages both operands in f16 where a CPU plays GPU, too", () => {
  const profile = { ...GPU_PROFILE, software: true, subgroupSize: 8 };
  const stagings = (operands: "f16" | "f32") => {
    const { up, down } = gemmHeuristic(specOf({ operands }, profile), "grouped");
    return [up.staging, down.staging];
  };
  assert.deepEqual(stagings("f32"), ["none", "none"]);
  assert.deepEqual(stagings("f16"), ["both", "both"]);
});

Deno.test("describeConfig() says what became of f16 operands, and nothing where nobody asked", () => {
  const half = specOf({ operands: "f16" });
  const mixed: GemmConfig = {
    ...{ algorithm: "grouped", blockM: 16 },
    ...{ up: TILE, down: { ...TILE, staging: "none" } },
  };
  assert.match(
    describeConfig(CONFIGS.grouped, half),
    /16x32, both staged, f16 operands \(heuristic\)$/,
  );
  assert.match(describeConfig(mixed, half), /, f16 operands in the up product alone \(/);
  for (const name of FULL) {
    assert.match(describeConfig(CONFIGS[name], half), /, f32 operands: its kernels have no others/);
  }
  for (const config of Object.values(CONFIGS)) {
    assert.doesNotMatch(describeConfig(config, specOf({})), /operands/);
  }
});

Deno.test("backends refuse f16 operands on a device without shader-f16, and say so", () => {
  const profile = { ...GPU_PROFILE, shaderF16: false };
  const reason = "cannot keep operands in f16: the device has no shader-f16";
  const { node } = buildNode(moeLayer({ operands: "f16" }));
  for (const name of ["auto", "triton", "trtllm"]) {
    const { supports } = moeBackend(name);
    assert.equal(supports(specOf({ operands: "f16" }, profile)), reason, name);
    assert.equal(supports(specOf({ operands: "f16" })), undefined, name);
    assert.equal(supports(specOf({}, profile)), undefined, name);
    assert.equal(supports(moeSpecOf(node)), undefined, "no device, no refusal");
  }
  assert.equal(fusedMoeKernel.refuse(node, contextOf(profile)), `backend auto ${reason}`);
});

/** One token and a plain expert of positive weights, so that nothing that overflows is cancelled. */
function positiveLayer(operands: "f16" | "f32", first: number): OpCase<"fused_moe"> {
  const options = { tokens: 1, topK: 1, mlp: "plain", activation: "relu2", dtype: "f32" } as const;
  const layer = moeLayer({ ...options, operands });
  const fill = (name: string, value: number) => {
    const given = layer.inputs[name];
    assert.ok(given && "data" in given && given.data instanceof Float32Array);
    given.data.fill(value);
    return given.data;
  };
  fill("x", 0)[0] = first;
  for (const [name, value] of [["w_up", 1e-3], ["w_down", 1], ["routing_weights", 1]] as const) {
    fill(name, value);
  }
  return layer;
}

async function check(
  runner: DispatchRunner,
  layer: OpCase<"fused_moe">,
  config: MoeConfig,
): Promise<void> {
  const { got, expected } = await runOp(runner, { ...layer, lower: lowerWith(config) });
  const error = relativeError(numbersOf(got[0]), numbersOf(expected[0]));
  assert.ok(error <= TOLERANCES.moeF16Operands, `relative error ${error}`);
}
