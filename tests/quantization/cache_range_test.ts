/** Keys and values beyond f16: an error that names the cache, never numbers that are a little wrong. */

import assert from "node:assert/strict";
import { pipeline } from "../../mod.ts";
import { webgpuTest } from "../support/adapter.ts";
import {
  type MatrixWriter,
  plainMatrix,
  PROMPT,
  tensorOf,
  writeDialectModel,
} from "../support/dialect_model.ts";
import { relativeError, TOLERANCES } from "../support/tolerances.ts";

/** Values of about 1e6. */
const hugeValues: MatrixWriter = (random, rows, columns, module) => {
  const matrix = plainMatrix(random, rows, columns);
  if (!module.endsWith("self_attn.v_proj")) return matrix;
  const values = matrix.values.map((value) => value * 1e6);
  return { tensors: { weight: tensorOf("F32", [rows, columns], values) }, values };
};

async function logitsWith(executor: "cpu" | "webgpu", cache: string, tokens: readonly number[]) {
  const root = await Deno.makeTempDir();
  const folders = { packed: `${root}/packed`, plain: `${root}/plain` };
  try {
    for (const folder of Object.values(folders)) await Deno.mkdir(folder);
    await writeDialectModel(folders, { hidden: 40, intermediate: 24 }, {}, hugeValues);
    const engine = await pipeline().set("kv_cache_dtype", cache).set("executor", executor)
      .deploy({ model: folders.plain });
    try {
      return await engine.logits(tokens);
    } finally {
      await engine.close();
    }
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

async function refusesF16(executor: "cpu" | "webgpu"): Promise<void> {
  // Few tokens read their own keys from the step, many read all from the cache.
  for (const tokens of [PROMPT.slice(0, 3), [...PROMPT, ...PROMPT]]) {
    await assert.rejects(logitsWith(executor, "f16", tokens), (error: Error) => {
      assert.match(error.message, /^Cannot compute logits: expected numbers, got NaN$/);
      assert.match(String(Reflect.get(error, "hint")), /KV cache in f16: try kv_cache_dtype: f32/);
      return true;
    });
  }
}

Deno.test("values that f16 cannot hold are refused with what to do, and right in f32", async () => {
  await refusesF16("cpu");
  assert.ok((await logitsWith("cpu", "f32", PROMPT)).every(Number.isFinite));
});

webgpuTest("values that f16 cannot hold are refused on a device as on the CPU", async () => {
  await refusesF16("webgpu");
  const [got, expected] = [
    await logitsWith("webgpu", "f32", PROMPT),
    await logitsWith("cpu", "f32", PROMPT),
  ];
  assert.ok(relativeError(got, expected) <= TOLERANCES.logitsF32);
});
