/**
 * Layers over each other: what wins, who set it, and what of AutoDeploy's files is carried through.
 *
 * @module
 */

import assert from "node:assert/strict";
import { z } from "../../deps/zod.ts";
import { formatOrigin } from "../../dsl/origin.ts";
import { type Pipeline, pipeline } from "../../dsl/pipeline.ts";
import { ConfigError } from "../../graph/mod.ts";
import { defineTransform, STAGES, transformKeys } from "../../transforms/mod.ts";

/** The value of a path and the layer that set it. */
function valueOf(deployment: Pipeline, path: string): [unknown, string] {
  const found = deployment.resolve().values.find((each) => each.path === path);
  assert.ok(found, path);
  return [found.value, formatOrigin(found.origin)];
}

const BACKEND = "transforms.fuse_moe.backend";

Deno.test("resolve() names the layer of every value: default, file, environment, flag, code", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const [a, b] = [`${folder}/a.yaml`, `${folder}/b.yaml`];
    await Deno.writeTextFile(a, "max_batch_size: 2\ntransforms: {fuse_moe: {backend: triton}}\n");
    await Deno.writeTextFile(b, "transforms:\n  fuse_moe:\n    backend: trtllm\n");
    let p = pipeline();
    assert.match(valueOf(p, BACKEND)[1], /^default, configs\/default\.yaml:\d+$/);
    assert.deepEqual(valueOf(p, "max_batch_size"), [64, "default"]);
    p = p.overlay(pipeline.fromYaml(a, b));
    assert.deepEqual(valueOf(p, BACKEND), ["trtllm", `${b}:3:14`]);
    assert.deepEqual(valueOf(p, "max_batch_size"), [2, `${a}:1:17`]);
    const variable = "MIXLINE_TRANSFORMS__FUSE_MOE__BACKEND";
    p = p.overlay(
      pipeline.fromEnvironment({ [variable]: "reference", MIXLINE_MAX_BATCH_SIZE: "3" }),
    );
    assert.deepEqual(valueOf(p, BACKEND), ["reference", `environment ${variable}`]);
    assert.deepEqual(valueOf(p, "max_batch_size"), [3, "environment MIXLINE_MAX_BATCH_SIZE"]);
    p = p.overlay(pipeline.fromFlags(["transforms.fuse-moe.backend=triton"]));
    const flag = "flag --set transforms.fuse-moe.backend=triton";
    assert.deepEqual(valueOf(p, BACKEND), ["triton", flag]);
    p = p.fuseMoe({ backend: "auto" });
    assert.deepEqual(valueOf(p, BACKEND), ["auto", "code fuseMoe()"]);
    assert.equal(p.resolve().originOf("transforms.fuse_moe.none"), undefined);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("toYaml({ resolved, origins }) has the layer of every value behind it", () => {
  const p = pipeline.fromYaml("max_seq_len: 64").fuseMoe({ backend: "triton" });
  const lines = p.toYaml({ resolved: true, origins: true }).split("\n");
  const comment = (start: string) => lines.find((line) => line.startsWith(start))?.split("  # ")[1];
  assert.equal(comment("max_seq_len: 64"), "yaml:1:14");
  assert.equal(comment("    backend: triton"), "code fuseMoe()");
  assert.match(comment("    page_size: 16") ?? "", /^default, configs\/default\.yaml:\d+$/);
  const bare = lines.filter((line) => line !== "" && !line.includes("  # "));
  assert.ok(bare.every((line) => /^(yaml_default: null|transforms:| {2}\w+:( \{\})?)$/.test(line)));
});

Deno.test("resolve() puts transforms in order: stages, then the defaults' order, then new keys", () => {
  const { transforms } = pipeline().resolve();
  assert.deepEqual(
    transforms.map(({ key }) => key),
    transformKeys().filter((key) => transforms.some((each) => each.key === key)),
  );
  const stages = transforms.map(({ stage }) => STAGES.indexOf(stage));
  assert.deepEqual(stages, stages.toSorted((a, b) => a - b));
  const early = defineTransform({
    key: "early",
    stage: "export",
    summary: "Do nothing, early",
    config: z.object({}),
    plan: () => ({ matches: [] }),
    apply() {},
  });
  const keys = pipeline().use(early).resolve().transforms.map(({ key }) => key);
  assert.equal(keys[keys.indexOf("early") - 1], "export_to_gm");
  assert.equal(keys[keys.indexOf("early") + 1], "cleanup_noop_slice");
  const moved = pipeline().use(early, { stage: "compile" }).resolve().transforms;
  assert.equal(moved[moved.length - 1].key, "early");
});

Deno.test("null goes back to the definition's default, and counts as said", () => {
  const p = pipeline.fromYaml(
    "max_batch_size: 2\ntransforms: {initialize_cache: {page_size: 32}}",
    "max_batch_size: null\ntransforms: {initialize_cache: {page_size: null}}",
  );
  assert.deepEqual(valueOf(p, "max_batch_size"), [64, "yaml:1:17"]);
  assert.deepEqual(valueOf(p, "transforms.initialize_cache.page_size"), [16, "yaml:2:44"]);
});

Deno.test("lists replace, mappings of fields merge, an empty key changes nothing", () => {
  const p = pipeline.fromYaml(
    "transforms:\n  fuse_moe:\n    backend: triton\n    overrides: [{match: a, backend: auto}, {match: b, backend: auto}]\n",
    "transforms:\n  fuse_moe:\n    overrides: [{match: c, backend: trtllm}]\n  fuse_gemms:\n",
    "transforms:\n",
    "",
  );
  assert.equal(
    p.toYaml(),
    `transforms:
  fuse_moe:
    backend: triton
    overrides:
      - match: c
        backend: trtllm
  fuse_gemms: {}
`,
  );
});

Deno.test("operands of a layer and of all are the same in YAML, flags, environment and code", () => {
  const yaml = `transforms:
  fuse_moe:
    operands: f16
    overrides:
      - match: model.layers.0.*
        backend: auto
        operands: f32
`;
  const p = pipeline.fromYaml(yaml);
  const overrides = [{ match: "model.layers.0.*", backend: "auto", operands: "f32" }] as const;
  assert.equal(p.toYaml(), yaml);
  assert.ok(p.equals(pipeline().fuseMoe({ operands: "f16", overrides: [...overrides] })));
  assert.match(p.toTypeScript(), /fuseMoe\(\{\s*operands: "f16",\s*overrides: /);
  const path = "transforms.fuse_moe.operands";
  assert.equal(valueOf(pipeline(), path)[0], "f32");
  const flags = pipeline.fromFlags([`${path}=f16`]);
  const environment = pipeline.fromEnvironment({ MIXLINE_TRANSFORMS__FUSE_MOE__OPERANDS: "f16" });
  for (const layer of [flags, environment]) {
    assert.equal(valueOf(pipeline().overlay(layer), path)[0], "f16");
  }
});

Deno.test("anchors, aliases and merge keys are read, with the line of the value itself", () => {
  const p = pipeline.fromYaml(
    "transforms:\n  fuse_gemms: &off\n    enabled: false\n  fuse_residual: *off\n  fuse_moe:\n    <<: *off\n    backend: triton\n",
  );
  assert.deepEqual(valueOf(p, "transforms.fuse_residual.enabled"), [false, "yaml:3:14"]);
  assert.deepEqual(valueOf(p, "transforms.fuse_moe.enabled"), [false, "yaml:3:14"]);
  assert.deepEqual(valueOf(p, "transforms.fuse_moe.backend"), ["triton", "yaml:7:14"]);
});

Deno.test("short names set the fields they stand for, and beat them in one file", () => {
  const p = pipeline.fromYaml(
    "attn_backend: triton\nkv_cache_dtype: f32\ntransforms: {insert_cached_attention: {backend: torch}}",
  );
  assert.deepEqual(valueOf(p, "transforms.insert_cached_attention.backend"), [
    "triton",
    "yaml:1:15",
  ]);
  assert.deepEqual(valueOf(p, "transforms.insert_cached_attention.cache_dtype"), [
    "f32",
    "yaml:2:17",
  ]);
  const later = p.overlay(pipeline.fromFlags(["transforms.insert_cached_attention.backend=torch"]));
  assert.equal(valueOf(later, "transforms.insert_cached_attention.backend")[0], "torch");
  assert.ok(
    pipeline().settings({ compileBackend: "torch-opt" }).equals(
      pipeline().compileModel({ backend: "torch-opt" }),
    ),
  );
});

Deno.test("flags and variables hold YAML, and texts that look like it where a text belongs", () => {
  const p = pipeline.fromFlags([
    "model=123",
    "max-num-tokens=64",
    "transforms.compile-model.token-ranges=[1, 8]",
    "transforms.fuse_moe.overrides=[{match: 'a.*', backend: triton}]",
    "transforms.fuse_gemms.enabled=false",
    "transforms.fuse_residual={enabled: false}",
    "--max-batch-size=4",
  ]);
  assert.deepEqual(valueOf(p, "model"), ["123", "flag --set model=123"]);
  assert.deepEqual(valueOf(p, "max_num_tokens")[0], 64);
  assert.deepEqual(valueOf(p, "transforms.compile_model.token_ranges")[0], [1, 8]);
  assert.deepEqual(valueOf(p, "transforms.fuse_moe.overrides")[0], [
    { match: "a.*", backend: "triton" },
  ]);
  assert.equal(valueOf(p, "transforms.fuse_gemms.enabled")[0], false);
  assert.equal(valueOf(p, "transforms.fuse_residual.enabled")[0], false);
  assert.deepEqual(valueOf(p, "max_batch_size"), [4, "flag --max-batch-size=4"]);
  const environment = pipeline.fromEnvironment({ MIXLINE_MODEL: "true", OTHER: "1" });
  assert.equal(valueOf(environment, "model")[0], "true");
});

/** What a file of AutoDeploy's may say, most of it without meaning here. */
const AUTODEPLOY = `
runtime: trtllm
world_size: 8
max_batch_size: 16
attn_backend: flashinfer
compile_backend: torch-cudagraph
model_kwargs: {num_hidden_layers: 4}
cuda_graph_config: {batch_sizes: [1, 2, 4]}
kv_cache_config: {free_gpu_memory_fraction: 0.9}
transforms:
  build_model: {stage: factory, run_per_gm: false, use_strict_forward: true}
  export_to_gm: {stage: export, strict: false, clone_state_dict: false, patch_list: [torch_moe]}
  match_sdpa_to_torch_attention: {stage: pattern_matcher}
  match_attention_layout: {stage: pattern_matcher, attn_layout: bsnd}
  match_moe_pattern: {debug_visualize_dir: /tmp/graphs}
  detect_sharding: {simple_shard_only: true, sharding_dims: [tp, ep], manual_config: {head_dim: 128}}
  load_weights: {checkpoint_device: cpu}
  fuse_moe: {stage: post_load_fusion, expect_mem_change: true, backend: trtllm}
  fuse_allreduce_residual_rmsnorm: {stage: post_load_fusion}
  fuse_rmsnorm: {rmsnorm_backend: flashinfer, gated_rmsnorm_backend: triton}
  multi_stream_moe: {stage: compile, enabled: false, constructor: x}
  compile_model: {cuda_graph_batch_sizes: [1, 2], num_batched_inputs: 2, piecewise_enabled: false}
`;

Deno.test("files of AutoDeploy load; what has no meaning here is reported once and carried through", () => {
  const p = pipeline.fromYaml(AUTODEPLOY);
  const { settings, transforms, notes } = p.resolve();
  assert.equal(settings.maxBatchSize, 16);
  for (
    const name of [
      "runtime",
      "world_size",
      "model_kwargs",
      "cuda_graph_config",
      "kv_cache_config",
      "match_sdpa_to_torch_attention",
      "match_attention_layout",
      "match_moe_pattern.debug_visualize_dir",
      "fuse_allreduce_residual_rmsnorm",
    ]
  ) {
    const about = notes.filter((note) => note.startsWith(`${name} is not applicable on WebGPU: `));
    assert.equal(about.length, 1, name);
  }
  assert.ok(!notes.some((note) => note.startsWith("multi_stream_moe")), "it is off");
  assert.equal(transforms.find(({ key }) => key === "fuse_moe")?.config.backend, "trtllm");
  const exported = pipeline.fromYaml(p.toYaml());
  assert.ok(exported.equals(p));
  for (
    const text of ["world_size: 8", "attn_layout: bsnd", "debug_visualize_dir", "head_dim: 128"]
  ) {
    assert.ok(p.toYaml().includes(text), text);
  }
  const steps = transforms.filter(({ definition }) => definition === undefined);
  assert.deepEqual(steps.map(({ key, enabled }) => [key, enabled]), [
    ["match_sdpa_to_torch_attention", true],
    ["match_attention_layout", true],
    ["fuse_allreduce_residual_rmsnorm", true],
    ["multi_stream_moe", false],
  ]);
});

Deno.test("toYaml() quotes what YAML 1.1, as AutoDeploy reads it, would take for something else", () => {
  const p = pipeline().settings({ model: "no" }).set("runtime", "1_000");
  assert.equal(p.toYaml(), `model: "no"\nruntime: "1_000"\n`);
});

Deno.test("toYaml() quotes a name that would be a merge key", () => {
  const p = pipeline().set("model_kwargs", { "<<": { a: 1 }, b: [{ "<<": 2 }] });
  assert.ok(pipeline.fromYaml(p.toYaml()).equals(p), p.toYaml());
  const resolved = pipeline.fromYaml(p.toYaml({ resolved: true }));
  assert.deepEqual(valueOf(resolved, "model_kwargs")[0], { "<<": { a: 1 }, b: [{ "<<": 2 }] });
});

Deno.test("use() adds a transform that is not registered, and refuses the key of one that is", () => {
  const definition = (key: string) =>
    defineTransform({
      key,
      stage: "visualize",
      summary: "Count nodes",
      config: z.object({ limit: z.int().default(3).describe("Nodes to count") }),
      plan: () => ({ matches: [] }),
      apply() {},
    });
  const p = pipeline().use(definition("count_nodes"), { limit: 5 }).set(
    "transforms.count-nodes.skip_on_error",
    true,
  );
  const step = p.resolve().transforms.find(({ key }) => key === "count_nodes");
  assert.deepEqual([step?.config.limit, step?.config.skip_on_error], [5, true]);
  assert.throws(() => p.toTypeScript(), ConfigError);
  assert.throws(() => pipeline().use(definition("fuse_moe")), /expected a new key/);
  assert.throws(
    () => p.set("transforms.count_nodes.limt", 4),
    /expected a known field, got "limt"/,
  );
});

Deno.test("pipeline.empty() has the transforms it is given and no others", () => {
  const p = pipeline.empty().fuseMoe().exportToGm();
  assert.deepEqual(p.resolve().transforms.map(({ key }) => key), ["export_to_gm", "fuse_moe"]);
  assert.equal(p.toYaml(), "yaml_default: null\ntransforms:\n  fuse_moe: {}\n  export_to_gm: {}\n");
  assert.ok(pipeline.fromYaml(p.toYaml()).equals(p));
  assert.ok(!p.equals(pipeline().fuseMoe().exportToGm()));
  assert.ok(pipeline().overlay(p).equals(pipeline().fuseMoe().exportToGm()));
});

Deno.test("console.log() of a pipeline shows what was set, and what lies under it", () => {
  assert.equal(Deno.inspect(pipeline()), "Pipeline over configs/default.yaml");
  assert.equal(Deno.inspect(pipeline.empty()), "Pipeline over nothing");
  assert.equal(
    Deno.inspect({ p: pipeline().fuseMoe({ backend: "triton" }).settings({ maxSeqLen: 64 }) }),
    `{
  p: Pipeline over configs/default.yaml, with
  max_seq_len: 64
  transforms:
    fuse_moe:
      backend: triton
}`,
  );
});
