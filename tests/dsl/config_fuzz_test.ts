/**
 * Ten thousand configurations with random mistakes: each gives a valid pipeline or an error that says
 * where, in little time and few words. `MIXLINE_FUZZ=100000` tries that many of each kind, from a seed of
 * the day.
 *
 * @module
 */

import assert from "node:assert/strict";
import { pipeline } from "../../dsl/pipeline.ts";
import { renderError } from "../../cli/render.ts";
import { styleOf } from "../../cli/terminal.ts";
import { ConfigError } from "../../graph/mod.ts";
import { cpuTimer } from "../support/cpu_time.ts";
import { mutateText, seededRandom } from "../support/mutate_text.ts";
import { IS_QUICK } from "../support/quick.ts";

const CONFIGS = new URL("../../configs/", import.meta.url);

/** Texts that are right, with what configurations have in them: lists, flow style, anchors, quotes. */
const RIGHT: readonly string[] = [
  ...["default.yaml", "exact.yaml", "per_layer.yaml", "trtllm.yaml"].map((name) =>
    Deno.readTextFileSync(new URL(name, CONFIGS))
  ),
  Deno.readTextFileSync(new URL("../golden/autodeploy/gpt_oss_20b.yaml", import.meta.url)),
  `model: "demo/storyteller"
max_seq_len: 512
max_batch_size: 4
kv_cache_dtype: fp8
world_size: 1
transforms:
  fuse_moe: &moe
    backend: triton
    overrides:
      - { match: "model.layers.0.*", backend: trtllm }
      - match: 'model.layers.[12].*'
        backend: reference
  quantize_moe: { enabled: true, format: int4, layers: "*.mlp" }
  fuse_residual: { enabled: false, after: [fuse_gemms] }
  fuse_fp8_moe: *moe
`,
  `{"yaml_default": null, "model": "x", "transforms": {"build_model": {}, "export_to_gm": {"stage": "export"}, "fuse_moe": {"backend": "auto", "overrides": [{"match": "a.*", "backend": "triton"}]}}}\n`,
];

const FLAGS: readonly string[] = [
  "transforms.fuse-moe.backend=triton",
  "max_seq_len=512",
  "model=demo/storyteller",
  "transforms.quantize_moe={enabled: true, format: int4, layers: '*.mlp'}",
  "transforms.fuse_moe.overrides=[{match: 'a.*', backend: trtllm}]",
  "--model=x",
];

/** How many mistakes are tried, in files and elsewhere. */
const wanted = Deno.env.get("MIXLINE_FUZZ");
const counts = {
  files: Number(wanted ?? (IS_QUICK ? 150 : 6000)),
  texts: Number(wanted ?? (IS_QUICK ? 150 : 500)),
};
const firstSeed = Deno.env.has("MIXLINE_FUZZ") ? Math.floor(Date.now() / 86_400_000) * 100_000 : 1;

/** What one mistake may cost at most; the slowest seen is a tenth of it. */
const LIMITS = { milliseconds: 3000, characters: 20_000 };

Deno.test("the texts that mistakes are put into have none", () => {
  for (const text of RIGHT) pipeline.fromYaml(text).resolve();
  for (const flag of FLAGS) pipeline.fromFlags([flag]).resolve();
});

Deno.test("pipeline.fromYaml() of a text with mistakes is a pipeline, or an error with its place", () => {
  for (let seed = firstSeed; seed < firstSeed + counts.files; seed++) {
    const random = seededRandom(seed);
    // With a line break a source is a text, never a file's name.
    const text = `${mutateText(RIGHT[Math.floor(random() * RIGHT.length)], random)}\n`;
    const error = attempt(`seed ${seed}`, () => pipeline.fromYaml(text));
    if (error === undefined) continue;
    const { line, column, file } = error.details;
    const lines = text.split("\n");
    assert.equal(file, "yaml", `seed ${seed}: ${error.message}`);
    assert.ok(
      Number(line) >= 1 && Number(line) <= lines.length,
      `seed ${seed}: line ${line} of ${lines.length}: ${error.message}`,
    );
    assert.ok(
      Number(column) >= 1 && Number(column) <= lines[Number(line) - 1].length + 1,
      `seed ${seed}: column ${column} of line ${line}: ${error.message}`,
    );
  }
});

Deno.test("pipeline.fromFlags() and fromEnvironment() of texts with mistakes name flag or variable", () => {
  for (let seed = firstSeed; seed < firstSeed + counts.texts; seed++) {
    const random = seededRandom(seed);
    const flag = mutateText(FLAGS[Math.floor(random() * FLAGS.length)], random);
    const error = attempt(`seed ${seed}`, () => pipeline.fromFlags([flag]));
    if (error) assert.match(error.message, / in -/, `seed ${seed}: ${error.message}`);
    const value = flag.slice(flag.indexOf("=") + 1).replaceAll("\0", "");
    const variables = { MIXLINE_MODEL: value, MIXLINE_TRANSFORMS__FUSE_MOE__OVERRIDES: value };
    const wrong = attempt(`seed ${seed}`, () => pipeline.fromEnvironment(variables));
    if (wrong) assert.match(wrong.message, / in MIXLINE_/, `seed ${seed}: ${wrong.message}`);
  }
});

/** Builds, resolves and writes a pipeline; gives the error, and fails for any other one. */
function attempt(
  label: string,
  build: () => ReturnType<typeof pipeline>,
): ConfigError | undefined {
  const computed = cpuTimer();
  let error: ConfigError | undefined;
  try {
    const built = build();
    built.resolve();
    const written = built.toYaml();
    assert.ok(pipeline.fromYaml(`${written}\n`).equals(built), `${label}: ${written}`);
  } catch (thrown) {
    if (!(thrown instanceof ConfigError)) throw new Error(`${label}: ${thrown}`, { cause: thrown });
    error = thrown;
    const shown = renderError(error, styleOf(false));
    const where = `${label}: ${JSON.stringify(shown)}`;
    assert.ok(shown.length <= LIMITS.characters, `${label}: ${shown.length} characters`);
    assert.ok(JSON.stringify(error).length <= 2 * LIMITS.characters, `${label}: as JSON`);
    assert.doesNotMatch(shown, /bug in Mixline|\.ts:\d+|\[object|undefined/, where);
    assert.doesNotMatch(shown.replaceAll("\n", ""), /[\p{Cc}\p{Cf}]/u, where);
  }
  const took = computed();
  assert.ok(took < LIMITS.milliseconds, `${label}: took ${took.toFixed(0)} ms`);
  return error;
}
