/** GGUF models on WebGPU: both backends give the logits of the CPU's reference. */

import assert from "node:assert/strict";
import { pipeline } from "../../../mod.ts";
import { webgpuTest } from "../../support/adapter.ts";
import { relativeError, TOLERANCES } from "../../support/tolerances.ts";

const IDS = [3, 150, 41, 9, 77, 120, 8];
/** Between them: int4, int4_affine, int8 and int8_affine, in groups of 16 and of 32. */
const MODELS = ["qwen3_moe_q4_k_m", "mixtral_legacy"];

async function logitsOf(model: string, executor: "cpu" | "webgpu", backend?: string) {
  const path = new URL(`../../golden/gguf/${model}.gguf`, import.meta.url).pathname;
  let configured = pipeline().set("executor", executor).set("kv_cache_dtype", "f32");
  if (backend) configured = configured.set("transforms.fuse_moe.backend", backend);
  await using engine = await configured.deploy({ model: path });
  return await engine.logits(IDS);
}

for (const model of MODELS) {
  webgpuTest(`${model}.gguf gives the CPU's logits with triton and trtllm`, async () => {
    const expected = await logitsOf(model, "cpu");
    for (const backend of ["triton", "trtllm"]) {
      const error = relativeError(await logitsOf(model, "webgpu", backend), expected);
      assert.ok(error < TOLERANCES.logitsF32, `${backend}: ${error}`);
    }
  });
}
