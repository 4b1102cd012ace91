/** Gemma 3: its text below a vision model, and what its class makes of both spellings of the rotary embedding. */

import assert from "node:assert/strict";
import { Checkpoint, findArchitecture, normalizeConfig } from "../../models/mod.ts";
import { wrappedTensors, writeModel } from "../support/kept_layout.ts";
import { logitsOf } from "../support/language_model.ts";
import { readSafetensors } from "../support/safetensors.ts";
import { relativeError, TOLERANCES } from "../support/tolerances.ts";

const FOLDER = new URL("../golden/gemma3/", import.meta.url);

async function rawConfig(file: string): Promise<Record<string, unknown>> {
  return JSON.parse(await Deno.readTextFile(new URL(file, FOLDER)));
}

function configure(raw: unknown) {
  const config = normalizeConfig(raw, "config.json");
  return findArchitecture(config, "config.json").configure(config, "config.json");
}

/** The golden model's soft cap, which transformers' class of the vision model leaves out. */
const CAP = 6;

for (
  const [what, inside, outside] of [
    ["transformers 5", "model.language_model.", ""],
    ["transformers 4", "language_model.model.", "language_model."],
  ]
) {
  Deno.test(`gemma3's text loads below a vision model of ${what}, without a soft cap`, async () => {
    const raw = await rawConfig("hub/config.json");
    const text = { ...raw.text_config as object, final_logit_softcapping: CAP };
    const changed = { ...raw, text_config: text };
    const folder = await writeModel(
      await wrappedTensors(FOLDER.pathname, inside, outside),
      changed,
    );
    try {
      const { build, notes } = configure(changed);
      assert.ok(notes.some((note) => note.startsWith("final_logit_softcapping 6 has no effect")));
      assert.ok(notes.some((note) => note.includes("vision_config left out")));
      const checkpoint = await Checkpoint.open(folder);
      const { graph, unusedTensors } = build(checkpoint);
      assert.equal(unusedTensors.length, 2);
      const golden = await readSafetensors(new URL("golden.safetensors", FOLDER));
      const numbers = (name: string) =>
        Array.from(golden.get(name)?.data as ArrayLike<number | bigint>, Number);
      const got = await logitsOf(graph, checkpoint, numbers("p0.input_ids"));
      await checkpoint.close();
      const capped = Array.from(got, (each) => CAP * Math.tanh(each / CAP));
      assert.ok(relativeError(capped, numbers("p0.logits")) < TOLERANCES.logitsF32);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });
}

const LINEAR = { rope_type: "linear", factor: 8 };

/** Keys of a config.json, and the rotary embedding of sliding and of full layers. */
const ROPES: readonly (readonly [Record<string, unknown>, object, object])[] = [
  [{}, { rope_theta: 1e4, rope_type: "default" }, { rope_theta: 1e6, rope_type: "default" }],
  [
    { rope_theta: 5e5, rope_local_base_freq: 2e4, rope_scaling: LINEAR },
    { rope_theta: 2e4, rope_type: "default" },
    { rope_theta: 5e5, ...LINEAR },
  ],
  // The class puts rope_scaling over a set that has a rope_type already.
  [
    { rope_scaling: { type: "linear", factor: 8 } },
    { rope_theta: 1e4, rope_type: "default" },
    { rope_theta: 1e6, rope_type: "default", factor: 8 },
  ],
  // A set for all layers is none.
  [
    { rope_parameters: { ...LINEAR, rope_theta: 7 } },
    { rope_theta: 1e4, rope_type: "default" },
    { rope_theta: 1e6, rope_type: "default" },
  ],
  [
    { rope_parameters: { full_attention: LINEAR }, rope_theta: 3e5 },
    { rope_theta: 1e4, rope_type: "default" },
    { rope_theta: 3e5, ...LINEAR },
  ],
];

for (const [keys, sliding, full] of ROPES) {
  Deno.test(`gemma3 reads ${JSON.stringify(keys)} as its class does`, () => {
    const { config } = configure({ architectures: ["Gemma3ForCausalLM"], ...keys });
    assert.deepEqual(config.rope_parameters, {
      sliding_attention: sliding,
      full_attention: full,
    });
  });
}

Deno.test("gemma3 refuses attention in both directions, and says what it ignores", () => {
  const base = { architectures: ["Gemma3ForCausalLM"] };
  assert.throws(
    () => configure({ ...base, use_bidirectional_attention: true }),
    /use_bidirectional_attention", got true/,
  );
  assert.throws(() => configure({ ...base, sliding_window: null }), /"sliding_window", got none/);
  const { notes } = configure({ ...base, attn_logit_softcapping: 50 });
  assert.deepEqual(notes.slice(1), [
    "attn_logit_softcapping 50 has no effect: gemma3_text does not read it",
  ]);
});
