/**
 * Models of fixtures, which hold weights and goldens but no tokenizer.
 *
 * @module
 */

import { loadModel, type Model } from "../../models/mod.ts";

const TOKENIZER = new URL("../golden/tokenizers/llama_legacy/", import.meta.url);
const TOKENIZER_FILES = ["tokenizer.json", "tokenizer_config.json"];

/** Opens a model folder together with a tokenizer that has nothing to do with it. */
export async function openBareModel(folder: string): Promise<Model> {
  const together = await Deno.makeTempDir();
  try {
    for await (const { name, isFile } of Deno.readDir(folder)) {
      if (isFile && !TOKENIZER_FILES.includes(name)) {
        await Deno.symlink(await Deno.realPath(`${folder}/${name}`), `${together}/${name}`);
      }
    }
    for (const name of TOKENIZER_FILES) {
      await Deno.symlink(new URL(name, TOKENIZER).pathname, `${together}/${name}`);
    }
    const model = await loadModel(together);
    return { ...model, path: folder, name: folder.split("/").slice(-1)[0] };
  } finally {
    await Deno.remove(together, { recursive: true });
  }
}
