/**
 * A tokenizer with more tokens than the embedding has rows, which was not resized for them: the id is
 * refused by number, and the same on both executors.
 */

import assert from "node:assert/strict";
import { RequestError } from "../../../graph/mod.ts";
import { pipeline } from "../../../mod.ts";
import { webgpuTest } from "../../support/adapter.ts";
import { plainMatrix, writeDialectModel } from "../../support/dialect_model.ts";

const TOKENIZER = new URL("../../golden/tokenizers/llama_legacy/", import.meta.url).pathname;

/** The message for a text with a token beyond the embedding, and for its id. */
async function refusals(executor: "cpu" | "webgpu"): Promise<string[]> {
  const root = await Deno.makeTempDir();
  const folders = { packed: `${root}/packed`, plain: `${root}/plain` };
  try {
    for (const folder of Object.values(folders)) await Deno.mkdir(folder);
    await writeDialectModel(folders, { hidden: 40, intermediate: 24 }, {}, plainMatrix);
    for (const name of ["tokenizer.json", "tokenizer_config.json"]) {
      await Deno.symlink(TOKENIZER + name, `${folders.plain}/${name}`);
    }
    await using engine = await pipeline().set("executor", executor).deploy({
      model: folders.plain,
    });
    const ids = Array.from(engine.encode("Hello"));
    const place = ids.findIndex((id) => id > 32);
    assert.ok(place >= 0);
    const messages: string[] = [];
    for (
      const ask of [
        () => engine.generate("Hello", { maxNewTokens: 4 }).text(),
        () => engine.logits([3, 33]),
      ]
    ) {
      await assert.rejects(ask, (error: unknown) => {
        assert.ok(error instanceof RequestError && error.code === "request/token-id");
        messages.push(error.message);
        return true;
      });
    }
    assert.match(
      messages[0],
      new RegExp(`token ${place} .*expected an id from 0 to 32, got ${ids[place]}`),
    );
    assert.match(messages[1], /token 1 .*expected an id from 0 to 32, got 33/);
    assert.equal((await engine.logits([3, 32])).length, 2 * 33);
    return messages;
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

Deno.test("token ids beyond the embedding are refused by number on the CPU", async () => {
  await refusals("cpu");
});

webgpuTest("token ids beyond the embedding are refused on WebGPU with the same words", async () => {
  assert.deepEqual(await refusals("webgpu"), await refusals("cpu"));
});
