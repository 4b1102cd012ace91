/**
 * The export to TensorRT-LLM: only names that AutoDeploy has, nothing lost in silence, manifests that
 * Kubernetes takes, scripts that a shell takes.
 *
 * @module
 */

import assert from "node:assert/strict";
import fc from "../../../deps/fast_check.ts";
import { parse } from "../../../deps/yaml.ts";
import {
  UPSTREAM_BASE_FIELDS,
  UPSTREAM_CACHE_FIELDS,
  UPSTREAM_SETTINGS,
  UPSTREAM_TRANSFORMS,
  upstreamTakes,
} from "../../../dsl/export/autodeploy_facts.ts";
import { exportTrtllm, type TrtllmOptions } from "../../../dsl/export/export_trtllm.ts";
import { inapplicableFieldsOf } from "../../../dsl/autodeploy.ts";
import { ConfigError, type Pipeline, pipeline, type ResolvedPipeline } from "../../../mod.ts";
import { notApplicable, notApplicableKeys, transformKeys } from "../../../transforms/mod.ts";
import { checkManifests, readManifests } from "../../support/kubernetes_manifests.ts";
import { anyPipeline } from "../../support/pipelines.ts";
import { slowTest } from "../../support/quick.ts";

/** A file of AutoDeploy, or one like it. */
interface AutoDeployFile {
  readonly transforms?: Readonly<Record<string, Readonly<Record<string, unknown>> | null>>;
  readonly kv_cache_config?: Readonly<Record<string, unknown>>;
  readonly [name: string]: unknown;
}

const GOLDEN = new URL("../../golden/autodeploy/", import.meta.url);

function exported(yaml: string, options: TrtllmOptions = {}) {
  const { files, leftBehind } = exportTrtllm(pipeline.fromYaml(yaml).resolve(), options);
  const config = parse(files["autodeploy.yaml"]) as AutoDeployFile;
  return { files, config, left: leftBehind.map(({ path }) => path) };
}

/** Names and values of a file that AutoDeploy does not have, by the table of facts. */
function unknownTo(file: AutoDeployFile): string[] {
  const top = Object.keys(file).filter((name) => !UPSTREAM_SETTINGS.includes(name));
  const cache = Object.keys(file.kv_cache_config ?? {})
    .filter((name) => !UPSTREAM_CACHE_FIELDS.includes(name));
  const fields = Object.entries(file.transforms ?? {}).flatMap(([key, own]) =>
    Object.hasOwn(UPSTREAM_TRANSFORMS, key)
      ? Object.entries(own ?? {}).filter(([field, value]) =>
        upstreamTakes(key, field, value) !== true
      ).map(([field]) => `${key}.${field}`)
      : [key]
  );
  return [...top, ...cache, ...fields];
}

Deno.test("the table of facts has all transforms and fields of AutoDeploy's own default.yaml", async () => {
  const text = await Deno.readTextFile(new URL("default.yaml", GOLDEN));
  const { transforms = {} } = parse(text) as AutoDeployFile;
  assert.deepEqual(unknownTo({ transforms }), []);
  const listed = Object.keys(UPSTREAM_TRANSFORMS)
    .filter((key) => UPSTREAM_TRANSFORMS[key].listed !== false);
  assert.deepEqual(listed, Object.keys(transforms), "in the same order");
  for (const [key, fields] of Object.entries(transforms)) {
    const { stage, enabled = true } = UPSTREAM_TRANSFORMS[key];
    assert.deepEqual([stage, enabled], [fields?.stage, fields?.enabled ?? true], key);
  }
});

Deno.test("what upstream has is a transform here, or one that is known to have no meaning", () => {
  for (const [key, { stage, fields = {} }] of Object.entries(UPSTREAM_TRANSFORMS)) {
    const known = transformKeys().includes(key);
    assert.ok(known || notApplicable(key) !== undefined, key);
    if (!known) {
      // Nothing here runs in a stage for exports.
      const here = stage === "export_onnx" ? "compile" : stage;
      assert.equal(notApplicable(key)?.stage, here, key);
      continue;
    }
    // Every field of upstream's is read, or known to do nothing.
    const yaml = (field: string) =>
      pipeline.fromYaml(`transforms: { ${key}: { ${field}: __none__ } }`);
    for (const field of Object.keys(fields)) {
      const idle = inapplicableFieldsOf(key).some(([name]) => name === field);
      if (idle) continue;
      // A wrong value of a known field is another error than an unknown field, or none at all.
      try {
        yaml(field);
      } catch (error) {
        assert.doesNotMatch(
          String(error),
          /unknown field|expected a known field/,
          `${key}.${field}`,
        );
      }
    }
  }
  for (const key of notApplicableKeys()) assert.ok(!transformKeys().includes(key));
  assert.equal(new Set(UPSTREAM_BASE_FIELDS).size, UPSTREAM_BASE_FIELDS.length);
});

Deno.test("values carry over under upstream's names, and what does not is told", () => {
  const { config, left } = exported(
    `
model: org/model
executor: webgpu
max_seq_len: 8192
max_batch_size: 32
kv_cache_dtype: fp8
attn_page_size: 64
prefix_reuse: false
plugins: []
transforms:
  fuse_moe: { backend: triton, overrides: [{ match: "*", backend: trtllm }] }
  fuse_gemms: { enabled: true }
  fuse_swiglu: { enabled: true }
  fuse_residual: { enabled: false }
  detect_sharding: { sharding_dims: [ep] }
`,
    { worldSize: 4 },
  );
  assert.deepEqual(config, {
    ...{ runtime: "trtllm", world_size: 4, max_seq_len: 8192, max_batch_size: 32 },
    kv_cache_config: { dtype: "fp8", tokens_per_block: 64, enable_block_reuse: false },
    transforms: {
      detect_sharding: { sharding_dims: ["ep"] },
      fuse_gemms: { enabled: true },
      fuse_swiglu: { enabled: true },
    },
  });
  assert.deepEqual(left.toSorted(), [
    "executor",
    "plugins",
    "transforms.fuse_moe.backend",
    "transforms.fuse_moe.overrides",
    "transforms.fuse_residual.enabled",
  ]);
});

for await (const { name } of Deno.readDir(GOLDEN)) {
  Deno.test(`${name} of AutoDeploy comes back from an export`, async () => {
    const text = await Deno.readTextFile(new URL(name, GOLDEN));
    const { config, left } = exported(`model: org/model\n${text}`);
    assert.deepEqual(unknownTo(config), []);
    const { transforms = {} } = parse(text) as AutoDeployFile;
    for (const [key, fields] of Object.entries(transforms)) {
      for (const [field, value] of Object.entries(fields ?? {})) {
        const path = `transforms.${key}.${field}`;
        if (left.includes(path)) continue;
        const place = { ...config.transforms?.[key] };
        const moved = ["free_mem_ratio", "cache_dtype"].includes(field);
        assert.ok(moved || Object.hasOwn(place, field), path);
        if (!moved) assert.deepEqual(place[field], value, path);
      }
    }
  });
}

/** What random values contradict, such as an order of transforms, is no case. */
function resolveOrSkip(random: Pipeline): ResolvedPipeline {
  try {
    return random.resolve();
  } catch (error) {
    fc.pre(!(error instanceof ConfigError));
    throw error;
  }
}

Deno.test("exports of random pipelines have names of upstream's alone", () => {
  fc.assert(
    fc.property(anyPipeline, (random) => {
      const resolved = resolveOrSkip(random.settings({ model: "org/model" }));
      const { files, leftBehind } = exportTrtllm(resolved, { worldSize: 2 });
      assert.deepEqual(unknownTo(parse(files["autodeploy.yaml"]) as AutoDeployFile), []);
      for (const { path, reason } of leftBehind) {
        assert.ok(files["README.md"].includes(path), path);
        assert.ok(files["README.md"].includes(reason), reason);
      }
    }),
    { numRuns: 60 },
  );
});

Deno.test("manifests have the objects of one node or of several, and scripts for a shell", async () => {
  const { one, several, objects } = exportOdd();
  assert.deepEqual(objects.map(({ kind }) => kind), [
    ...["ConfigMap", "Deployment", "Service"],
    ...["ConfigMap", "LeaderWorkerSet", "Service"],
  ]);
  for (const { metadata: { name } } of objects) assert.match(name, /^[a-z][a-z0-9-]{0,62}$/);
  const { data = {} } = objects[3];
  const scripts = [one.files["serve.sh"], data["leader.sh"], data["worker.sh"]];
  for (const script of scripts) {
    const child = new Deno.Command("bash", { args: ["-n"], stdin: "piped", stderr: "piped" })
      .spawn();
    const writer = child.stdin.getWriter();
    await writer.write(new TextEncoder().encode(script));
    await writer.close();
    const { success, stderr } = await child.output();
    assert.ok(success, new TextDecoder().decode(stderr));
  }
  assert.ok(!("serve.sh" in several.files), "one machine is not enough");
});

/** Exports for one node and for several of a model with a name that has to be quoted. */
function exportOdd() {
  const yaml = "model: \"some/odd 'name' $(x)\"\n";
  const one = exported(yaml, { worldSize: 4 });
  const several = exported(yaml, { worldSize: 16, gpusPerNode: 8 });
  const objects = [one, several].flatMap(({ files }) => readManifests(files["kubernetes.yaml"]));
  return { one, several, objects };
}

// One check for all: most of it is the types of Kubernetes.
slowTest(
  "manifests of exports and of deploy/ are valid, and a misspelt field is found",
  async () => {
    const { objects } = exportOdd();
    const [, deployment] = readManifests(exported("model: org/model").files["kubernetes.yaml"]);
    const ours = new URL("../../../deploy/kubernetes/mixline.yaml", import.meta.url);
    const valid = [...objects, deployment, ...readManifests(await Deno.readTextFile(ours))];
    const misspelt = JSON.parse(JSON.stringify(deployment).replace('"replicas":1', '"replica":1'));
    assert.equal(await checkManifests(valid, [misspelt]), "");
  },
);

Deno.test("what cannot be exported is refused", () => {
  const cases: readonly (readonly [string, TrtllmOptions, RegExp])[] = [
    ["max_batch_size: 2", {}, /expected a model, got none/],
    ["model: a/b.gguf", {}, /expected a model folder or a name on the hub, got "a\/b\.gguf"/],
    ["model: a/b", { worldSize: 12 }, /expected GPUs that fill their nodes of 8, got 12/],
  ];
  for (const [yaml, options, message] of cases) {
    assert.throws(() => exported(yaml, options), message);
  }
});
