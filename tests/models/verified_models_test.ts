/** The list of golden models, which the tests and the reference of architectures follow. */

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { ARCHITECTURES, findArchitecture, normalizeConfig } from "../../models/mod.ts";
import { GOLDEN, GoldenValues } from "../support/golden_values.ts";
import { SAME_TEXT, VERIFIED_MODELS } from "../support/verified_models.ts";

Deno.test("VERIFIED_MODELS has every golden model, and what there is of it", async () => {
  const folders = [...Deno.readDirSync(GOLDEN)].map(({ name }) => name)
    .filter((name) => existsSync(new URL(`${name}/golden.safetensors`, GOLDEN)));
  assert.deepEqual(Object.keys(VERIFIED_MODELS).sort(), folders.sort());
  for (
    const [name, { architecture, inside = false, legacy = false }] of Object.entries(
      VERIFIED_MODELS,
    )
  ) {
    const text = await Deno.readTextFile(new URL(`${name}/config.json`, GOLDEN));
    const config = normalizeConfig(JSON.parse(text), "config.json");
    assert.equal(findArchitecture(config, "config.json").name, architecture, name);
    assert.equal(existsSync(new URL(`${name}/config_legacy.json`, GOLDEN)), legacy, name);
    assert.equal((await GoldenValues.of(name)).outputs.length > 0, inside, name);
  }
});

Deno.test("every architecture has a golden model", () => {
  const verified = Object.values(VERIFIED_MODELS).map(({ architecture }) => architecture);
  for (const { name } of ARCHITECTURES) {
    assert.ok(verified.includes(name) || SAME_TEXT[name] in VERIFIED_MODELS, name);
  }
});
