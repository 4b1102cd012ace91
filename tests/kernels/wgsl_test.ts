import assert from "node:assert/strict";
import { withBlocks } from "../../kernels/compose.ts";
import type { Dispatch } from "../../kernels/kernel.ts";
import { webgpuTest } from "../support/adapter.ts";
import { RECORDED } from "../support/recorded_shaders.ts";
import { withRunner } from "../support/run_dispatches.ts";
import { assertSnapshot } from "../support/snapshot.ts";

const FOLDER = new URL("../golden/wgsl/", import.meta.url);

/** Layers whose shaders are on record as they are compiled too, every `@repeat` written out. */
const EXPANDED = ["projection_1", "router_1", "moe_slots", "moe_grouped"];

/** Dispatches of one token: what a layer of a model costs in decoding. */
Deno.test("a token of decoding costs one dispatch an op", () => {
  for (const name of ["projection_1", "projection_8", "router_1", "attention_1", "sampling"]) {
    assert.equal(RECORDED.get(name)?.().length, 1, name);
  }
});

function filesOf(name: string, dispatches: readonly Dispatch[], suffix: string) {
  return dispatches.map(({ kernel, wgsl }, i) => ({
    file: `${name}.${i}.${kernel}${suffix}.wgsl`,
    wgsl,
  }));
}

/** The records of a layer: its texts before `@repeat` blocks are written out, and some after. */
function recordsOf(name: string, lower: () => readonly Dispatch[]) {
  return [
    ...filesOf(name, withBlocks(lower), ""),
    ...(EXPANDED.includes(name) ? filesOf(name, lower(), ".expanded") : []),
  ];
}

for (const [name, lower] of RECORDED) {
  Deno.test(`the WGSL of ${name} is the one on record`, async () => {
    for (const { file, wgsl } of recordsOf(name, lower)) {
      await assertSnapshot(`wgsl/${file}`, wgsl);
    }
  });
}

Deno.test("every WGSL text on record is that of a layer", async () => {
  const files = [...RECORDED].flatMap(([name, lower]) => recordsOf(name, lower));
  const found = await Array.fromAsync(Deno.readDir(FOLDER), ({ name }) => name);
  assert.deepEqual(found.sort(), files.map(({ file }) => file).sort());
});

webgpuTest("every shader on record compiles", () =>
  withRunner(async (runner) => {
    for (const [name, lower] of RECORDED) {
      // Small devices lack features that MoE layers of an H100 use; their own tests compile those.
      if (name.startsWith("moe_")) continue;
      for (const dispatch of lower()) {
        // Devices with less workgroup memory than an H100 cannot make the pipeline, only read the text.
        const outcome = await runner.pipelines.get(dispatch).catch((error) => String(error));
        const short = typeof outcome === "string" && /workgroup.*(storage|memory)/i.test(outcome);
        assert.ok(typeof outcome !== "string" || short, `${name}: ${outcome}`);
      }
    }
  }));
