import assert from "node:assert/strict";
import { generatedFiles } from "../docs/generate.ts";

for (const [path, content] of Object.entries(generatedFiles())) {
  Deno.test(`${path} is what "deno task gen" writes`, async () => {
    const current = await Deno.readTextFile(new URL(`../${path}`, import.meta.url));
    assert.ok(current === content, `${path} is not current: run deno task gen`);
  });
}
