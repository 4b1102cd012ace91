import assert from "node:assert/strict";
import { notApplicable, parseConfig, transformKeys, TRANSFORMS } from "../../transforms/mod.ts";
import { defaultSteps } from "../support/language_model.ts";

Deno.test("configs/default.yaml lists every transform, in the registry's order", async () => {
  const keys = (await defaultSteps()).map(({ key }) => key);
  assert.deepEqual(keys, transformKeys());
});

Deno.test("configs/default.yaml says what the definitions say", async () => {
  for (const { key, config } of await defaultSteps()) {
    const definition = Object.values(TRANSFORMS).find((each) => each.key === key);
    assert.ok(definition);
    assert.equal(config.stage, definition.stage, `${key}.stage`);
    assert.deepEqual(parseConfig(definition, config), parseConfig(definition, {}), key);
  }
});

/** Keys of AutoDeploy's default.yaml that a user's file may have. */
const AUTODEPLOY = [
  "match_sdpa_to_torch_attention",
  "quantize_fp8_moe",
  "quantize_nvfp4_linear_from_config",
  "fuse_fp8_moe",
  "fuse_allreduce_residual_rmsnorm",
  "insert_cached_ssm_attention",
  "insert_cached_mla_attention",
  "multi_stream_moe",
  "quantize_mxfp4_moe_trtllm_gen",
  "fuse_gemms_mixed_children",
  "fuse_rope_into_trtllm_attention",
];

Deno.test("every key of AutoDeploy's pipeline is a transform or has a reason why not", () => {
  const keys: readonly string[] = transformKeys();
  for (const key of AUTODEPLOY) {
    assert.ok(keys.includes(key) || notApplicable(key), `${key} is unknown`);
  }
});
