/** Things in a model folder that are no files: each is refused by its path, and nothing hangs. */

import assert from "node:assert/strict";
import { CheckpointError } from "../../../graph/mod.ts";
import { Checkpoint, loadModel } from "../../../models/mod.ts";
import { STORYTELLER } from "../../support/model_folder.ts";

const INDEX = "model.safetensors.index.json";

async function withFolder(use: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await use(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const refused = (...says: readonly string[]) => (error: unknown) => {
  assert.ok(error instanceof CheckpointError && error.hint, String(error));
  for (const part of says) assert.ok(error.message.includes(part), error.message);
  return true;
};

/** Makes `shard` in a folder whose index names it. */
const SHARDS: Readonly<Record<string, readonly [(path: string) => Promise<unknown>, string]>> = {
  "a folder": [(path) => Deno.mkdir(path), "got a folder"],
  "a circle of links": [(path) => Deno.symlink(path, path), "symbolic links"],
  "a link to nothing": [(path) => Deno.symlink(`${path}.gone`, path), "got none"],
  ...(Deno.build.os !== "windows" && {
    "a pipe": [(path) => new Deno.Command("mkfifo", { args: [path] }).output(), "got a pipe"],
  }),
};

for (const [what, [make, says]] of Object.entries(SHARDS)) {
  Deno.test(`${what} as a shard is refused by its path`, async () => {
    await withFolder(async (folder) => {
      await Deno.writeTextFile(
        `${folder}/${INDEX}`,
        JSON.stringify({ weight_map: { x: "shard" } }),
      );
      await make(`${folder}/shard`);
      await assert.rejects(Checkpoint.open(folder), refused(`"${folder}/shard"`, says));
    });
  });
}

for (const file of ["config.json", "model.safetensors", INDEX]) {
  Deno.test(`${file} in a circle of links is refused by its path`, async () => {
    await withFolder(async (folder) => {
      await Deno.symlink(`${folder}/${file}`, `${folder}/${file}`);
      const open = file === "config.json" ? loadModel(folder) : Checkpoint.open(folder);
      await assert.rejects(open, refused(`${folder}/${file}`, "symbolic links"));
    });
  });
}

for (const file of ["chat_template.jinja", "tokenizer.json", "generation_config.json"]) {
  Deno.test(`${file} in a circle of links is refused by its path`, async () => {
    await withFolder(async (folder) => {
      await Deno.symlink(file, `${folder}/${file}`);
      for await (const { name } of Deno.readDir(STORYTELLER)) {
        if (name !== file) await Deno.symlink(`${STORYTELLER}/${name}`, `${folder}/${name}`);
      }
      await assert.rejects(loadModel(folder), refused(`${folder}/${file}`, "symbolic links"));
    });
  });
}

Deno.test("a path that is too long is refused, a shard's name too", async () => {
  const long = "a".repeat(300);
  await withFolder(async (folder) => {
    await assert.rejects(loadModel(`${folder}/${long}`), refused("too long"));
    await Deno.writeTextFile(`${folder}/${INDEX}`, JSON.stringify({ weight_map: { x: long } }));
    await assert.rejects(Checkpoint.open(folder), refused(long, "too long"));
  });
});
