import assert from "node:assert/strict";
import { openDevice, type WebGpuDevice } from "../../../../runtime/webgpu/device/device.ts";
import { Readback } from "../../../../runtime/webgpu/device/readback.ts";
import { UploadRing } from "../../../../runtime/webgpu/device/upload_ring.ts";
import { nativeTest, webgpuTest } from "../../../support/adapter.ts";

async function bytesOf(device: WebGpuDevice, source: GPUBuffer): Promise<Uint8Array> {
  const readback = await Readback.open(device);
  const staging = await readback.staging(source.size);
  const encoder = device.gpu.createCommandEncoder();
  encoder.copyBufferToBuffer(source, 0, staging, 0, source.size);
  device.gpu.queue.submit([encoder.finish()]);
  const result = new Uint8Array(await readback.read(staging, source.size));
  device.release(staging);
  return result;
}

webgpuTest(
  "UploadRing brings bytes in pieces of any size, several rounds of its buffers",
  async () => {
    const device = await openDevice();
    const [a, b] = [await device.allocate("a", 9000), await device.allocate("b", 64)];
    const before = device.allocatedBytes;
    const ring = await UploadRing.open(device, 100);
    const bytes = Uint8Array.from({ length: 9000 }, (_, i) => i * 7);
    // More than all buffers hold, then small pieces, the last of which is no whole word.
    await ring.write(a, 0, bytes.subarray(0, 8000));
    for (let at = 8000; at < 9000; at += 100) {
      await ring.write(a, at, bytes.subarray(at, at + 100));
    }
    await ring.write(b, 8, Uint8Array.of(1, 2, 3));
    await ring.finish();
    ring.dispose();
    assert.equal(device.allocatedBytes, before);
    assert.deepEqual((await bytesOf(device, a)).subarray(0, 9000), bytes);
    assert.equal((await bytesOf(device, b)).subarray(4, 16).join(""), "000012300000");
    device.check();
    device.close();
  },
);

// Dawn's library ends the process when a device is destroyed while memory is mapped.
nativeTest("UploadRing tells that the device was lost", async () => {
  const device = await openDevice();
  const ring = await UploadRing.open(device, 4096);
  const target = await device.allocate("target", 8192);
  await ring.write(target, 0, new Uint8Array(1500));
  device.gpu.destroy();
  await assert.rejects(async () => {
    await ring.write(target, 0, new Uint8Array(4096));
    await ring.finish();
  }, { code: "device/lost" });
  ring.dispose();
  device.close();
});
