import assert from "node:assert/strict";
import { DeviceError } from "../../graph/mod.ts";
import { defineKernel, type DeviceProfile, KERNELS } from "../../kernels/mod.ts";
import { openExecutor, openWebGpuExecutor } from "../../runtime/mod.ts";
import { nativeProvider } from "../../runtime/webgpu/providers/native.ts";
import { SMALL, smallGraph, TEST_KERNELS } from "../support/test_kernels.ts";
import { webgpuTest } from "../support/adapter.ts";

/** Runs `body` on a machine without an adapter. */
async function withoutAdapter<Result>(body: () => Promise<Result>): Promise<Result> {
  const { open } = nativeProvider;
  nativeProvider.open = () => Promise.resolve(undefined);
  try {
    return await body();
  } finally {
    nativeProvider.open = open;
  }
}

/** The registered `fused_moe` kernel, but its results are all zero when `when` says so. */
function wrongMoe(when: (handOff: string | undefined) => boolean) {
  const right = KERNELS.filter((kernel) => kernel.op === "fused_moe");
  return defineKernel({
    name: "wrong_moe",
    op: "fused_moe",
    summary: "forgets the experts",
    refuse: (_node, { handOff }) => when(handOff) ? undefined : "it is right today",
    lower(node) {
      assert(right.length > 0);
      return [{
        kernel: "wrong_moe",
        wgsl: `
@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(1) fn main() { y[0] = 0.0; }`,
        bindings: [{ buffer: node.outputs[0], access: "read_write" }],
        workgroups: () => [1, 1, 1],
      }];
    },
  });
}

Deno.test("openExecutor() takes the CPU without an adapter, and says why", async () => {
  const { executor, reason, profile } = await withoutAdapter(() => openExecutor("auto"));
  assert.deepEqual([executor.kind, reason, profile], ["cpu", "no WebGPU adapter", undefined]);
  assert.match(executor.description, /no WebGPU adapter/);
  executor.dispose();
});

Deno.test("openExecutor() refuses WebGPU without an adapter, and tells what to install", async () => {
  await assert.rejects(withoutAdapter(() => openExecutor("webgpu")), (error) => {
    assert(error instanceof DeviceError);
    assert.equal(error.code, "device/no-adapter");
    assert.match(String(error.hint), /mesa-vulkan-drivers.*--executor cpu/);
    return true;
  });
});

webgpuTest(
  "openExecutor() takes a GPU where it works, and the CPU before a software adapter",
  async () => {
    const asked = await openExecutor("webgpu");
    const { software, description } = asked.profile as DeviceProfile;
    asked.executor.dispose();
    const { executor, reason, profile } = await openExecutor("auto");
    executor.dispose();
    if (software) {
      assert.deepEqual([executor.kind, profile], ["cpu", undefined]);
      assert.equal(
        reason,
        `the only WebGPU adapter, ${description}, is a software one, which is slower`,
      );
      assert.ok(executor.description.includes(reason));
    } else {
      assert.equal(executor.kind, "webgpu");
      assert.equal(reason, "a GPU is there and passed the self-test");
    }
  },
);

webgpuTest("openExecutor() takes WebGPU when it is asked for", async () => {
  const { executor, reason, profile } = await openExecutor("webgpu");
  assert.deepEqual([executor.kind, reason], ["webgpu", "asked for"]);
  const { subgroupSize, subgroups, maxBindingBytes, key } = profile as DeviceProfile;
  assert(subgroups ? [4, 8, 16, 32, 64, 128].includes(subgroupSize) : subgroupSize === 1);
  assert(maxBindingBytes >= 2 ** 27);
  assert.match(key, /^[A-Za-z0-9._-]+$/);
  executor.dispose();
});

webgpuTest("openWebGpuExecutor() refuses a device that computes wrong", async () => {
  const kernels = [wrongMoe(() => true), ...KERNELS];
  await assert.rejects(openWebGpuExecutor({ kernels, selfTest: true }), (error) => {
    assert(error instanceof DeviceError);
    assert.equal(error.code, "device/wrong-results");
    assert.match(error.message, /expected a MoE layer of 1 tokens within 0.0001 of the CPU/);
    return true;
  });
});

webgpuTest("openWebGpuExecutor() does without tickets where they compute wrong", async () => {
  const kernels = [wrongMoe((handOff) => handOff === "ticket"), ...TEST_KERNELS, ...KERNELS];
  const executor = await openWebGpuExecutor({ kernels, selfTest: true });
  assert.equal(executor.handOff, "dispatch");
  const program = await executor.compile(smallGraph(), SMALL);
  assert.match(
    JSON.stringify(program.report.handOff),
    /"mode":"dispatch","reason":"the self-test failed with tickets: .*expected a MoE layer of /,
  );
  assert.ok(program.notices?.some((text) => text.startsWith("sums of workgroups take a dispatch")));
  executor.dispose();
});
