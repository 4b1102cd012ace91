import assert from "node:assert/strict";
import fc from "../../../deps/fast_check.ts";
import { ConfigError, KernelError } from "../../../graph/mod.ts";
import type { DeviceProfile, LoweringContext, StepSizes } from "../../../kernels/kernel.ts";
import { moeBackend, moeBackendNames, registerMoeBackend } from "../../../kernels/moe/backend.ts";
import { refuseConfig } from "../../../kernels/moe/algorithms/config.ts";
import {
  expertHeuristic,
  gemmHeuristic,
  prefersSlots,
  slotHeuristic,
} from "../../../kernels/moe/tuning/heuristic.ts";
import { fusedMoeKernel } from "../../../kernels/moe/kernel.ts";
import { mostBlocks } from "../../../kernels/moe/algorithms/plan_buffer.ts";
import { type DeviceMoeSpec, moeSpecOf } from "../../../kernels/moe/spec.ts";
import { GPU_PROFILE } from "../../support/gpu_profile.ts";
import { CONFIGS } from "../../support/moe_configs.ts";
import { type LayerOptions, lowerWith, moeLayer } from "../../support/moe_layer.ts";
import { buildNode } from "../../support/op_case.ts";

/** What WebGPU guarantees everywhere. */
const SMALL_PROFILE: DeviceProfile = {
  ...GPU_PROFILE,
  subgroups: false,
  subgroupSize: 1,
  maxWorkgroupStorageBytes: 16384,
  maxInvocations: 256,
  maxBindingBytes: 128 << 20,
  maxStorageBuffers: 8,
};

function context(tokens: number, own: Partial<LoweringContext> = {}): LoweringContext {
  return {
    profile: GPU_PROFILE,
    tokens: { min: 1, max: tokens },
    maxRows: 1,
    pageSize: 16,
    cacheDtype: () => "f32",
    note() {},
    ...own,
  };
}

function deviceSpec(options: LayerOptions, tokens: number, profile = GPU_PROFILE): DeviceMoeSpec {
  const { node } = buildNode(moeLayer(options));
  return moeSpecOf(node, context(tokens, { profile })) as DeviceMoeSpec;
}

Deno.test("moeBackend() names the known backends and suggests the nearest", () => {
  assert.throws(() => moeBackend("tritn"), (error) => {
    assert(error instanceof ConfigError);
    assert.match(error.message, /backend "tritn": expected .*triton, trtllm/);
    assert.equal(error.hint, 'Did you mean "triton"?');
    return true;
  });
});

Deno.test("registerMoeBackend() refuses a name that is taken", () => {
  const names = moeBackendNames();
  assert.throws(
    () => registerMoeBackend({ ...moeBackend("triton"), summary: "another" }),
    (error) => error instanceof ConfigError && error.code === "config/duplicate-backend",
  );
  assert.deepEqual(moeBackendNames(), names);
});

Deno.test("supports() says why a layer cannot be served", () => {
  const { node } = buildNode(moeLayer({ mlp: "plain", activation: "swiglu_oai" }));
  for (const name of ["auto", "triton", "trtllm"]) {
    assert.match(String(moeBackend(name).supports(moeSpecOf(node))), /swiglu_oai without a gate/);
  }
  const many = { ...deviceSpec({}, 1, SMALL_PROFILE), experts: 5000 };
  assert.match(
    String(moeBackend("auto").supports(many)),
    /cannot sort 5000 experts in 16384 bytes/,
  );
});

Deno.test("reference serves the CPU and refuses a device with its reason", () => {
  const { node } = buildNode(moeLayer({ backend: "reference" }));
  assert.equal(moeBackend("reference").supports(moeSpecOf(node)), undefined);
  assert.equal(
    fusedMoeKernel.refuse(node, context(1)),
    "backend reference runs on the CPU executor only",
  );
});

Deno.test("lower() says what auto takes and why", () => {
  const { node } = buildNode(moeLayer({ experts: 64, topK: 8 }));
  const said = (tokens: number) => {
    const notes: string[] = [];
    fusedMoeKernel.lower(node, context(tokens, { note: (text) => notes.push(text) }));
    return notes.join("\n");
  };
  assert.match(said(1), /auto: takes trtllm, 8 pairs for 64 experts; 1 tokens: slot by slot/);
  assert.match(said(512), /auto: takes triton, 4096 pairs .*: grouped GEMM in blocks of/);
});

Deno.test("two dispatches serve one token, four serve many", () => {
  for (const [backend, few] of [["auto", 2], ["trtllm", 2], ["triton", 4]] as const) {
    const { node } = buildNode(moeLayer({ backend, experts: 64, topK: 8 }));
    assert.equal(fusedMoeKernel.lower(node, context(1)).length, few);
    assert.equal(fusedMoeKernel.lower(node, context(2048)).length, 4);
  }
});

Deno.test("one token reads the weights of its experts once", () => {
  const { node } = buildNode(moeLayer({ hidden: 64, intermediate: 48, experts: 10, topK: 3 }));
  const sizes: StepSizes = { T: 1, R: 1, S: 1, P: 1 };
  const bytes = fusedMoeKernel.lower(node, context(1)).map(({ weightBytes }) =>
    weightBytes?.(sizes)
  );
  assert.deepEqual(bytes, [3 * 2 * 48 * 64 * 2, 3 * 64 * 48 * 2]);
});

Deno.test("plain weights need no more buffers than WebGPU guarantees", () => {
  for (const config of Object.values(CONFIGS)) {
    const options = { bias: true, residual: true } as const;
    for (const applyRoutingOnInput of [true, false]) {
      const { node } = buildNode(moeLayer({ ...options, applyRoutingOnInput }));
      const profile = { ...GPU_PROFILE, subgroupSize: 8 };
      for (const { kernel, bindings } of lowerWith(config)(node, context(8, { profile }))) {
        const storage = bindings.filter(({ access }) => access !== "uniform").length;
        assert(storage <= SMALL_PROFILE.maxStorageBuffers, `${kernel} binds ${storage}`);
      }
    }
  }
});

Deno.test("an expert larger than a binding is an error that names tensor, need and limit", () => {
  const { node } = buildNode(moeLayer({ hidden: 256, intermediate: 256 }));
  const profile = { ...GPU_PROFILE, maxBindingBytes: 200000 };
  assert.throws(() => fusedMoeKernel.lower(node, context(1, { profile })), (error) => {
    assert(error instanceof KernelError);
    assert.equal(error.code, "kernel/expert-too-large");
    assert.match(error.message, /weight "w_up" of "case": .*200000 bytes a binding, got 262144/);
    return true;
  });
});

Deno.test("parts of a weight start at offsets that every device can bind", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 70 }),
      fc.integer({ min: 1, max: 40 }),
      fc.integer({ min: 1, max: 30 }),
      fc.integer({ min: 20000, max: 400000 }),
      (hidden, intermediate, experts, maxBindingBytes) => {
        const { node } = buildNode(moeLayer({ hidden, intermediate, experts, topK: 1 }));
        const profile = { ...GPU_PROFILE, maxBindingBytes };
        let dispatches;
        try {
          dispatches = lowerWith(CONFIGS.slots)(node, context(1, { profile }));
        } catch (error) {
          assert(error instanceof KernelError);
          return;
        }
        let covered = 0;
        for (const { bindings, kernel } of dispatches) {
          const weight = bindings.find(({ buffer }) => buffer.kind === "weight");
          if (kernel !== "moe_gate_up" || !weight?.range) continue;
          assert.equal(weight.range.offset % 256, 0);
          assert(weight.range.bytes <= maxBindingBytes);
          assert.equal(weight.range.offset, covered);
          covered += weight.range.bytes;
        }
        assert(covered === 0 || covered === experts * 2 * intermediate * hidden * 2);
      },
    ),
  );
});

Deno.test("heuristics give what the smallest and the largest device can run", () => {
  for (const profile of [GPU_PROFILE, SMALL_PROFILE, { ...GPU_PROFILE, software: true }]) {
    for (const tokens of [1, 2, 8, 32, 512, 4096]) {
      for (const dtype of ["bf16", "f32"] as const) {
        const spec = deviceSpec({ dtype, experts: 32, topK: 4 }, tokens, profile);
        for (const algorithm of ["grouped", "permuted"] as const) {
          assert.equal(refuseConfig(gemmHeuristic(spec, algorithm), spec), undefined);
        }
        assert.equal(refuseConfig(slotHeuristic(spec), spec), undefined);
        if (tokens <= 8) assert.equal(refuseConfig(expertHeuristic(spec), spec), undefined);
      }
    }
  }
});

Deno.test("packed experts go slot by slot up to one pair an expert, plain and large ones to a quarter", () => {
  const plain = deviceSpec({ experts: 32, topK: 4 }, 1);
  const most = (own: Partial<DeviceMoeSpec>) =>
    [1, 2, 4, 8, 16].findLast((max) =>
      prefersSlots({ ...plain, hidden: 2880, ...own, tokens: { min: 1, max } })
    );
  assert.equal(most({}), 2);
  assert.equal(most({ format: "mxfp4" }), 8);
  assert.equal(most({ format: "mxfp4", profile: { ...GPU_PROFILE, software: true } }), 2);
  // Rows of NVFP4 and short rows are not interleaved.
  assert.equal(most({ format: "nvfp4" }), 2);
  assert.equal(most({ format: "int8", hidden: 96 }), 2);
  assert.equal(most({ format: "fp8_e4m3", hidden: 4096, intermediate: 14336 }), 2);
});

Deno.test("mostBlocks() is enough for every distribution of pairs over experts, and tight", () => {
  const counts = fc.array(fc.nat(40), { minLength: 1, maxLength: 12 });
  fc.assert(
    fc.property(counts, fc.integer({ min: 1, max: 16 }), (list, blockM) => {
      const pairs = list.reduce((sum, count) => sum + count, 0);
      const blocks = list.reduce((sum, count) => sum + Math.ceil(count / blockM), 0);
      assert(blocks <= mostBlocks(pairs, list.length, blockM));
    }),
  );
  // Every expert one pair, and the rest to one of them.
  assert.equal(mostBlocks(4 + 2 * 8, 4, 8), 3 + Math.ceil(17 / 8));
  assert.equal(mostBlocks(0, 4, 8), 0);
});
