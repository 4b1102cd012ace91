/**
 * testMoeBackend(), and the check of a backend's first use on a device.
 *
 * @module
 */

import assert from "node:assert/strict";
import { KernelError } from "../../graph/mod.ts";
import { type MoeBackend, moeBackend, registerMoeBackend } from "../../kernels/mod.ts";
import { fusedMoe, testMoeBackend } from "../../mod.ts";
import { webgpuTest } from "../support/adapter.ts";
import { withSharedExecutor } from "../support/shared_executor.ts";

declare module "../../mod.ts" {
  interface MoeBackendTypes {
    tests_doubles: true;
    tests_nothing: true;
    tests_copy: true;
  }
}

/** `triton` with a change of its dispatches. */
function changed(
  name: MoeBackend["name"],
  change: (dispatches: ReturnType<MoeBackend["compile"]>) => ReturnType<MoeBackend["compile"]>,
): MoeBackend {
  const { supports, compile } = moeBackend("triton");
  return {
    name,
    summary: "for tests",
    supports,
    compile: (spec, values, note) => change(compile(spec, values, note)),
  };
}

/** One that leaves out what it does last, so that the output is what it was. */
const forgetful = changed(
  "tests_doubles",
  (dispatches) =>
    dispatches.map((dispatch, i) =>
      i < dispatches.length - 1 ? dispatch : { ...dispatch, workgroups: () => [0, 1, 1] as const }
    ),
);
const empty = changed("tests_nothing", () => []);
const right = changed("tests_copy", (dispatches) => dispatches);

for (const name of ["triton", "trtllm"] as const) {
  webgpuTest(`testMoeBackend() passes ${name}`, async () => {
    await withSharedExecutor(async (executor) => {
      const rows = await testMoeBackend(moeBackend(name), { executor, cases: 6 });
      assert.equal(rows.length, 36);
      assert.ok(rows.every(({ difference = 0 }) => difference <= 1e-4));
      assert.ok(rows.filter(({ difference }) => difference !== undefined).length > 25);
    });
  });
}

webgpuTest("testMoeBackend() refuses what is wrong, empty, or serves nothing", async () => {
  await withSharedExecutor(async (executor) => {
    await assert.rejects(testMoeBackend(forgetful, { executor }), (error) => {
      assert.ok(error instanceof KernelError);
      assert.equal(error.code, "kernel/backend-wrong");
      assert.match(
        error.message,
        /expected a layer of 1 tokens, hidden 64, .* largest difference of/,
      );
      return true;
    });
    await assert.rejects(
      testMoeBackend(empty, { executor }),
      /expected at least one dispatch, got none/,
    );
    const refuses: MoeBackend = { ...right, supports: () => "it is a test" };
    await assert.rejects(
      testMoeBackend(refuses, { executor }),
      /at least one layer that it serves/,
    );
  });
});

webgpuTest(
  "a backend is checked on its first use on a device, and refused when it is wrong",
  async () => {
    for (const backend of [forgetful, empty, right]) registerMoeBackend(backend);
    const layer = {
      ...{ tokens: 1, hidden: 300, intermediate: 32, experts: 4, topK: 2 },
      x: new Float32Array(300).fill(0.1),
      selectedExperts: Int32Array.of(0, 3),
      routingWeights: Float32Array.of(0.5, 0.5),
      w1: new Float32Array(4 * 32 * 300).fill(0.01),
      w2: new Float32Array(4 * 32 * 300).fill(0.01),
      w3: new Float32Array(4 * 32 * 300).fill(0.01),
    };
    await withSharedExecutor(async (executor) => {
      const expected = await fusedMoe({ ...layer, executor: "cpu" });
      const got = await fusedMoe({ ...layer, executor, backend: "tests_copy" });
      assert.ok(Math.abs(got[0] - expected[0]) < 1e-4 * Math.abs(expected[0]));
      await assert.rejects(
        fusedMoe({ ...layer, executor, backend: "tests_doubles" }),
        /Cannot use MoE backend "tests_doubles" on ".*": expected a layer of 1 tokens, hidden 300/,
      );
      await assert.rejects(
        fusedMoe({ ...layer, executor, backend: "tests_nothing" }),
        /expected at least one dispatch, got none/,
      );
    });
  },
);
