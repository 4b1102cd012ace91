/** What reports say of quantized weights: bytes, and how far the logits moved. */

import assert from "node:assert/strict";
import type { PackedFormat } from "../../graph/mod.ts";
import { lowerConfig } from "../../kernels/moe/select.ts";
import type { DeviceProfile, StepSizes } from "../../kernels/kernel.ts";
import { moeSpecOf, moeValuesOf } from "../../kernels/moe/spec.ts";
import { runCli } from "../support/cli.ts";
import { CONFIGS } from "../support/moe_configs.ts";
import { moeLayer } from "../support/moe_layer.ts";
import { buildNode, type OpCase } from "../support/op_case.ts";
import { packedLayer } from "../support/packed_layer.ts";
import { slowTest } from "../support/quick.ts";

slowTest(
  "--verify tells bytes before and after quantize_moe and how far the logits moved",
  async () => {
    const { code, stderr } = await runCli([
      ...["deploy", "--executor", "cpu", "--verify", "--max-new-tokens", "1"],
      ...["--set", "transforms.quantize_moe.enabled=true"],
      ...["--set", "transforms.quantize_moe.format=int4"],
    ]);
    assert.equal(code, 0, stderr);
    assert.match(
      stderr,
      /quantize_moe .* 14\.9 MB -> 6\.8 MB\n +logits within \d\.\de-\d of those after match_\w+, mean divergence \d\.\de-\d nats, /,
    );
  },
);

const PROFILE: DeviceProfile = {
  vendor: "tests",
  architecture: "tests",
  description: "a device of the tests",
  key: "a_device_of_the_tests",
  software: false,
  subgroups: false,
  subgroupSize: 1,
  shaderF16: false,
  timestamps: false,
  maxWorkgroupStorageBytes: 16384,
  maxInvocations: 256,
  maxWorkgroupsPerDimension: 65535,
  maxBindingBytes: 2 ** 27,
  maxBufferBytes: 2 ** 28,
  maxStorageBuffers: 10,
};

/** Bytes of expert weights that one token reads. */
function bytesOfToken(layer: OpCase<"fused_moe">): number {
  const { node } = buildNode(layer);
  const sizes: StepSizes = { T: 1, R: 1, S: 1, P: 1 };
  const spec = { ...moeSpecOf(node), profile: PROFILE };
  return lowerConfig(spec, moeValuesOf(node), CONFIGS.slots)
    .reduce((sum, { weightBytes }) => sum + (weightBytes?.(sizes) ?? 0), 0);
}

slowTest("decode with packed experts reads what the format promises, scales included", () => {
  const sizes = { tokens: 1, hidden: 128, intermediate: 256, experts: 8, topK: 2 };
  const elements = sizes.topK * 3 * sizes.hidden * sizes.intermediate;
  const plain = bytesOfToken(moeLayer({ ...sizes, dtype: "bf16" }));
  assert.equal(plain, 2 * elements);
  const table: readonly [PackedFormat, number][] = [
    ["fp8_e4m3", 1 + 4 / (128 * 256)],
    ["fp8_block", 1 + 4 / (128 * 128)],
    ["int8", 1 + 4 / 32],
    ["int4", 0.5 + 4 / 32],
    ["mxfp4", 0.5 + 1 / 32],
    ["nvfp4", 0.5 + 1 / 16 + 4 / (128 * 256)],
  ];
  for (const [format, bytes] of table) {
    assert.equal(bytesOfToken(packedLayer({ ...sizes, format })), elements * bytes, format);
  }
  const fp8 = bytesOfToken(packedLayer({ ...sizes, format: "fp8_e4m3" }));
  assert.ok(Math.abs(fp8 / plain - 0.5) < 1e-3, "FP8 moves half the bytes of bf16");
});
