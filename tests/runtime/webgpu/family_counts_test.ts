/**
 * What decoding costs in families that have more in a layer than attention and experts, counted from
 * their plans: no device is asked.
 */

import assert from "node:assert/strict";
import { invariant } from "../../../graph/mod.ts";
import { KERNELS } from "../../../kernels/mod.ts";
import { findArchitecture, type Model, normalizeConfig } from "../../../models/mod.ts";
import { cacheBytes } from "../../../runtime/scheduling/kv_cache.ts";
import { lifetimes } from "../../../runtime/webgpu/memory.ts";
import { planBuffers } from "../../../runtime/webgpu/plan/buffer_plan.ts";
import { compiledGraph } from "../../../runtime/webgpu/plan/language_model.ts";
import { lowerGraph } from "../../../runtime/webgpu/plan/lower.ts";
import { reportList } from "../../../runtime/webgpu/plan/plan_report.ts";
import { optimize } from "../../../transforms/mod.ts";
import { FabricatedCheckpoint } from "../../support/fabricated_checkpoint.ts";
import { GPU_PROFILE } from "../../support/gpu_profile.ts";
import { defaultSteps } from "../../support/language_model.ts";
import { MODEL_SIZES } from "../../support/model_sizes.ts";

/** The graph of a model with the default pipeline. */
async function graphOf(name: string) {
  const raw = normalizeConfig(MODEL_SIZES[name], "config.json");
  const architecture = findArchitecture(raw, "config.json");
  const { config, notes, build } = architecture.configure(raw, "config.json");
  const checkpoint = new FabricatedCheckpoint(architecture.name, "bf16", 1);
  const model = {
    ...{ path: "fabricated", name, architecture, config, checkpoint, notes, bytes: 0 },
    ...{ quantization: undefined, chatTemplate: undefined },
    build: (options) => build(checkpoint, undefined, options),
  } as Partial<Model> as Model;
  const { graph } = await optimize({
    steps: await defaultSteps(),
    context: {
      model,
      target: { executor: "webgpu", profile: GPU_PROFILE },
      settings: { maxSeqLen: 512, maxBatchSize: 4, maxNumTokens: 512 },
      log() {},
    },
  });
  return graph;
}

for (const name of Object.keys(MODEL_SIZES)) {
  Deno.test(`a token of ${name} waits for at most 8 dispatches a layer`, async () => {
    const compiled = compiledGraph(await graphOf(name));
    const { language } = compiled;
    invariant(language, "a language model");
    const lowered = lowerGraph(compiled, {
      ...{ kernels: KERNELS, profile: GPU_PROFILE, tokens: { min: 1, max: 1 } },
      sizes: { T: 1, R: 1, S: 4, P: 32 },
      sampling: { ...language, maxRows: 1 },
    });
    const { bufferOf } = planBuffers(lifetimes(lowered));
    const report = reportList(lowered, (key) => bufferOf.get(key) ?? key);
    const told = lowered.dispatches.map(({ dispatch, scope }) => `${scope} ${dispatch.kernel}`);
    assert.ok(report.perLayer.dependent <= 8, `${report.perLayer.dependent}: ${told.join("\n")}`);
    assert.ok(report.perLayer.dispatches <= 10, told.join("\n"));
    const layers = Number(MODEL_SIZES[name].num_hidden_layers);
    assert.ok(report.dependent <= 8 * layers + report.outside, told.join("\n"));
  });
}

for (const name of ["DeepSeek-V2-Lite", "GLM-4.7-Flash"]) {
  Deno.test(`the cache of ${name} has a latent and a key that turns a token, for all heads`, async () => {
    const { caches } = await graphOf(name);
    assert.equal(caches.length, MODEL_SIZES[name].num_hidden_layers);
    for (const cache of caches) {
      const bytes = cacheBytes(cache, 10, "keys") + cacheBytes(cache, 10, "values");
      assert.equal(bytes / (10 * cache.pageSize), 2 * (512 + 64));
    }
  });
}
