/** `quantize_moe` and `quantize_linear`: any checkpoint packed while it loads. */

import assert from "node:assert/strict";
import { isOp, type Node, type PackedFormat } from "../../graph/mod.ts";
import { compareLogits } from "../../dsl/verify.ts";
import { logitsOf } from "../support/language_model.ts";
import {
  type Changes,
  fusedLayers,
  MOE_FUSIONS,
  packedGraph,
  withPackedModel,
} from "../support/quantized_models.ts";
import { relativeError, TOLERANCES } from "../support/tolerances.ts";

/**
 * Bytes of an element, scales included, by format and block for matrices of 64 × 64; and how much
 * the logits may differ: the mean divergence in nats.
 */
const FORMATS: readonly {
  readonly format: PackedFormat;
  readonly block?: number;
  readonly bytes: number;
  readonly divergence: number;
}[] = [
  { format: "int8", bytes: 1 + 4 / 32, divergence: 1e-3 },
  { format: "int8", block: 16, bytes: 1 + 4 / 16, divergence: 1e-3 },
  { format: "fp8_e4m3", bytes: 1 + 4 / (64 * 64), divergence: 0.02 },
  { format: "fp8_e4m3", block: 32, bytes: 1 + 4 / 1024, divergence: 0.02 },
  { format: "int4", bytes: 0.5 + 4 / 32, divergence: 0.3 },
  { format: "mxfp4", bytes: 0.5 + 1 / 32, divergence: 0.5 },
];

const MODEL = "qwen3_moe";

for (const { format, block, bytes, divergence } of FORMATS) {
  Deno.test(`quantize_moe packs experts as ${format}${block ? ` in blocks of ${block}` : ""}`, async () => {
    await withPackedModel(MODEL, async ({ model, prompt, golden }) => {
      const quantize: Changes = {
        quantize_moe: { enabled: true, format, ...(block && { block }) },
      };
      const { graph, records } = await packedGraph(model, quantize);
      const { weightBytesBefore: before, weightBytesAfter: after } = records.quantize_moe;
      const expertElements = fusedLayers(graph).reduce(
        (sum, { attrs: { experts, hidden, intermediate } }) =>
          sum + 3 * experts * hidden * intermediate,
        0,
      );
      assert.equal(before - after, expertElements * (2 - bytes));
      assert.ok(fusedLayers(graph).every(({ attrs }) => attrs.format === format));
      const logits = await logitsOf(graph, model.checkpoint, prompt);

      // The same codes through the op that fusing replaces.
      const unfused = Object.fromEntries(MOE_FUSIONS.map((key) => [key, { enabled: false }]));
      const loops = await packedGraph(model, { ...quantize, ...unfused });
      const looped = await logitsOf(loops.graph, model.checkpoint, prompt);
      assert.ok(relativeError(logits, looped) <= TOLERANCES.reordered * 10);

      const vocabulary = logits.length / prompt.length;
      const { meanDivergence } = compareLogits(golden("logits"), logits, vocabulary);
      assert.ok(meanDivergence > 0 && meanDivergence < divergence, `diverges by ${meanDivergence}`);
    });
  });
}

Deno.test("quantize_moe takes the layers that its glob names", async () => {
  await withPackedModel(MODEL, async ({ model }) => {
    const { graph, records } = await packedGraph(model, {
      quantize_moe: { enabled: true, format: "int4", layers: "model.layers.1.*" },
    });
    const formats = fusedLayers(graph).map(({ scope, attrs }) => `${scope} ${attrs.format}`);
    assert.ok(formats.includes("model.layers.1.mlp int4"), formats.join());
    assert.equal(formats.filter((each) => each.endsWith("int4")).length, 1);
    assert.ok(
      records.quantize_moe.nearMisses.every(({ reason }) =>
        reason === 'layers "model.layers.1.*" leaves it out'
      ),
    );
  });
});

Deno.test("quantize_linear packs dense layers, but neither routers nor the head", async () => {
  await withPackedModel(MODEL, async ({ model, prompt, golden }) => {
    const { graph } = await packedGraph(model, { quantize_linear: { enabled: true } });
    const formats = (keep: (node: Node) => boolean) =>
      new Set(
        graph.nodes.filter((node) => isOp(node, "fused_linear") && keep(node))
          .map(({ attrs }) => Reflect.get(attrs, "format")),
      );
    assert.deepEqual(formats(({ scope }) => scope === "lm_head"), new Set([undefined]));
    assert.deepEqual(formats(({ scope }) => scope !== "lm_head"), new Set(["int8"]));
    const logits = await logitsOf(graph, model.checkpoint, prompt);
    const { meanDivergence } = compareLogits(
      golden("logits"),
      logits,
      logits.length / prompt.length,
    );
    assert.ok(meanDivergence > 0 && meanDivergence < 1e-2, `diverges by ${meanDivergence}`);
  });
});

Deno.test("quantize_moe refuses what a format cannot be", async () => {
  await withPackedModel("quantized/gpt_oss_mxfp4", async ({ model }) => {
    // Taken as they are by quantize_mxfp4_moe, which runs first; only without it there is a conflict.
    const { records } = await packedGraph(model, { quantize_moe: { enabled: true } });
    assert.equal(records.quantize_moe.num_matches, 0);
    assert.match(records.quantize_moe.nearMisses[0].reason, /^it is mxfp4 already$/);
    const run = packedGraph(model, {
      quantize_mxfp4_moe: { enabled: false },
      quantize_moe: { enabled: true },
    });
    await assert.rejects(run, /gate_proj\.weight" is mxfp4 in the checkpoint/);
  });
  await withPackedModel(MODEL, async ({ model }) => {
    const run = packedGraph(model, { quantize_moe: { enabled: true, format: "mxfp4", block: 16 } });
    await assert.rejects(run, /a block of 16 is not possible: mxfp4 has one scale for 32 columns/);
  });
});

for (
  const [key, field] of [
    ["quantize_moe", { layers: "model.layers.9*" }],
    ["quantize_linear", { layers: "model.layers.9*" }],
    ["quantize_linear", { exclude: ["model.layers.9*"] }],
  ] as const
) {
  Deno.test(`${key} refuses ${Object.keys(field)} that match no layer, and names the layers`, async () => {
    const changes: Changes = { [key]: { enabled: true, format: "int8", ...field } };
    await withPackedModel(MODEL, async ({ model }) => {
      await assert.rejects(
        packedGraph(model, changes),
        /on "model\.layers\.9\*": no layer matches this pattern; the layers are model\..* \.\. /,
      );
    });
  });
}
