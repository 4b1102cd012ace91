/** Grouped GEMMs by matrices of subgroups: tiling, edges and epilogues, with plain WGSL as matrices. */

import assert from "node:assert/strict";
import { PACKED_FORMATS } from "../../../graph/mod.ts";
import type { MatrixShape } from "../../../kernels/kernel.ts";
import {
  type GemmConfig,
  refuseConfig,
  type SlotConfig,
} from "../../../kernels/moe/algorithms/config.ts";
import { moeCandidates } from "../../../kernels/moe/tuning/candidates.ts";
import { gemmHeuristic, prefersMatrices } from "../../../kernels/moe/tuning/heuristic.ts";
import { findTuned } from "../../../kernels/moe/tuning/tuned.ts";
import { parseTunedRow, tunedRow } from "../../../kernels/moe/tuning/tuned_row.ts";
import { describeConfig } from "../../../kernels/moe/select.ts";
import { type DeviceMoeSpec, moeSpecOf } from "../../../kernels/moe/spec.ts";
import { webgpuTest } from "../../support/adapter.ts";
import { GPU_PROFILE } from "../../support/gpu_profile.ts";
import { numbersOf } from "../../support/host_tensors.ts";
import {
  configFor,
  MATRIX_CONFIGS,
  MATRIX_SHAPES,
  withMatrices,
} from "../../support/matrix_configs.ts";
import { type LayerOptions, lowerWith, moeLayer } from "../../support/moe_layer.ts";
import { buildNode, type OpCase, runOp } from "../../support/op_case.ts";
import { packedLayer } from "../../support/packed_layer.ts";
import { type DispatchRunner, withRunner } from "../../support/run_dispatches.ts";
import { relativeError, TOLERANCES } from "../../support/tolerances.ts";

const SLOTS: SlotConfig = {
  algorithm: "slots",
  lanes: 32,
  up: { values: 4, unroll: 2, groups: 2 },
  down: { values: 4, unroll: 1, groups: 2 },
};

/** Every layer is lowered for steps of so many tokens: those that differ in tokens alone share shaders. */
const CONTEXT = { tokens: { min: 1, max: 70 } };

const LAYERS: Readonly<Record<string, LayerOptions>> = {
  "one token": { tokens: 1 },
  "odd sizes, biases, residual": { hidden: 37, intermediate: 19, bias: true, residual: true },
  "sizes that no vector divides, f32": { hidden: 31, intermediate: 7, dtype: "f32", bias: true },
  "several tiles of outputs and of depth": { hidden: 200, intermediate: 104, tokens: 9 },
  "f16 weights": { dtype: "f16", residual: true },
  "plain experts": { mlp: "plain", activation: "relu2" },
  "gpt-oss's experts": { activation: "swiglu_oai", bias: true, tokens: 40 },
  "routing on the input": { applyRoutingOnInput: true },
  "one expert gets every token": { tokens: 70, selected: Array(140).fill(3) },
  "experts that nobody chose": { tokens: 3, selected: [0, 5, 5, 0, 0, 5] },
  "ids outside of the range": { selected: [-1, 6, 0, 0, 5, 5, 2, 3, 1, -7], residual: true },
  "no id in the range": { tokens: 2, selected: [-1, 6, 99, -99], residual: true },
};

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

for (const [turn, [algorithm, config]] of Object.entries(MATRIX_CONFIGS).entries()) {
  webgpuTest(`matrices, ${algorithm}: layers agree with the CPU`, async (t) => {
    await withRunner(async (runner) => {
      for (const [name, options] of layersFor(turn)) {
        const layer = { ...moeLayer({ ...options, operands: "f16" }), context: CONTEXT };
        await t.step(name, () => check(runner, layer, config, MATRIX_SHAPES[0]));
      }
    });
  });
}

webgpuTest("matrices of every size agree with the CPU", async (t) => {
  await withRunner(async (runner) => {
    for (const shape of MATRIX_SHAPES) {
      const layer = moeLayer({ tokens: 41, topK: 3, bias: true, operands: "auto" });
      await t.step(
        `${shape.m}x${shape.n}x${shape.k}`,
        () => check(runner, layer, configFor(shape), shape),
      );
    }
  });
});

webgpuTest("matrices take packed weights of every format", async (t) => {
  await withRunner(async (runner) => {
    for (const format of PACKED_FORMATS) {
      const layer = packedLayer({ format, hidden: 64, intermediate: 32, operands: "f16" });
      await t.step(format, () => check(runner, layer, MATRIX_CONFIGS.permuted, MATRIX_SHAPES[0]));
    }
  });
});

webgpuTest("matrices take rows and weights of any size that f16 can be scaled to", async (t) => {
  const [tokens, hidden] = [9, 40];
  await withRunner(async (runner) => {
    // Weights up to the largest of f16, and down to the smallest that has all of its digits.
    for (const [weights, rows] of [[65504, 1e-9], [2 ** -13, 1e9]]) {
      const layer = moeLayer({ tokens, hidden, operands: "f16", dtype: "f32", scale: weights });
      const { x } = layer.inputs;
      assert.ok(x && "data" in x && x.data instanceof Float32Array);
      // Neighbouring tokens differ by a million, and elements of a token as well.
      const data = Float32Array.from(x.data, (value, i) => {
        const [row, column] = [Math.floor(i / hidden), i % hidden];
        return value * rows * 10 ** (row % 2 * 6 - column % 3 * 3);
      });
      const sized = { ...layer, inputs: { ...layer.inputs, x: { ...x, data } } };
      await t.step(`weights of ${weights}`, async () => {
        const { got, expected } = await runPlain(
          runner,
          sized,
          MATRIX_CONFIGS.permuted,
          MATRIX_SHAPES[0],
        );
        const [a, b] = [numbersOf(got[0]), numbersOf(expected[0])];
        for (let at = 0; at < a.length; at += hidden) {
          const error = relativeError(a.slice(at, at + hidden), b.slice(at, at + hidden));
          assert.ok(error <= TOLERANCES.moeF16Operands, `row ${at / hidden}: ${error}`);
        }
      });
    }
  });
});

webgpuTest("matrices give the same bits twice", async () => {
  await withRunner(async (runner) => {
    const run = async () => {
      const layer = moeLayer({ tokens: 23, operands: "f16" });
      return (await runPlain(runner, layer, MATRIX_CONFIGS.grouped, MATRIX_SHAPES[0])).got;
    };
    assert.deepEqual(await run(), await run());
  });
});

Deno.test("matrices are refused without a device that has them, and for layers that keep f32", () => {
  const refusal = (operands: "f16" | "f32", profile = GPU_PROFILE) =>
    refuseConfig(MATRIX_CONFIGS.grouped, specOf({ operands }, profile)) ?? "none";
  const device = withMatrices(GPU_PROFILE, MATRIX_SHAPES[0]);
  assert.match(refusal("f16"), /needs matrices of subgroups/);
  assert.match(refusal("f32", device), /the layer keeps f32/);
  assert.equal(refusal("f16", device), "none");
  assert.match(refusal("f16", { ...device, subgroupSize: 16 }), /32 lanes: a subgroup has 16/);
  const large = withMatrices(GPU_PROFILE, { m: 64, n: 64, k: 16 });
  assert.match(refusal("f16", large), /no matrices of 64x64x16 make it up/);
});

Deno.test("gemmHeuristic() takes matrices for `f16` and `auto`, where a device has them", () => {
  const device = withMatrices(GPU_PROFILE, MATRIX_SHAPES[0]);
  const staging = (operands: "f16" | "f32" | "auto", profile = device) =>
    gemmHeuristic(specOf({ operands }, profile), "grouped").up.staging;
  assert.deepEqual(
    [staging("f16"), staging("auto"), staging("f32"), staging("auto", GPU_PROFILE)],
    ["matrices", "matrices", "both", "both"],
  );
  for (const shape of MATRIX_SHAPES) {
    assert.equal(staging("auto", withMatrices(GPU_PROFILE, shape)), "matrices");
  }
  const config = gemmHeuristic(specOf({ operands: "auto" }, device), "grouped");
  assert.match(describeConfig(config, specOf({ operands: "auto" }, device)), /matrices, f16 op/);
});

Deno.test("moeCandidates() and tuned tables know matrices", () => {
  const spec = specOf({ operands: "auto" }, withMatrices(GPU_PROFILE, MATRIX_SHAPES[0]));
  const usesMatrices = (operands: "auto" | "f32") =>
    moeCandidates({ ...spec, operands })
      .filter((config) => "blockM" in config && config.up.staging === "matrices");
  assert.ok(usesMatrices("auto").length > 4);
  assert.equal(usesMatrices("f32").length, 0);
  const { grouped } = MATRIX_CONFIGS;
  assert.deepEqual(parseTunedRow(tunedRow(grouped)), { success: true, row: grouped });
});

Deno.test("findTuned() takes the table of f32 for `auto` where rows are too few for matrices", () => {
  const profile = withMatrices(GPU_PROFILE, MATRIX_SHAPES[0]);
  const text = JSON.stringify({ 1: [tunedRow(SLOTS)], 1024: [tunedRow(SLOTS)] });
  const tuned = {
    read: (name: string) => name.includes("operands") ? undefined : { path: "f32.json", text },
  };
  const found = (tokens: number) => {
    const spec = specOf({ operands: "auto" }, profile);
    const step = { ...spec, tokens: { min: tokens, max: tokens }, tuned };
    return findTuned(step, ["slots"], () => {})?.path;
  };
  assert.deepEqual([found(1), found(1024)], ["f32.json", undefined]);
});

Deno.test("findTuned() takes the table of f32 for `auto` where its own has no row for few tokens", () => {
  const row = (key: number) => JSON.stringify({ [key]: [tunedRow(SLOTS)] });
  const tuned = {
    read: (name: string) =>
      name.includes("operands=auto")
        ? { path: "auto.json", text: row(64) }
        : { path: "f32.json", text: row(1) },
  };
  const found = (tokens: number, own: Partial<DeviceMoeSpec> = {}) => {
    const spec = { ...specOf({ operands: "auto" }, DEVICE), ...own };
    return findTuned({ ...spec, tokens: { min: 1, max: tokens }, tuned }, ["slots"], () => {})
      ?.path;
  };
  assert.deepEqual([found(1), found(64), found(16)], ["f32.json", "auto.json", undefined]);
  const rounded = { format: "fp8_e4m3", activationQuant: "static" } as const;
  assert.equal(prefersMatrices({ ...specOf({ operands: "auto" }, DEVICE), ...rounded }), false);
});

Deno.test("moeCandidates() tries matrices for few tokens, with the lowest blocks", () => {
  const spec = { ...specOf({ operands: "auto" }, DEVICE), experts: 64, tokens: { min: 2, max: 2 } };
  const heights = (operands: "auto" | "f32") =>
    new Set(
      moeCandidates({ ...spec, operands }).flatMap((config) =>
        "blockM" in config ? [`${config.blockM} ${config.up.staging}`] : []
      ),
    );
  assert.deepEqual([...heights("auto")].sort(), ["16 matrices", "4 rows"]);
  const nearest = moeCandidates(spec).slice(0, 12).map((config) => JSON.stringify(config));
  assert.ok(nearest.some((text) => text.includes("matrices")), "among the first, too");
  assert.deepEqual([...heights("f32")], ["4 rows"]);
});

const DEVICE = withMatrices(GPU_PROFILE, MATRIX_SHAPES[0]);

function specOf(options: LayerOptions, profile = GPU_PROFILE): DeviceMoeSpec {
  const { node } = buildNode(moeLayer({ hidden: 256, intermediate: 128, ...options }));
  const spec = moeSpecOf(node, { profile, tokens: { min: 1, max: 1024 } });
  return { ...spec, profile };
}

function runPlain(
  runner: DispatchRunner,
  layer: OpCase<"fused_moe">,
  config: GemmConfig,
  shape: MatrixShape,
) {
  const lower = lowerWith(config);
  return runOp(runner, {
    ...layer,
    lower: (node, context) =>
      lower(node, { ...context, profile: withMatrices(context.profile, shape, true) }),
  });
}

async function check(
  runner: DispatchRunner,
  layer: OpCase<"fused_moe">,
  config: GemmConfig,
  shape: MatrixShape,
): Promise<void> {
  const { got, expected } = await runPlain(runner, layer, config, shape);
  const error = relativeError(numbersOf(got[0]), numbersOf(expected[0]));
  assert.ok(error <= TOLERANCES.moeF16Operands, `relative error ${error}`);
}
