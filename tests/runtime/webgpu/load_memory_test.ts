import assert from "node:assert/strict";
import { join } from "node:path";
import { concat, Graph, GraphBuilder, slice, tensor } from "../../../graph/mod.ts";
import { Checkpoint } from "../../../models/mod.ts";
import { openWebGpuExecutor } from "../../../runtime/mod.ts";
import { webgpuTest } from "../../support/adapter.ts";

const SLOW = Deno.env.get("MIXLINE_SLOW") === "1";
const MIB = 2 ** 20;

/** 16 matrices of 128 MiB, as much as llvmpipe binds: 2 GiB. */
const TENSORS = 16;
const SHAPE = [8192, 8192];
const TENSOR_BYTES = 128 * MIB;

/** A safetensors file of random bf16 matrices. */
async function writeCheckpoint(folder: string): Promise<void> {
  const entries = Array.from({ length: TENSORS }, (_, i) => [`w${i}`, {
    dtype: "BF16",
    shape: SHAPE,
    data_offsets: [i * TENSOR_BYTES, (i + 1) * TENSOR_BYTES],
  }]);
  const header = new TextEncoder().encode(JSON.stringify(Object.fromEntries(entries)));
  using file = await Deno.open(join(folder, "model.safetensors"), { create: true, write: true });
  const length = new DataView(new ArrayBuffer(8));
  length.setBigUint64(0, BigInt(header.length), true);
  await writeAll(file, new Uint8Array(length.buffer));
  await writeAll(file, header);
  const block = new Uint8Array(MIB);
  const elements = new Uint16Array(block.buffer);
  for (let at = 0; at < TENSORS * TENSOR_BYTES; at += MIB) {
    for (let i = 0; i < MIB; i += 65536) crypto.getRandomValues(block.subarray(i, i + 65536));
    // Without the highest bit of the exponent every element is a number below 2.
    for (let i = 0; i < elements.length; i++) elements[i] &= 0xbfff;
    await writeAll(file, block);
  }
}

async function writeAll(file: Deno.FsFile, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
}

/** A chain of layers whose weights are whole tensors, and rows of two side by side as fused ones. */
function bigGraph(): Graph {
  const b = new GraphBuilder(new Graph("big"));
  const whole = (i: number) => tensor(`w${i}`, "bf16", SHAPE);
  let row = b.input("x", { dtype: "f32", shape: ["T", 8192] });
  for (let i = 0; i < TENSORS; i += 2) {
    const halves = concat([slice(whole(i), 0, 0, 4096), slice(whole(i + 1), 0, 4096, 8192)]);
    row = b.op("linear", { x: row, w: b.weight(`whole${i}`, whole(i)) });
    row = b.op("linear", { x: row, w: b.weight(`halves${i}`, halves) });
  }
  b.graph.setOutput("y", row);
  return b.graph;
}

/** Loads 2 GiB on so many threads, and gives the host memory that it took at most beside the device's. */
async function loadingPeak(folder: string, loaders: number): Promise<number> {
  const executor = await openWebGpuExecutor();
  await using checkpoint = await Checkpoint.open(folder);
  try {
    const idle = Deno.memoryUsage().rss;
    let most = idle;
    const program = await executor.compile(bigGraph(), {
      source: checkpoint,
      maxTokens: 1,
      maxSequences: 1,
      pages: 0,
      maxPagesPerSequence: 1,
      loaders,
      onProgress: ({ bytes }) => {
        // The buffers of llvmpipe, a CPU, are host memory as well: what is in them is not asked for.
        const device = executor.device.profile.software ? bytes : 0;
        most = Math.max(most, Deno.memoryUsage().rss - device);
      },
    });
    const { bytes } = program.report as { bytes: { weights: number } };
    assert.equal(bytes.weights, TENSORS * TENSOR_BYTES);
    return most - idle;
  } finally {
    executor.dispose();
  }
}

if (SLOW && Deno.build.os === "linux") {
  webgpuTest("compile() loads 2 GiB on ten threads in 200 MiB of host memory", async () => {
    const folder = await Deno.makeTempDir();
    try {
      await writeCheckpoint(folder);
      const peak = await loadingPeak(folder, 10);
      assert(peak < 200 * MIB, `${(peak / MIB).toFixed(0)} MiB above idle`);
      console.log(`${(peak / MIB).toFixed(0)} MiB above idle`);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });
} else {
  Deno.test({
    name:
      "compile() loads 2 GiB on ten threads in 200 MiB of host memory [left out: MIXLINE_SLOW=1 runs it]",
    ignore: true,
    fn() {},
  });
}
