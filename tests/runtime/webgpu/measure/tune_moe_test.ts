import assert from "node:assert/strict";
import {
  type DeviceMoeSpec,
  type Dispatch,
  lowerConfig,
  type MoeValues,
  refuseConfig,
} from "../../../../kernels/mod.ts";
import { openDevice, tuneMoeLayer, type TuneProgress } from "../../../../runtime/mod.ts";
import { webgpuTest } from "../../../support/adapter.ts";

/** A layer that a software adapter computes in a moment. */
async function withLayer(body: (layer: DeviceMoeSpec, ...rest: [device: Device]) => Promise<void>) {
  const device = await openDevice();
  try {
    await body({
      scope: "tiny",
      tokens: { min: 1, max: 1 },
      hidden: 32,
      intermediate: 32,
      experts: 4,
      topK: 2,
      mlp: "gated",
      activation: "silu",
      alpha: 1.702,
      limit: 7,
      applyRoutingOnInput: false,
      format: "bf16",
      activationQuant: "none",
      operands: "f32",
      biasUp: false,
      biasDown: false,
      residual: true,
      profile: device.profile,
    }, device);
  } finally {
    device.close();
  }
}

/** Writes a number over the last one of a layer's output. */
function spoilLast({ output }: MoeValues, count: number, number: string): Dispatch {
  return {
    kernel: "spoil",
    wgsl: `@group(0) @binding(0) var<storage, read_write> y: array<f32>;
      @compute @workgroup_size(1) fn main() { y[${count - 1}u] = ${number}; }`,
    bindings: [{ buffer: output, access: "read_write" }],
    workgroups: () => [1, 1, 1],
  };
}

type Device = Awaited<ReturnType<typeof openDevice>>;

webgpuTest("tuneMoeLayer() measures what the device can run, the best first", async () => {
  await withLayer(async (layer, device) => {
    const seen: TuneProgress[] = [];
    const row = await tuneMoeLayer(device, layer, 2, {
      candidates: 3,
      onProgress: (progress) => seen.push(progress),
    });
    assert.equal(row.tokens, 2);
    assert.deepEqual(row.failures, []);
    assert.ok(row.measured >= 3, String(row.measured));
    const seconds = row.best.map((each) => each.seconds);
    assert.deepEqual(seconds, seconds.toSorted((a, b) => a - b));
    assert.ok(seconds[0] > 0 && seconds[0] <= row.heuristic.seconds, "never worse than no table");
    const algorithms = row.best.map(({ config }) => config.algorithm);
    assert.equal(new Set(algorithms).size, algorithms.length, "one of each algorithm");
    const spec = { ...layer, tokens: { min: 2, max: 2 } };
    for (const { config } of row.best) assert.equal(refuseConfig(config, spec), undefined);
    assert.deepEqual(seen.map(({ done }) => done), seen.map((_, i) => i + 1));
    assert.equal(seen.at(-1)?.done, seen.at(-1)?.total);
    assert.equal(device.allocatedBytes, 0, "everything was given back");
  });
});

webgpuTest(
  "tuneMoeLayer() refuses what is wrong in its last row alone, or writes nothing",
  async () => {
    const wrong: Record<string, (values: MoeValues, right: readonly Dispatch[]) => Dispatch[]> = {
      "off by [\\d.]+ of": (values, right) => [...right, spoilLast(values, 3 * 32, "9.0")],
      "off by Infinity of": (values, right) => {
        // The largest exponent and a fraction; a constant NaN is not WGSL.
        const nan = "bitcast<f32>(0x7fc00000u | u32(y[0] > 1e30))";
        return [...right, spoilLast(values, 3 * 32, nan)];
      },
      // Without its last product a layer would leave the output of the candidate before.
      "its first token is off by": (_, right) => right.slice(0, -1),
    };
    await withLayer(async (layer, device) => {
      const reasons = Object.keys(wrong);
      const kinds = new Map<string, string | undefined>();
      const row = await tuneMoeLayer(device, layer, 3, {
        candidates: 4,
        lower(spec, values, config) {
          const right = lowerConfig(spec, values, config);
          const key = JSON.stringify(config);
          // The heuristic's, the first one, is right; three others are not.
          if (!kinds.has(key)) kinds.set(key, kinds.size === 0 ? undefined : reasons.shift());
          const reason = kinds.get(key);
          return reason === undefined ? right : wrong[reason](values, right);
        },
      });
      assert.deepEqual(reasons, [], "all were tried");
      const spoiled = [...kinds].filter(([, reason]) => reason !== undefined);
      assert.equal(row.failures.length, spoiled.length, row.failures.join("\n"));
      for (const [i, [key, reason]] of spoiled.entries()) {
        assert.ok(row.failures[i].startsWith(key), row.failures[i]);
        assert.match(row.failures[i], new RegExp(`: ${reason}`));
      }
      for (const { config } of row.best) assert.equal(kinds.get(JSON.stringify(config)), undefined);
    });
  },
);

webgpuTest("tuneMoeLayer() measures f16 operands where the layer has them", async () => {
  await withLayer(async (layer, device) => {
    const row = await tuneMoeLayer(device, { ...layer, operands: "f16" }, 40, { candidates: 1 });
    assert.deepEqual(row.failures, []);
    assert.ok(row.best.some(({ config }) => config.algorithm === "grouped"));
    const without = { ...layer, profile: { ...layer.profile, shaderF16: false } };
    await assert.rejects(tuneMoeLayer(device, { ...without, operands: "f16" }, 40), {
      code: "kernel/refused",
      message: /^Cannot tune "tiny" on this device: .*the device has no shader-f16/,
    });
    assert.equal(device.allocatedBytes, 0);
  });
});

webgpuTest("tuneMoeLayer() stops between candidates and gives its memory back", async () => {
  await withLayer(async (layer, device) => {
    const controller = new AbortController();
    const tried: number[] = [];
    await assert.rejects(
      tuneMoeLayer(device, layer, 1, {
        signal: controller.signal,
        onProgress: ({ done }) => {
          tried.push(done);
          controller.abort(new Error("enough"));
        },
      }),
      /enough/,
    );
    assert.deepEqual(tried, [1]);
    assert.equal(device.allocatedBytes, 0);
  });
});
