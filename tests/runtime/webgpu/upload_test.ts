import assert from "node:assert/strict";
import { Upload, type UploadTarget } from "../../../runtime/webgpu/upload.ts";

const BUFFER = {} as GPUBuffer;

/** A queue that keeps copies until it is waited for, or, if awaited, until some time later. */
function fakeTarget(readMode: "synchronous" | "awaited") {
  const state = { copied: 0, unwaited: 0, most: 0, written: 0 };
  const target: UploadTarget = {
    gpu: {
      queue: {
        writeBuffer(_buffer, _offset, _data, _from, size) {
          state.copied += size ?? 4;
          state.unwaited += size ?? 4;
          state.written += size ?? 4;
          state.most = Math.max(state.most, state.copied);
        },
        submit() {},
        async onSubmittedWorkDone() {
          const done = state.unwaited;
          state.unwaited = 0;
          if (readMode === "awaited") await new Promise((resolve) => setTimeout(resolve, 2));
          state.copied -= done;
          return undefined;
        },
      },
    },
    provider: { readMode },
    check() {},
  };
  return { target, state };
}

for (const readMode of ["synchronous", "awaited"] as const) {
  Deno.test(`Upload keeps the copies of a queue within its bytes: ${readMode}`, async () => {
    const { target, state } = fakeTarget(readMode);
    const upload = new Upload(target, 1000);
    const sizes = [300, 300, 300, 300, 499, 2, 400, 99, 501, 300, 7, 300];
    for (const size of sizes) await upload.write(BUFFER, 0, new Uint8Array(size));
    await upload.finish();
    const total = sizes.reduce((sum, size) => sum + Math.ceil(size / 4) * 4, 0);
    assert.equal(state.written, total);
    assert.equal(state.copied, 0, "all copies are waited for");
    assert(state.most > 500 && state.most <= 1000, `${state.most} bytes at a time`);
  });
}
