import assert from "node:assert/strict";
import { openDevice, type WebGpuDevice } from "../../../../runtime/webgpu/device/device.ts";
import { Readback } from "../../../../runtime/webgpu/device/readback.ts";
import { nativeTest, withExecutor } from "../../../support/adapter.ts";
import { SMALL, smallGraph, TEST_KERNELS } from "../../../support/test_kernels.ts";

/** Runs `body` while the range of a mapped buffer cannot be had, for the first `times` calls. */
async function withoutRanges<Result>(times: number, body: () => Promise<Result>): Promise<Result> {
  const original = GPUBuffer.prototype.getMappedRange;
  let left = times;
  GPUBuffer.prototype.getMappedRange = function (...range) {
    if (left-- > 0) throw new DOMException("Buffer is not mapped", "OperationError");
    return original.apply(this, range);
  };
  try {
    return await body();
  } finally {
    GPUBuffer.prototype.getMappedRange = original;
  }
}

/** Writes a number on the device and reads it back. */
async function roundTrip(device: WebGpuDevice, readback: Readback, number: number) {
  const source = await device.allocate("source", 16);
  const staging = await readback.staging(16);
  device.gpu.queue.writeBuffer(source, 0, Uint32Array.of(number));
  const encoder = device.gpu.createCommandEncoder();
  encoder.copyBufferToBuffer(source, 0, staging, 0, 16);
  device.gpu.queue.submit([encoder.finish()]);
  return new Uint32Array(await readback.read(staging, 4))[0];
}

nativeTest("Readback.open() reads synchronously where the self-test does", async () => {
  const device = await openDevice();
  const readback = await Readback.open(device);
  assert.equal(readback.mode, "synchronous");
  for (const number of [7, 8, 9]) assert.equal(await roundTrip(device, readback, number), number);
  device.close();
});

nativeTest(
  "Readback.open() awaits where the range is not there at once, and says why",
  async () => {
    const device = await openDevice();
    const readback = await withoutRanges(1, () => Readback.open(device));
    assert.equal(readback.mode, "awaited");
    assert.equal(readback.reason, "the self-test failed: Buffer is not mapped");
    assert.equal(await roundTrip(device, readback, 7), 7);
    device.close();
  },
);

nativeTest("read() goes over to awaiting when a range is missing later", async () => {
  const device = await openDevice();
  const readback = await Readback.open(device);
  assert.equal(readback.notice, undefined);
  assert.equal(await withoutRanges(1, () => roundTrip(device, readback, 7)), 7);
  assert.equal(readback.mode, "awaited");
  assert.equal(readback.reason, "a result was not there at once: Buffer is not mapped");
  assert.match(String(readback.notice), /^results are awaited, .*: a result was not there at once/);
  assert.equal(await roundTrip(device, readback, 8), 8);
  device.close();
});

nativeTest(
  "a program that goes over to awaiting says so in its report and in a notice",
  async () => {
    await withExecutor({ kernels: TEST_KERNELS }, async (executor) => {
      const program = await executor.compile(smallGraph(), SMALL);
      const before = program.notices ?? [];
      const x = new Float32Array(6).fill(1);
      const { y } = await withoutRanges(1, () => program.run({ x }, { T: 1 }));
      assert.deepEqual([...y], [2, 4, 6, 8, 10, 12]);
      assert.deepEqual(program.report.readback, {
        mode: "awaited",
        reason: "a result was not there at once: Buffer is not mapped",
      });
      assert.match(
        String(program.notices?.filter((each) => !before.includes(each))),
        /^results are awaited, some 11 ms a read: a result was/,
      );
    });
  },
);
