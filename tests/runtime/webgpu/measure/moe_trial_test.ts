import assert from "node:assert/strict";
import type { WeightFormat } from "../../../../graph/mod.ts";
import { type DeviceMoeSpec, type DeviceProfile, moeBackend } from "../../../../kernels/mod.ts";
import { MoeTrial, openDevice } from "../../../../runtime/mod.ts";
import { webgpuTest } from "../../../support/adapter.ts";

const FORMATS: readonly WeightFormat[] = [
  "f32",
  "bf16",
  "f16",
  "fp8_e4m3",
  "mxfp4",
  "nvfp4",
  "int8",
];

function specFor(format: WeightFormat, tokens: number, profile: DeviceProfile): DeviceMoeSpec {
  return {
    scope: "trial",
    tokens: { min: tokens, max: tokens },
    hidden: 64,
    intermediate: 96,
    experts: 8,
    topK: 2,
    mlp: "gated",
    activation: "silu",
    alpha: 1.702,
    limit: 7,
    applyRoutingOnInput: false,
    format,
    activationQuant: "none",
    operands: "f32",
    biasUp: true,
    biasDown: true,
    residual: true,
    profile,
  };
}

webgpuTest("MoeTrial computes the layer that its CPU reference describes", async (t) => {
  const device = await openDevice();
  try {
    for (const [i, format] of FORMATS.entries()) {
      for (const [j, tokens] of [1, 40].entries()) {
        // Both backends for every format, and for either number of tokens.
        const backend = ["triton", "trtllm"][(i + j) % 2];
        await t.step(`${format}, ${tokens} tokens, ${backend}`, async () => {
          const spec = specFor(format, tokens, device.profile);
          const trial = await MoeTrial.create(device, spec, tokens, { cacheBytes: 0 });
          const expected = trial.reference();
          const layer = await trial.prepare(
            moeBackend(backend).compile(spec, trial.values, () => {}),
          );
          const got = await trial.output(layer);
          const scale = Math.max(...expected.map(Math.abs));
          for (let i = 0; i < expected.length; i++) {
            assert.ok(Math.abs(got[i] - expected[i]) <= 1e-5 * scale, `element ${i}`);
          }
          assert.ok(await trial.seconds(layer, 1) > 0);
          trial.dispose();
        });
      }
    }
  } finally {
    device.close();
  }
});

webgpuTest("MoeTrial gives kernels copies of weights in the order that they expect", async () => {
  const device = await openDevice();
  try {
    const profile = { ...device.profile, software: false, subgroupSize: 2 };
    const asGpu = specFor("mxfp4", 1, profile);
    const spec: DeviceMoeSpec = { ...asGpu, hidden: 160, intermediate: 192 };
    const trial = await MoeTrial.create(device, spec, 1, { cacheBytes: 0 });
    const expected = trial.reference();
    const scale = Math.max(...expected.map(Math.abs));
    // Rows are too short for subgroups of a GPU's size, so the second layer has plain words everywhere.
    for (const seen of [profile, device.profile, profile]) {
      const dispatches = moeBackend("trtllm")
        .compile({ ...spec, profile: seen }, trial.values, () => {});
      const ordered = dispatches.flatMap(({ bindings }) => bindings.filter(({ order }) => order));
      assert.equal(ordered.length, seen === profile ? 4 : 0);
      const got = await trial.output(await trial.prepare(dispatches));
      for (let i = 0; i < expected.length; i++) {
        assert.ok(Math.abs(got[i] - expected[i]) <= 1e-5 * scale, `element ${i}`);
      }
    }
    trial.dispose();
  } finally {
    device.close();
  }
});
