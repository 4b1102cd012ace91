/** Config values that load and mean nothing are refused by key. */

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { CheckpointError } from "../../../graph/mod.ts";
import {
  findArchitecture,
  normalizeConfig,
  ropeFrequencies,
  type RopeParameters,
} from "../../../models/mod.ts";

const GOLDEN = new URL("../../golden/", import.meta.url);

async function configure(model: string, changes: Record<string, unknown>) {
  const file = fileURLToPath(new URL(`${model}/config.json`, GOLDEN));
  // Changes to undefined are keys that are left out, as in a file.
  const whole = { ...JSON.parse(await Deno.readTextFile(file)), ...changes };
  const config = JSON.parse(JSON.stringify(whole));
  const raw = normalizeConfig(config, file);
  return findArchitecture(raw, file).configure(raw, file);
}

/** Models of all families that choose among groups of experts. */
const GROUPED = [
  ...["deepseek_v2_grouped", "deepseek_v3", "dots1", "exaone_moe", "glm4_moe", "glm4_moe_lite"],
  ...["mimo_v2_flash", "solar_open"],
];

/** A number of experts, under the names of all families. */
function experts(count: number): Record<string, unknown> {
  return { n_routed_experts: count, num_experts: count };
}

/** A model, changed keys, and the end of the message. */
const REFUSED: readonly (readonly [string, Record<string, unknown>, string])[] = [
  ["gpt_oss", { layer_types: ["full_attention"] }, '(3) entries for key "layer_types", got 1'],
  ["gpt_oss", { layer_types: [] }, 'entries for key "layer_types", got 0'],
  [
    "gpt_oss",
    { sliding_window: null },
    'expected a number of tokens for key "sliding_window", got none',
  ],
  [
    "gpt_oss",
    { sliding_window: null, layer_types: null },
    'expected a value of type number for key "sliding_window", got none',
  ],
  [
    "exaone_moe",
    { sliding_window: null },
    'expected a number of tokens for key "sliding_window", got none',
  ],
  [
    "gpt_oss",
    { sliding_window: 5e9 },
    'expected at most 2147483647 for key "sliding_window", got 5000000000',
  ],
  [
    "qwen3_moe",
    { rms_norm_eps: 1e300 },
    'expected at most 1 for key "rms_norm_eps", got 1e+300',
  ],
  ["qwen3_moe", { rms_norm_eps: 2 }, 'expected at most 1 for key "rms_norm_eps", got 2'],
  ["olmoe", { clip_qkv: 1e39 }, 'expected a number that f32 holds for key "clip_qkv", got 1e+39'],
  [
    "qwen3_moe",
    { rope_parameters: { rope_type: "default", rope_theta: 1e300 } },
    'expected a number that f32 holds for key "rope_parameters.rope_theta", got 1e+300',
  ],
  ...GROUPED.flatMap((model): [string, Record<string, unknown>, string][] => [
    [
      model,
      { ...experts(6), n_group: 4, topk_group: 1 },
      'expected a divisor of the number of experts (6) for key "n_group", got 4',
    ],
    [
      model,
      { ...experts(6), n_group: 2, topk_group: 3 },
      'expected at most n_group (2) for key "topk_group", got 3',
    ],
  ]),
];

for (const [model, changes, message] of REFUSED) {
  Deno.test(`${model} with ${JSON.stringify(changes)} is refused`, async () => {
    await assert.rejects(configure(model, changes), (error: unknown) => {
      assert.ok(error instanceof CheckpointError && error.hint);
      assert.match(error.message, /^Cannot read config ".*config\.json": /);
      assert.ok(error.message.endsWith(message), error.message);
      return true;
    });
  });
}

Deno.test("rope parameters that give no frequencies are refused, and those of real models are not", () => {
  const refused = [
    { rope_type: "yarn", rope_theta: 1, factor: 2, truncate: true },
    { rope_type: "linear", rope_theta: 10000, factor: 1e-300 },
    { rope_type: "linear", rope_theta: 10000, factor: 1e-6 },
  ] as const;
  for (const parameters of refused) {
    assert.throws(() => ropeFrequencies(parameters, 64, 512), (error: unknown) => {
      assert.ok(error instanceof CheckpointError && error.hint);
      assert.match(error.message, /^Cannot use rope_parameters .*: expected frequencies/);
      return true;
    });
  }
  const { inverse } = ropeFrequencies({ rope_type: "default", rope_theta: 1e7 }, 128, 10_485_760);
  assert.equal(inverse.length, 64);
});

Deno.test("longrope wants a factor for each pair of a head", () => {
  const parameters: RopeParameters = {
    rope_type: "longrope",
    ...{ rope_theta: 1e4, original_max_position_embeddings: 8 },
    ...{ short_factor: [1, 2, 3], long_factor: [1, 2, 3, 4] },
  };
  assert.throws(
    () => ropeFrequencies(parameters, 8, 64),
    /expected 4 factors, one for each pair of a head, got 3$/,
  );
  assert.equal(ropeFrequencies(parameters, 8, 64, 64).inverse.length, 4);
});

Deno.test("model_type decides where architectures is missing", async () => {
  for (const architectures of [undefined, null]) {
    const { config } = await configure("qwen3_moe", { architectures });
    assert.deepEqual(config.architectures, ["Qwen3MoeForCausalLM"]);
  }
  await assert.rejects(
    configure("qwen3_moe", { architectures: undefined, model_type: "mamba" }),
    /got no architectures and model_type "mamba"$/,
  );
});

Deno.test("a missing sliding_window is that of the class, or none where no layer slides", async () => {
  const { config } = await configure("gpt_oss", { sliding_window: undefined });
  assert.equal(Reflect.get(config, "sliding_window"), 128);
  const full = { sliding_window: null, layer_types: Array(3).fill("full_attention") };
  const open = await configure("gpt_oss", full);
  assert.equal(Reflect.get(open.config, "sliding_window"), undefined);
});

Deno.test("groups that a family does not read are no reason to refuse a config", async () => {
  const groups = { ...experts(6), n_group: 4, topk_group: 9 };
  for (const model of ["qwen3_moe", "deepseek_v2"]) {
    const { notes } = await configure(model, { ...groups, topk_method: "greedy" });
    const named = notes.some((note) => note.startsWith("n_group 4 has no effect"));
    assert.equal(named, model === "qwen3_moe", `${notes}`);
  }
});
