import assert from "node:assert/strict";
import { Graph, GraphBuilder, KernelError, type Node, tensor } from "../../../../graph/mod.ts";
import {
  openDevice,
  tunableOf,
  tuneOp,
  type TuneOpOptions,
  type WebGpuDevice,
} from "../../../../runtime/mod.ts";
import { webgpuTest } from "../../../support/adapter.ts";
import { attentionNode } from "../../../support/attention_node.ts";

/** A small dense layer with a norm, packed or not. */
function linearNode(format?: "int8"): Node {
  const b = new GraphBuilder(new Graph("test"));
  const inputs = {
    x: b.input("x", { dtype: "f32", shape: ["T", 64] }),
    w: b.weight("w", tensor("w", format ? "i8" : "bf16", [48, 64])),
    ...(format && { w_scale: b.weight("w_scale", tensor("w_scale", "f32", [48, 2])) }),
    norm_weight: b.weight("n", tensor("n", "bf16", [64])),
  };
  return b.node("fused_linear", inputs, {
    normEps: 1e-5,
    ...(format && { format, block: [1, 32] as const }),
  });
}

const ATTENTION = attentionNode({ heads: 2, kvHeads: 1, headDim: 64 });

/** How many candidates a search would try; it ends with the first. */
async function candidatesOf(
  device: WebGpuDevice,
  node: Node,
  options: TuneOpOptions,
): Promise<number> {
  let count = 0;
  const controller = new AbortController();
  const search = tuneOp(device, node, 1, {
    ...options,
    signal: controller.signal,
    onProgress(_, total) {
      count = total;
      controller.abort(new Error("enough"));
    },
  });
  await assert.rejects(search, /enough/);
  return count;
}

async function withDevice(body: (device: WebGpuDevice) => Promise<void>): Promise<void> {
  const device = await openDevice();
  try {
    await body(device);
  } finally {
    device.close();
  }
}

webgpuTest(
  "tuneOp() finds sizes of dense layers that compute the same, plain and packed",
  () =>
    withDevice(async (device) => {
      for (const [node, tokens] of [[linearNode(), 1], [linearNode("int8"), 3]] as const) {
        const seen: number[] = [];
        const row = await tuneOp(device, node, tokens, {
          candidates: 3,
          onProgress: (done) => seen.push(done),
        });
        assert.deepEqual(row.failures, []);
        assert.equal(row.measured, 4);
        assert.ok(row.best.seconds > 0 && row.best.seconds <= row.heuristicSeconds);
        assert.ok("THREADS" in row.best.row);
        assert.deepEqual(seen, [1, 2, 3]);
        assert.equal(device.allocatedBytes, 0, "everything was given back");
      }
      assert.equal(await candidatesOf(device, linearNode(), {}), 48, "unless told otherwise");
      assert.ok(await candidatesOf(device, linearNode(), { candidates: 1000 }) > 48);
      await assert.rejects(tuneOp(device, linearNode(), 17), (error) => {
        assert.ok(error instanceof KernelError);
        assert.match(error.message, /for 17 tokens: .*many rows go through tiles/);
        return true;
      });
    }),
);

webgpuTest(
  "tuneOp() finds sizes of attention, at short and long contexts",
  () =>
    withDevice(async (device) => {
      if (device.profile.software) {
        assert.match(String(tunableOf(ATTENTION, device, 1)), /one size here/);
      }
      // As for a GPU, whose way of attending this adapter can take as well.
      const profile = { ...device.profile, software: false };
      const before = device.created.pipelines;
      const row = await tuneOp(device, ATTENTION, 2, { candidates: 1, profile });
      assert.equal(device.created.pipelines - before, 1, "what runs without a table, for both");
      assert.deepEqual(row.failures, []);
      assert.equal(row.weightBytes, 0);
      assert.ok(row.best.seconds > 0);
      assert.equal(device.allocatedBytes, 0);
    }),
);
