/**
 * Reference pages of settings, ops, kernels, MoE backends, architectures and tuned tables, from the
 * registries.
 *
 * @module
 */

import {
  camelCase,
  ENVIRONMENT_PREFIX,
  inapplicableSetting,
  inapplicableSettings,
  OTHER_VARIABLES,
  SETTING_NAMES,
  settingsSchema,
  SHORTCUTS,
} from "../dsl/mod.ts";
import { type OpName, OPS, WEIGHT_FORMATS } from "../graph/mod.ts";
import {
  decodeRow,
  gemvRow,
  KERNELS,
  moeBackends,
  type MoeSpec,
  TUNED_ROWS,
} from "../kernels/mod.ts";
import { ARCHITECTURES } from "../models/mod.ts";
import { z } from "../deps/zod.ts";
import { RANDOM_FAMILIES } from "../tests/support/random_configs.ts";
import {
  PACKED_BLOCKS,
  SAME_TEXT,
  VERIFIED_MODELS,
  type VerifiedModel,
} from "../tests/support/verified_models.ts";
import { code, page, table } from "./markdown.ts";

/** The layer for which backends are asked; only its format changes. */
const LAYER: Omit<MoeSpec, "format"> = {
  scope: "model.layers.0.mlp",
  tokens: { min: 1, max: 1 },
  hidden: 2048,
  intermediate: 768,
  experts: 128,
  topK: 8,
  mlp: "gated",
  activation: "silu",
  alpha: 1.702,
  limit: 7,
  applyRoutingOnInput: false,
  activationQuant: "none",
  operands: "f32",
  biasUp: false,
  biasDown: false,
  residual: true,
};

/** Pages by file name. */
export function referencePages(): Readonly<Record<string, string>> {
  return {
    "settings.md": settingsPage(),
    "ops.md": opsPage(),
    "kernels.md": kernelsPage(),
    "backends.md": backendsPage(),
    "architectures.md": architecturesPage(),
    "tuned_tables.md": tunedTablesPage(),
  };
}

function settingsPage(): string {
  const settings = SETTING_NAMES.map((name) => [
    code(name),
    code(camelCase(name)),
    code(ENVIRONMENT_PREFIX + name.toUpperCase()),
    code(JSON.stringify(settingsSchema.shape[name].parse(undefined))),
    settingsSchema.shape[name].description ?? "",
  ]);
  const shortcuts = Object.entries(SHORTCUTS).map(([name, [key, field]]) => [
    code(name),
    code(`transforms.${key}.${field}`),
  ]);
  const others = inapplicableSettings().map((name) => [
    code(name),
    inapplicableSetting(name) ?? "",
  ]);
  return page(
    "Settings",
    "Top-level names of a pipeline file. In TypeScript they are the fields of `settings({ .. })`, on the " +
      "command line `--set name=value`. Null goes back to the default.",
    table(["name", "TypeScript", "environment", "default", "meaning"], settings),
    "Fields of transforms are set by path: `--set transforms.fuse_moe.backend=triton`, or the variable " +
      `${
        code(`${ENVIRONMENT_PREFIX}TRANSFORMS__FUSE_MOE__BACKEND`)
      }. Later layers win: defaults, files in ` +
      "their order, environment, flags.",
    "## Other variables",
    "Variables with the same prefix that set no value of a pipeline. Any other is an error, where the process may list " +
      "its environment (`--allow-env`); with `--allow-env=MIXLINE_*`, as tasks have it, only known names can be read.",
    table(
      ["variable", "for"],
      Object.entries(OTHER_VARIABLES).map(([name, use]) => [code(name), use]),
    ),
    "## Short names",
    table(["name", "stands for"], shortcuts),
    "## Not applicable on WebGPU",
    "Names of TensorRT-LLM AutoDeploy that are accepted, reported once, and carried through to exports.",
    table(["name", "why"], others),
  );
}

function opsPage(): string {
  const names = Object.keys(OPS) as OpName[];
  const rows = names.map((name) => [
    code(name),
    OPS[name].inputs.map(code).join(", "),
    OPS[name].summary,
  ]);
  return page(
    "Ops",
    "Every operation a graph may have. A name with `?` may be absent, one with `[]` is a list.",
    table(["op", "inputs", "result"], rows),
  );
}

function kernelsPage(): string {
  const rows = KERNELS.map(({ op, name, summary }) => [code(op), code(name), summary]);
  return page(
    "WebGPU kernels",
    "What runs an op on WebGPU. Of several kernels of one op the first that does not refuse the node is " +
      "taken. The CPU executor runs every op of the op table.",
    table(["op", "kernel", "what it does"], rows),
  );
}

function backendsPage(): string {
  const backends = moeBackends();
  const formats = WEIGHT_FORMATS.map((format) => [
    code(format),
    ...backends.map((backend) => backend.supports({ ...LAYER, format }) ?? "yes"),
  ]);
  return page(
    "MoE backends",
    "Implementations of `fused_moe`, chosen by `transforms.fuse_moe.backend`. `registerMoeBackend` adds one.",
    table(["backend", "algorithm"], backends.map(({ name, summary }) => [code(name), summary])),
    "## Formats of expert weights",
    "Which backend supports each format, for a layer of 128 gated experts, 8 of them chosen, 2048 wide.",
    table(["format", ...backends.map(({ name }) => code(name))], formats),
  );
}

function tunedTablesPage(): string {
  const rows = { ...TUNED_ROWS, linear: gemvRow, attention: decodeRow };
  const blocks = Object.entries(rows).flatMap(([name, schema]) => [
    `## ${name}`,
    table(["field", "value", "meaning"], fieldsOf(schema.shape)),
  ]);
  return page(
    "Tuned tables",
    `A row of a tuned table; [Tuning](../tuning.md) says what tables are for. A field that is not here is an error.`,
    ...blocks,
  );
}

/** The fields of a row, those of a nested object with its name in front. */
function fieldsOf(shape: z.core.$ZodLooseShape, prefix = ""): string[][] {
  return Object.entries(shape).flatMap(([name, field]) => {
    const schema = z.toJSONSchema(field, { io: "input" });
    const whole = `${prefix}${name}`;
    const inner = field instanceof z.ZodOptional ? field.unwrap() : field;
    const nested = inner instanceof z.ZodObject ? fieldsOf(inner.shape, `${whole}.`) : [];
    const values = schema.enum ?? (schema.const === undefined ? [] : [schema.const]);
    const value = nested.length > 0
      ? "an object"
      : values.map((each) => code(String(each))).join(", ");
    const row = [code(whole), value || "a whole number", schema.description ?? ""];
    // The tile of the second product has the fields of the first.
    if (schema.description === undefined) return nested;
    return name === "DOWN" ? [row] : [row, ...nested];
  });
}

/** Marks of what a golden model has besides logits, greedy tokens and the hub's files, by its letter. */
const VERIFIED: readonly (readonly [keyof VerifiedModel, string, string])[] = [
  [
    "inside",
    "i",
    "values inside: hidden states, logits, choices and weights of routers, on the CPU; the choices on WebGPU too; and " +
    "each block with experts alone, from transformers' input to its output, on the CPU (eager and fused) and on WebGPU " +
    "with both backends, for 1, 5 and 39 tokens",
  ],
  ["legacy", "4", "the config as transformers 4 wrote it, on the CPU (eager) and on WebGPU"],
  [
    "kept",
    "k",
    "experts stacked and named as in transformers' memory, on the CPU (eager) and on WebGPU",
  ],
  ["wrapped", "v", "the text of the published vision model, on the CPU (eager) and on WebGPU"],
];

function verifiedBy({ name, hfNames }: (typeof ARCHITECTURES)[number]): string {
  const models = Object.entries(VERIFIED_MODELS).flatMap(([folder, model]) => {
    if (model.architecture !== name) return [];
    const marks = VERIFIED.flatMap(([field, mark]) => model[field] ? [mark] : []);
    return [marks.length > 0 ? `${code(folder)} (${marks.join(" ")})` : code(folder)];
  });
  const same = SAME_TEXT[name];
  if (same !== undefined) models.push(`${code(same)} by its names, on the CPU`);
  const formats = PACKED_BLOCKS.filter(([model]) => VERIFIED_MODELS[model].architecture === name)
    .map(([, , format]) => code(format));
  if (formats.length > 0) models.push(`experts in ${[...new Set(formats)].join(" and ")}`);
  const isRandom = RANDOM_FAMILIES.some((each) => hfNames.includes(each));
  return [...models, ...isRandom ? ["random models"] : []].join(", ");
}

function architecturesPage(): string {
  const rows = ARCHITECTURES.map((each) => [
    code(each.name),
    each.hfNames.map(code).join(", "),
    each.features.join(", "),
    verifiedBy(each),
  ]);
  return page(
    "Architectures",
    "Models that load, by `architectures` of their `config.json`.",
    table(["name", "in config.json", "what is implemented", "verified by"], rows),
    "## Golden models",
    "Each of the models named above is in `tests/golden`, with what transformers computes with it. Tests find " +
      "transformers' logits (1e-3 of the largest, cache in f32), chosen experts where they are known, and greedy tokens: " +
      "on the CPU through the public pipeline, and of the fused graph on WebGPU with the backends `triton` and `trtllm`; " +
      "each with prompts at once, in chunks and token by token. The eager graph's greedy tokens are theirs too, on the " +
      "CPU. A tensor of each kind, when it is missing, misspelled or of another shape, is named in the error with the " +
      "nearest name, as is a tensor too many in a warning. Experts in a packed format: blocks alone of a model of the " +
      "architecture, on WebGPU with one or both backends, against the same graph on the CPU. A letter says what is compared besides:",
    table(["mark", "what is compared"], VERIFIED.map(([, mark, what]) => [mark, what])),
    "## Random models",
    "The fused graph computes what the eager one does for random configs of the architecture. The tests there do not ask transformers; on 2026-11-26 370 models of such configs, of 27 architectures, were compared with transformers 5.18.0 on the CPU once, eager and fused: logits agree within 1e-3 of the largest in 368, and two of DBRX were refused by name. On 2026-11-27 746 models of 41 architectures that transformers 5.18.0 accepts were compared, eager and fused on the CPU, with all spellings of the rotary embedding, keys left out, null, and keys of other families: 740 agree within 1e-3, what had not was mended; six are refused by name (a fraction of a head in families that turn whole heads, more groups kept than there are).",
  );
}
