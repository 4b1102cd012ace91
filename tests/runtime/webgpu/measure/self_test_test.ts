import assert from "node:assert/strict";
import { openWebGpuExecutor } from "../../../../runtime/mod.ts";
import { selfTest } from "../../../../runtime/webgpu/measure/self_test.ts";
import { webgpuTest } from "../../../support/adapter.ts";

webgpuTest("selfTest() passes here, with attention, both ways workgroups hand over", async () => {
  const executor = await openWebGpuExecutor({ selfTest: false });
  try {
    for (const handOff of ["ticket", "dispatch"] as const) {
      executor.handOff = handOff;
      await assert.doesNotReject(selfTest(executor, true), handOff);
    }
  } finally {
    executor.dispose();
  }
});
