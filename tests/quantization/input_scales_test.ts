/** What happens when the experts of an FP8 checkpoint have input scales that differ. */

import assert from "node:assert/strict";
import type { HostTensor } from "../../graph/mod.ts";
import { loadWeight, type Model } from "../../models/mod.ts";
import {
  CUTTABLE,
  fusedLayers,
  packedGraph,
  withPackedModel,
} from "../support/quantized_models.ts";

const MODEL = "quantized/mixtral_fp8_modelopt";
const GATES = "model.layers.0.block_sparse_moe.experts";

type Fields = Readonly<Record<string, unknown>>;

async function fuse(model: Model, fields: Fields) {
  return await packedGraph(model, { ...CUTTABLE, fuse_fp8_moe: fields });
}

/** The scales that the first layer rounds with. */
async function scalesOf(model: Model, fields: Fields) {
  const { graph, records } = await fuse(model, fields);
  const [{ inputs }] = fusedLayers(graph);
  const numbers = async (name: string) => {
    const value = inputs[name];
    assert.ok(value && "weight" in value && value.weight);
    const { data }: HostTensor = await loadWeight(value.weight, model.checkpoint);
    return Array.from(data, Number);
  };
  return {
    x: await numbers("x_scale"),
    act: await numbers("act_scale"),
    notes: records.fuse_fp8_moe.notes.filter((note) => note.startsWith("Input scales")),
  };
}

async function inputScale(model: Model, expert: number, matrix: string): Promise<number> {
  const { checkpoint } = model;
  const weight = checkpoint.tensor(`${GATES}.${expert}.${matrix}.input_scale`, []);
  return Number((await loadWeight(weight, checkpoint)).data[0]);
}

Deno.test("fuse_fp8_moe keeps every expert's own input scale when nothing is said", async () => {
  await withPackedModel(MODEL, async ({ model }) => {
    const { x, act, notes } = await scalesOf(model, {});
    assert.equal(x.length, model.config.num_experts);
    for (const expert of x.keys()) {
      assert.equal(x[expert], await inputScale(model, expert, "w1"));
      assert.equal(act[expert], await inputScale(model, expert, "w2"));
    }
    assert.deepEqual(notes, []);
  });
});

Deno.test("fuse_fp8_moe takes the largest input scale for all when they may differ, and says so once", async () => {
  await withPackedModel(MODEL, async ({ model }) => {
    const own = await scalesOf(model, {});
    for (
      const fields of [{ allow_different_input_scales: true }, { input_scale_policy: "max" }]
    ) {
      const { x, act, notes } = await scalesOf(model, fields);
      assert.deepEqual([x, act], [[Math.max(...own.x)], [Math.max(...own.act)]]);
      assert.equal(notes.length, 1);
      assert.match(
        notes[0],
        /^Input scales differ between the experts of 2 layers: the largest one rounds them all, up to \d+\.\d+ times an expert's own;/,
      );
    }
  });
});

Deno.test("fuse_fp8_moe refuses input scales that differ, with layer, expert and both values", async () => {
  await withPackedModel(MODEL, async ({ model }) => {
    const own = await scalesOf(model, {});
    for (
      const fields of [{ allow_different_input_scales: false }, { input_scale_policy: "same" }]
    ) {
      await assert.rejects(fuse(model, fields), (error: Error) => {
        const expected =
          `Cannot run transform "fuse_fp8_moe" on "model.layers.0.mlp (moe)": all w1 input scales should have the same value: w1 of expert 1 has ${
            own.x[1]
          }, w1 of expert 0 has ${own.x[0]};`;
        assert.ok(error.message.startsWith(expected), error.message);
        assert.match(error.message, /\(and 1 more\)$/);
        return true;
      });
    }
  });
});

Deno.test("fuse_fp8_moe refuses a switch and a policy that contradict each other", async () => {
  await withPackedModel(MODEL, async ({ model }) => {
    const fields = { allow_different_input_scales: false, input_scale_policy: "max" };
    await assert.rejects(
      fuse(model, fields),
      /allow_different_input_scales is false, but input_scale_policy is max; set only one of them$/,
    );
  });
});
