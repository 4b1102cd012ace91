/** RoPE of type dynamic beyond the trained length, by transformers' formula. */

import assert from "node:assert/strict";
import { openBareModel } from "../../support/bare_model.ts";
import { webgpuTest } from "../../support/adapter.ts";
import { plainMatrix, PROMPT, writeDialectModel } from "../../support/dialect_model.ts";
import { logitsOf } from "../../support/language_model.ts";
import { packedGraph } from "../../support/quantized_models.ts";
import { withSharedExecutor } from "../../support/shared_executor.ts";
import { relativeError, TOLERANCES } from "../../support/tolerances.ts";
import type { Model } from "../../../models/mod.ts";

const [TRAINED, FACTOR, BASE, HEAD_DIM] = [4, 2.5, 10000, 8];

/** transformers' `_compute_dynamic_ntk_parameters` for sequences of so many tokens. */
function baseOf(length: number): number {
  const growth = FACTOR * length / TRAINED - (FACTOR - 1);
  return length <= TRAINED ? BASE : BASE * growth ** (HEAD_DIM / (HEAD_DIM - 2));
}

/** A dynamic model, and one whose base is the one for `length` tokens. */
async function withModels(
  length: number,
  use: (dynamic: Model, grown: Model) => Promise<void>,
): Promise<void> {
  const root = await Deno.makeTempDir();
  const folders = { packed: `${root}/packed`, plain: `${root}/plain` };
  try {
    for (const folder of Object.values(folders)) await Deno.mkdir(folder);
    const rope = { rope_type: "dynamic", rope_theta: BASE, factor: FACTOR };
    const config = { max_position_embeddings: TRAINED, rope_parameters: rope };
    await writeDialectModel(folders, { hidden: 40, intermediate: 24 }, config, plainMatrix);
    const file = `${folders.plain}/config.json`;
    const plain = JSON.parse(await Deno.readTextFile(file));
    plain.rope_theta = baseOf(length);
    await Deno.writeTextFile(file, JSON.stringify(plain));
    const models = await Promise.all(Object.values(folders).map(openBareModel));
    try {
      await use(models[0], models[1]);
    } finally {
      for (const { checkpoint } of models) await checkpoint.close();
    }
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

for (const length of [3, TRAINED, 9]) {
  Deno.test(`${length} tokens of ${TRAINED} trained ones are turned with the base for ${length}`, async () => {
    await withModels(length, async (dynamic, grown) => {
      const tokens = PROMPT.slice(0, length);
      const { graph } = await packedGraph(dynamic);
      assert.equal(graph.nodes.filter(({ op }) => op === "dynamic_rope").length, 2);
      assert.ok(!graph.nodes.some(({ op }) => op === "cos"), "no tables are left");
      const [got, expected] = [
        await logitsOf(graph, dynamic.checkpoint, tokens),
        await logitsOf((await packedGraph(grown)).graph, grown.checkpoint, tokens),
      ];
      const error = relativeError(got, expected);
      assert.ok(error <= TOLERANCES.logitsF32, `logits are off by ${error}`);
    });
  });
}

webgpuTest("a device turns tokens of two sequences for the length of each", async () => {
  await withSharedExecutor(async (executor) => {
    await withModels(9, async (dynamic, grown) => {
      const { graph } = await packedGraph(dynamic);
      const program = await executor.compile(graph, {
        source: dynamic.checkpoint,
        ...{ maxTokens: 16, maxSequences: 2, pages: 2, maxPagesPerSequence: 1 },
      });
      const short = PROMPT.slice(0, 3);
      const tokens = [...short, ...PROMPT];
      const ids = tokens.map((_, i) => i < short.length ? 0 : 1);
      const positions = tokens.map((_, i) => i < short.length ? i : i - short.length);
      const { logits = new Float32Array(0) } = await program.step({
        tokenIds: Int32Array.from(tokens),
        positions: Int32Array.from(positions),
        sequenceIds: Int32Array.from(ids),
        blockTable: { data: Int32Array.of(0, 1), sequences: 2, pages: 1 },
        logitsRows: Int32Array.from(tokens.keys()),
        want: "logits",
        repeat: 1,
      });
      program.dispose();
      const grownGraph = (await packedGraph(grown)).graph;
      const long = await logitsOf(grownGraph, grown.checkpoint, PROMPT);
      const vocabulary = logits.length / tokens.length;
      const own = logits.slice(short.length * vocabulary);
      assert.ok(relativeError(own, long) <= TOLERANCES.logitsF32);
      const alone = await logitsOf(graph, dynamic.checkpoint, short);
      assert.ok(relativeError(logits.slice(0, alone.length), alone) <= TOLERANCES.logitsF32);
    });
  });
});
