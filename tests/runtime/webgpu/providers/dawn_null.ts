/**
 * Dawn on its null backend, which needs no GPU: it checks everything and computes nothing. Run by
 * `dawn_test.ts` in a process of its own, whose lock has Dawn's package.
 *
 * @module
 */

import assert from "node:assert/strict";
import { DeviceError, type MixlineError } from "../../../../graph/mod.ts";
import { openExecutor } from "../../../../runtime/executors.ts";
import { openWebGpuExecutor } from "../../../../runtime/mod.ts";
import { openDevice, type WebGpuDevice } from "../../../../runtime/webgpu/device/device.ts";
import { PipelineCache } from "../../../../runtime/webgpu/device/pipelines.ts";
import { Readback } from "../../../../runtime/webgpu/device/readback.ts";
import { dawnProvider } from "../../../../runtime/webgpu/providers/dawn.ts";
import { GPU_PROFILE } from "../../../support/gpu_profile.ts";
import { RECORDED } from "../../../support/recorded_shaders.ts";

const webgpu = dawnProvider("null");

async function withDevice(body: (device: WebGpuDevice) => Promise<void>): Promise<void> {
  const device = await openDevice({ provider: webgpu });
  try {
    await body(device);
  } finally {
    device.close();
    await device.gpu.lost;
  }
}

// First, as what was made once is there for all later ones.
Deno.test("Dawn: those who open it at once share what was made, which nothing else keeps alive", async () => {
  const all = await Promise.all(Array.from({ length: 3 }, () => webgpu.open()));
  assert.equal(new Set(all).size, 1);
});

Deno.test("Dawn: a device has subgroups, f16 and timestamps, and is named by its adapter", async () => {
  await withDevice((device) => {
    const { subgroups, shaderF16, timestamps, description, matrices } = device.profile;
    assert.deepEqual(
      { subgroups, shaderF16, timestamps, description },
      { subgroups: true, shaderF16: true, timestamps: true, description: "null-backend" },
    );
    assert.equal(matrices, undefined, "the null backend lists no sizes of matrices");
    assert.equal(device.provider.name, "dawn");
    return Promise.resolve();
  });
});

Deno.test("Dawn: features that are not wanted are left out", async () => {
  const device = await openDevice({ provider: webgpu, without: ["subgroups", "shader-f16"] });
  assert.equal(device.profile.subgroups, false);
  assert.equal(device.profile.shaderF16, false);
  device.close();
  await device.gpu.lost;
});

Deno.test("Dawn: every shader on record becomes a pipeline", async () => {
  await withDevice(async (device) => {
    const pipelines = new PipelineCache(device);
    // The null backend allows less than any GPU that Dawn runs on.
    const { maxStorageBuffers, maxInvocations, maxWorkgroupStorageBytes } = device.profile;
    const profile = {
      ...GPU_PROFILE,
      ...{ maxStorageBuffers, maxInvocations, maxWorkgroupStorageBytes },
    };
    const dispatches = [...RECORDED.values()].flatMap((lower) => lower({ profile }))
      .filter(({ bindings }) => bindings.length <= maxStorageBuffers);
    await Promise.all(dispatches.map((dispatch) => pipelines.get(dispatch)));
    assert.ok(device.created.pipelines > 30, `${device.created.pipelines} pipelines`);
    device.check();
  });
});

Deno.test("Dawn: a shader that does not compile is an error with its line", async () => {
  await withDevice(async (device) => {
    const wgsl =
      "@compute @workgroup_size(1)\nfn main(@builtin(subgroup_size) n: u32) {\n  let x = missing(n);\n}\n";
    const dispatch = { kernel: "bad", wgsl, bindings: [], workgroups: () => [1, 1, 1] as const };
    await assert.rejects(new PipelineCache(device).get(dispatch), (error: MixlineError) => {
      assert.equal(error.code, "kernel/compile");
      assert.match(error.message, /Cannot compile kernel "bad": unresolved .*missing/);
      assert.match(error.message, /at line \d+: let x = missing\(n\);/);
      return true;
    });
  });
});

Deno.test("Dawn: results are awaited, and hundreds of reads keep its instance alive", async () => {
  await withDevice(async (device) => {
    const readback = await Readback.open(device);
    assert.equal(readback.mode, "awaited");
    assert.equal(readback.notice, undefined);
    const staging = await readback.staging(64);
    const source = await device.allocate("source", 64);
    for (let i = 0; i < 300; i++) {
      const encoder = device.gpu.createCommandEncoder();
      encoder.copyBufferToBuffer(source, 0, staging, 0, 64);
      device.gpu.queue.submit([encoder.finish()]);
      assert.equal((await readback.read(staging, 64)).byteLength, 64);
    }
    device.release(staging);
    device.release(source);
    assert.equal(device.allocatedBytes, 0);
  });
});

Deno.test("Dawn: errors of the device are those of any other", async () => {
  await withDevice(async (device) => {
    device.gpu.createBuffer({
      size: 64,
      usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.MAP_WRITE,
    });
    const error = await device.explain(new TypeError("later"));
    assert.ok(error instanceof DeviceError, String(error));
    assert.equal(error.code, "device/error");
    assert.throws(() => device.check(), { code: "device/error" });
  });
  await withDevice(async (device) => {
    const bytes = device.profile.maxBufferBytes + 16;
    await assert.rejects(device.allocate("a cache", bytes), { code: "device/buffer-too-large" });
  });
  const device = await openDevice({ provider: webgpu });
  device.gpu.destroy();
  await device.gpu.lost;
  assert.throws(() => device.check(), { code: "device/lost" });
  device.close();
});

Deno.test("Dawn: an executor says whose WebGPU it is, and with what", async () => {
  const executor = await openWebGpuExecutor({ provider: webgpu, selfTest: false });
  assert.match(
    executor.description,
    /^null-backend, by Dawn \(npm:webgpu@\d+\.\d+\.\d+\) with subgroups of \d+, f16, timestamps$/,
  );
  executor.dispose();
  await executor.device.gpu.lost;
});

Deno.test("Dawn: a device that computes nothing does not pass the self-test", async () => {
  await assert.rejects(openExecutor("webgpu", { provider: webgpu }), {
    code: "device/wrong-results",
  });
});
