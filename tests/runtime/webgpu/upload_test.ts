import assert from "node:assert/strict";
import { Upload, type UploadTarget } from "../../../runtime/webgpu/upload.ts";

const BUFFER = {} as GPUBuffer;

/** A queue that keeps copies until it is waited for. */
function fakeTarget() {
  const state = { copied: 0, most: 0, written: 0 };
  const target: UploadTarget = {
    gpu: {
      queue: {
        writeBuffer(_buffer, _offset, _data, _from, size) {
          state.copied += size ?? 4;
          state.written += size ?? 4;
          state.most = Math.max(state.most, state.copied);
        },
        submit() {},
        onSubmittedWorkDone() {
          state.copied = 0;
          return Promise.resolve(undefined);
        },
      },
    },
    check() {},
  };
  return { target, state };
}

Deno.test("Upload keeps the copies of a queue within its bytes", async () => {
  const { target, state } = fakeTarget();
  const upload = new Upload(target, 1000);
  const sizes = [300, 300, 300, 300, 499, 2, 400, 99, 501, 300, 7, 300];
  for (const size of sizes) await upload.write(BUFFER, 0, new Uint8Array(size));
  await upload.finish();
  const total = sizes.reduce((sum, size) => sum + Math.ceil(size / 4) * 4, 0);
  assert.equal(state.written, total);
  assert.equal(state.copied, 0, "all copies are waited for");
  assert(state.most > 500 && state.most <= 1000, `${state.most} bytes at a time`);
});
