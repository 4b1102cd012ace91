/**
 * The setting `operands`, the default of a field of several transforms, and what a report says of it.
 *
 * @module
 */

import assert from "node:assert/strict";
import { z } from "../../deps/zod.ts";
import {
  describeOperands,
  type OperandsChoice,
  operandsChoices,
} from "../../dsl/operands_choice.ts";
import { exportTrtllm } from "../../dsl/export/export_trtllm.ts";
import { formatOrigin } from "../../dsl/origin.ts";
import { type Pipeline, pipeline } from "../../dsl/pipeline.ts";
import { settingsSchema } from "../../dsl/settings.ts";
import type { DeviceProfile } from "../../kernels/mod.ts";
import {
  allTransforms,
  configSchema,
  defineTransform,
  settingBehind,
  type TransformRecord,
} from "../../transforms/mod.ts";
import { webgpuTest } from "../support/adapter.ts";
import { GPU_PROFILE } from "../support/gpu_profile.ts";
import { STORYTELLER } from "../support/model_folder.ts";

/** Transforms with the field, in the order of the default pipeline. */
const KEYS = [
  "fuse_moe",
  "fuse_fp8_moe",
  "fuse_finegrained_fp8_moe",
  "fuse_nvfp4_moe",
  "fuse_mxfp4_moe",
  "compile_model",
] as const;

/** Value and origin of the field of every transform that has it and is in the pipeline. */
function fieldsOf(deployment: Pipeline): Record<string, string> {
  const found = deployment.resolve().values.filter(({ path }) => /^transf.*\.operands$/.test(path));
  return Object.fromEntries(
    found.map(({ transform = "", value, origin }) => [
      transform,
      `${value} by ${formatOrigin(origin)}`,
    ]),
  );
}

/** The same for all transforms. */
const all = (text: string) => Object.fromEntries(KEYS.map((key) => [key, text]));

Deno.test("operands is the default of the field of every transform that has one", () => {
  assert.deepEqual(fieldsOf(pipeline()), all("f32 by default"));
  const layers: readonly [layer: Pipeline, origin: string][] = [
    [pipeline.fromYaml("operands: auto"), "yaml:1:11"],
    [pipeline.fromFlags(["operands=auto"]), "flag --set operands=auto"],
    [pipeline.fromEnvironment({ MIXLINE_OPERANDS: "auto" }), "environment MIXLINE_OPERANDS"],
    [pipeline().settings({ operands: "auto" }), "code settings()"],
  ];
  for (const [layer, origin] of layers) {
    assert.deepEqual(fieldsOf(pipeline().overlay(layer)), all(`auto by ${origin}`));
    assert.equal(pipeline().overlay(layer).resolve().settings.operands, "auto");
  }
  const { transforms } = pipeline().settings({ operands: "f16" }).resolve();
  for (const { key, config } of transforms) {
    if (KEYS.some((each) => each === key)) assert.equal(config.operands, "f16", key);
  }
});

Deno.test("a field operands that is written wins over the setting, whatever the layers", () => {
  const file = pipeline.fromYaml("transforms: {fuse_moe: {operands: f32}}");
  const above = file.overlay(pipeline.fromFlags(["operands=auto"]));
  const expected = { ...all("auto by flag --set operands=auto"), fuse_moe: "f32 by yaml:1:35" };
  assert.deepEqual(fieldsOf(above), expected);
  const back = above.set("transforms.fuse_moe.operands", null);
  assert.deepEqual(fieldsOf(back), all("auto by flag --set operands=auto"));
  assert.deepEqual(fieldsOf(back.set("operands", null)), all("f32 by code set(operands)"));
});

Deno.test("operands adds no transforms, and is written as it was given", () => {
  const empty = pipeline.empty().settings({ operands: "auto" });
  assert.deepEqual(empty.resolve().transforms, []);
  assert.equal(empty.toYaml(), "yaml_default: null\noperands: auto\n");
  assert.match(empty.toTypeScript(), /pipeline\.empty\(\)\s+\.settings\(\{ operands: "auto" \}\)/);
  const yaml = pipeline().settings({ operands: "auto" }).toYaml({ resolved: true, origins: true });
  const lines = yaml.match(/^.*operands: auto +# code settings\(\)$/gm);
  assert.equal(lines?.length, 1 + KEYS.length);
  assert.throws(() => pipeline.fromYaml("operands: f8"), {
    code: "config/invalid",
    message: /"operands".*expected f32, f16 or auto, got "f8"/,
  });
});

Deno.test("fields have defaults of settings that exist and agree", () => {
  const following = allTransforms().flatMap((definition) =>
    Object.entries(configSchema(definition).shape).flatMap(([name, field]) => {
      const setting = settingBehind(field);
      return setting === undefined ? [] : [{ path: `${definition.key}.${name}`, setting, field }];
    })
  );
  assert.deepEqual(
    following.map(({ path }) => path).toSorted(),
    KEYS.map((key) => `${key}.operands`).toSorted(),
  );
  const settings: Readonly<Record<string, z.ZodType>> = settingsSchema.shape;
  for (const { path, setting, field } of following) {
    const standard = settings[setting].parse(undefined);
    assert.equal(z.parse(field, undefined), standard, path);
    assert.match(z.globalRegistry.get(field)?.description ?? "", /the setting operands/, path);
    for (const value of ["f32", "f16", "auto"]) assert.equal(z.parse(field, value), value);
  }
});

Deno.test("a field operands of a transform of one's own is left alone", () => {
  const own = defineTransform({
    key: "count_operands",
    stage: "export",
    summary: "Count operands",
    config: z.object({ operands: z.enum(["two", "three"]).default("two").describe("How many") }),
    plan: () => ({ matches: [] }),
    apply() {},
  });
  const p = pipeline.empty().use(own).settings({ operands: "auto" });
  assert.deepEqual(fieldsOf(p), { count_operands: "two by default" });
});

Deno.test("an export leaves the setting operands behind once", () => {
  const p = pipeline().settings({ model: "org/model", operands: "auto" });
  const { leftBehind } = exportTrtllm(p.resolve(), { worldSize: 1 });
  assert.deepEqual(leftBehind, [{ path: "operands", value: "auto", reason: "it runs on CUDA" }]);
});

/** Choices of a pipeline whose transforms found these matches. */
function choicesOf(
  deployment: Pipeline,
  matches: Readonly<Record<string, number>>,
  profile?: DeviceProfile,
): readonly OperandsChoice[] {
  const history = Object.entries(matches).map(([key, num_matches]): TransformRecord => ({
    ...{ key, stage: "compile", enabled: true, skipped: false, num_matches, is_clean: true },
    ...{ has_valid_shapes: true, milliseconds: 0, weightBytesBefore: 0, weightBytesAfter: 0 },
    ...{ nodesBefore: 1, nodesAfter: 1, nearMisses: [], notes: [] },
  }));
  const executor = profile ? "webgpu" as const : "cpu" as const;
  return operandsChoices(deployment.resolve(), history, { executor, ...(profile && { profile }) });
}

const MATCHES = { fuse_moe: 0, fuse_mxfp4_moe: 24, compile_model: 1 };

Deno.test("operandsChoices() says what each transform that found something computes in, and why", () => {
  const auto = pipeline().settings({ operands: "auto" });
  const matrices = { ...GPU_PROFILE, matrices: [{ m: 16, n: 16, k: 16 }] };
  assert.deepEqual(choicesOf(auto.compileModel({ operands: "f32" }), MATCHES, matrices), [
    {
      transform: "fuse_mxfp4_moe",
      operands: "auto",
      setBy: "code settings()",
      computed: "f16 by the device's matrices",
    },
    {
      transform: "compile_model",
      operands: "f32",
      setBy: "code compileModel()",
      computed: "f32",
    },
  ]);
  const both = "for fuse_mxfp4_moe, compile_model";
  const texts: readonly [Pipeline, DeviceProfile | undefined, string][] = [
    [pipeline(), matrices, `f32 ${both} (default)`],
    [auto, matrices, `auto ${both} (code settings()): f16 by the device's matrices`],
    [auto, GPU_PROFILE, `auto ${both} (code settings()): f32, as the device has no matrices`],
    [auto, undefined, `auto ${both} (code settings()): f32, as always on the CPU`],
    [
      pipeline().settings({ operands: "f16" }),
      GPU_PROFILE,
      "f16 for fuse_mxfp4_moe (code settings()); f16 for compile_model (code settings()): f32, as the device has no matrices",
    ],
  ];
  for (const [deployment, profile, text] of texts) {
    assert.equal(describeOperands(choicesOf(deployment, MATCHES, profile)), text);
  }
  assert.deepEqual(choicesOf(auto, {}, matrices), []);
});

webgpuTest("deploy() notes and reports the operands that were chosen, and why", async () => {
  const notes: string[] = [];
  await using engine = await pipeline().overlay(pipeline.fromFlags(["operands=auto"])).deploy({
    model: STORYTELLER,
    executor: "webgpu",
    config: "max_batch_size: 2\ntransforms: {compile_model: {operands: f32}}",
    onProgress: (event) => event.kind === "note" && notes.push(event.message),
  });
  const choices = engine.report.operands as readonly OperandsChoice[];
  assert.deepEqual(choices.map(({ transform, operands, setBy }) => [transform, operands, setBy]), [
    ["fuse_moe", "auto", "flag --set operands=auto"],
    ["compile_model", "f32", "yaml:2:40"],
  ]);
  assert.ok(notes.includes(`operands: ${describeOperands(choices)}`), notes.join("\n"));
});
