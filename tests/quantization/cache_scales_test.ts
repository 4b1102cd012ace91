/** Scales of FP8 caches: used where the cache is FP8, reported where it is not. */

import assert from "node:assert/strict";
import { isOp, type Node } from "../../graph/mod.ts";
import { type Model } from "../../models/mod.ts";
import { findTransform } from "../../transforms/mod.ts";
import { openBareModel } from "../support/bare_model.ts";
import {
  type MatrixWriter,
  plainMatrix,
  PROMPT,
  tensorOf,
  writeDialectModel,
} from "../support/dialect_model.ts";
import { memorySource } from "../support/host_tensors.ts";
import { logitsOf } from "../support/language_model.ts";
import { packedGraph } from "../support/quantized_models.ts";
import { apply, contextWithoutModel, steps } from "../support/run_transforms.ts";
import { tinyLanguageModel } from "../support/tiny_language_model.ts";
import { relativeError, TOLERANCES } from "../support/tolerances.ts";

const V_SCALE = 16;

/** Values beyond what E4M3 holds, and the scales that bring them back. */
const largeValues: MatrixWriter = (random, rows, columns, module) => {
  const matrix = plainMatrix(random, rows, columns);
  const scale = (value: number) => tensorOf("F32", [1], Float32Array.of(value));
  if (module.endsWith("self_attn.v_proj")) {
    const values = matrix.values.map((value) => value * 2000);
    const weight = tensorOf("F32", [rows, columns], values);
    return { tensors: { weight, v_scale: scale(V_SCALE) }, values };
  }
  if (!module.endsWith("self_attn.k_proj")) return matrix;
  return { ...matrix, tensors: { ...matrix.tensors, k_scale: scale(1 / 64) } };
};

async function withLargeValues(use: (model: Model) => Promise<void>): Promise<void> {
  const root = await Deno.makeTempDir();
  const folders = { packed: `${root}/packed`, plain: `${root}/plain` };
  try {
    for (const folder of Object.values(folders)) await Deno.mkdir(folder);
    await writeDialectModel(folders, { hidden: 40, intermediate: 24 }, {}, largeValues);
    const model = await openBareModel(folders.packed);
    try {
      await use(model);
    } finally {
      await model.checkpoint.close();
    }
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

const FP8 = { insert_cached_attention: { cache_dtype: "fp8" } };

Deno.test("an FP8 cache with the checkpoint's scales holds what saturates without them", async () => {
  await withLargeValues(async (model) => {
    const run = async (changes: Parameters<typeof packedGraph>[1]) => {
      const { graph, records } = await packedGraph(model, changes);
      return { records, logits: await logitsOf(graph, model.checkpoint, PROMPT) };
    };
    const exact = await run({});
    const scaled = await run(FP8);
    const without = await run({ ...FP8, scale_kv_cache: { enabled: false } });
    assert.equal(scaled.records.scale_kv_cache.num_matches, 1);
    const [near, far] = [scaled, without].map(({ logits }) => relativeError(logits, exact.logits));
    assert.ok(near < 0.05, `with scales the logits are off by ${near}`);
    assert.ok(far > 4 * near, `without scales they are off by ${far}`);
  });
});

Deno.test("scales of FP8 caches are reported where the cache is of another type", async () => {
  await withLargeValues(async (model) => {
    const { records } = await packedGraph(model);
    assert.equal(records.scale_kv_cache.num_matches, 0);
    const notes = records.load_weights.notes.join("\n");
    assert.match(notes, /used with kv_cache_dtype: fp8.*k_proj\.k_scale.*v_proj\.v_scale/);
  });
});

Deno.test("scale_kv_cache changes no result but the cache's, without a norm of keys too", async () => {
  const graph = tinyLanguageModel({ gather: false });
  const source = memorySource(new Map());
  const before = await logitsOf(graph, source, PROMPT);
  const numbers: Record<string, number> = { k_scale: 1 / 64, v_scale: 16 };
  const nameOf = (name: string) => name.split(".").slice(-1)[0];
  const checkpoint = {
    has: (name: string) => nameOf(name) in numbers,
    info: () => ({ shape: [] }),
    tensor: (name: string) => ({ kind: "tensor", name, dtype: "f32", shape: [] }),
    read: (name: string) =>
      Promise.resolve(new Uint8Array(Float32Array.of(numbers[nameOf(name)]).buffer)),
  };
  graph.setMeta("cache", { dtype: "f8_e4m3" });
  const context = contextWithoutModel();
  Object.defineProperty(context, "model", { value: { checkpoint } });
  const { scale_kv_cache: record } = await apply(graph, steps("scale_kv_cache"), context);
  assert.equal(record.num_matches, 1);
  const scale = (node: Node) => isOp(node, "cached_attention") ? node.attrs.scale : undefined;
  assert.ok(graph.nodes.some((node) => scale(node) === 0.25 / 64), "scores take the keys' scale");
  const error = relativeError(await logitsOf(graph, source, PROMPT), before);
  assert.ok(error <= TOLERANCES.reordered * 10, `logits are off by ${error}`);
  assert.ok(findTransform("scale_kv_cache"));
});
