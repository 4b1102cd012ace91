/**
 * What decoding and prefill cost, counted from the plans of real architectures: no device is asked.
 *
 * @module
 */

import assert from "node:assert/strict";
import { invariant } from "../../../../graph/mod.ts";
import { type DeviceProfile, KERNELS } from "../../../../kernels/mod.ts";
import { loadModel, type Model } from "../../../../models/mod.ts";
import { tokenRanges } from "../../../../runtime/webgpu/plan/buckets.ts";
import { planBuffers } from "../../../../runtime/webgpu/plan/buffer_plan.ts";
import { compiledGraph } from "../../../../runtime/webgpu/plan/language_model.ts";
import { lowerGraph } from "../../../../runtime/webgpu/plan/lower.ts";
import { lifetimes } from "../../../../runtime/webgpu/memory.ts";
import { type ListReport, reportList } from "../../../../runtime/webgpu/plan/plan_report.ts";
import { optimize } from "../../../../transforms/mod.ts";
import { openBareModel } from "../../../support/bare_model.ts";
import { defaultSteps } from "../../../support/language_model.ts";
import { STORYTELLER } from "../../../support/model_folder.ts";

const LARGE: DeviceProfile = {
  vendor: "nvidia",
  architecture: "hopper",
  description: "NVIDIA H100 80GB HBM3",
  key: "NVIDIA_H100_80GB_HBM3",
  software: false,
  subgroups: true,
  subgroupSize: 32,
  shaderF16: true,
  timestamps: true,
  maxWorkgroupStorageBytes: 49152,
  maxInvocations: 1024,
  maxWorkgroupsPerDimension: 65535,
  maxBindingBytes: 2147483644,
  maxBufferBytes: 4292870144,
  maxStorageBuffers: 32,
};

/** Memory and workgroups that WebGPU promises on every device, and no subgroups. */
const SMALL: DeviceProfile = {
  ...LARGE,
  vendor: "any",
  description: "a small device without subgroups",
  key: "small",
  subgroups: false,
  subgroupSize: 1,
  maxWorkgroupStorageBytes: 16384,
  maxInvocations: 256,
  maxBindingBytes: 134217728,
  maxBufferBytes: 268435456,
  maxStorageBuffers: 16,
};

const MAX_TOKENS = 512;
const MODELS = ["mixtral", "qwen3_moe", "olmoe", "gpt_oss", "storyteller"];

function openModel(name: string): Promise<Model> {
  if (name === "storyteller") return loadModel(STORYTELLER);
  return openBareModel(new URL(`../../../golden/${name}`, import.meta.url).pathname);
}

/** Reports of the lists of a model with the default pipeline. */
async function reports(model: Model, profile: DeviceProfile): Promise<ListReport[]> {
  const { graph } = await optimize({
    steps: await defaultSteps(),
    context: {
      model,
      target: { executor: "webgpu", profile },
      settings: { maxSeqLen: 512, maxBatchSize: 4, maxNumTokens: MAX_TOKENS },
      log() {},
    },
  });
  const compiled = compiledGraph(graph);
  const { language } = compiled;
  invariant(language, "a language model");
  return tokenRanges(MAX_TOKENS).map((tokens) => {
    const maxRows = Math.min(tokens.max, 4);
    const lowered = lowerGraph(compiled, {
      ...{ kernels: KERNELS, profile, tokens },
      sizes: { T: tokens.max, R: maxRows, S: 4, P: 32 },
      sampling: { ...language, maxRows },
    });
    const { bufferOf } = planBuffers(lifetimes(lowered));
    return reportList(lowered, (key) => bufferOf.get(key) ?? key);
  });
}

/** A field of a model's config that is a number, by the first of its names that it has. */
function numberOf(model: Model, ...names: readonly string[]): number {
  const found = names.map((name) => Reflect.get(model.config, name))
    .find((value) => typeof value === "number");
  invariant(typeof found === "number", `the config has one of ${names.join(", ")}`);
  return found;
}

/** Bytes of bf16 weights that one token needs: of the experts, those it was sent to. */
function activeBytes(model: Model): number {
  const hidden = numberOf(model, "hidden_size");
  const heads = numberOf(model, "num_attention_heads");
  const kvHeads = numberOf(model, "num_key_value_heads");
  const headDim = Number(Reflect.get(model.config, "head_dim") ?? hidden / heads);
  const intermediate = numberOf(model, "moe_intermediate_size", "intermediate_size");
  const experts = numberOf(model, "num_local_experts", "num_experts");
  const attention = (2 * heads + 2 * kvHeads) * headDim * hidden;
  const moe = experts * hidden + numberOf(model, "num_experts_per_tok") * 3 * hidden * intermediate;
  const head = numberOf(model, "vocab_size") * hidden;
  return 2 * (numberOf(model, "num_hidden_layers") * (attention + moe) + head);
}

for (const name of MODELS) {
  Deno.test(`the plan of ${name} keeps to 6 dispatches a layer, 3 a token, 5 a MoE part`, async (t) => {
    const model = await openModel(name);
    const layers = numberOf(model, "num_hidden_layers");
    try {
      for (const profile of [LARGE, SMALL]) {
        await t.step(profile.description, async () => {
          const [decode, ...longer] = await reports(model, profile);
          const told = JSON.stringify(decode);
          assert.equal(decode.tokens.max, 1);
          assert.ok(decode.perLayer.dependent <= 6, told);
          assert.ok(decode.outside <= 3, told);
          assert.ok(decode.dependent <= 6 * layers + 3, told);
          assert.ok(longer.length >= 3, "prefill has lists of several sizes");
          for (const list of longer) {
            assert.ok(list.perMoe.dispatches <= 5, JSON.stringify(list));
            assert.ok(list.perMoe.dispatches > 0, JSON.stringify(list));
            assert.ok(list.outside <= 4, JSON.stringify(list));
          }
          assert.equal(decode.weightBytes, activeBytes(model), "every active byte is read once");
        });
      }
    } finally {
      await model.checkpoint.close();
    }
  });
}
