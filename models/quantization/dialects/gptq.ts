/**
 * `quant_method: gptq`: AutoGPTQ, GPTQModel, and AutoRound's exports in that form.
 * Format: https://github.com/ModelCloud/GPTQModel (`gptqmodel/nn_modules/qlinear`, `utils/model.py`):
 * `qweight` i32 [columns · bits / 32, rows], `qzeros` i32 [groups, rows · bits / 32], `scales`
 * [groups, rows], `g_idx` [columns]; value = (code - zero) · scale. The first version stores zero - 1.
 *
 * @module
 */

import { z } from "../../../deps/zod.ts";
import {
  excludedModules,
  excludeFields,
  moduleMatcher,
  modulePattern,
} from "../module_patterns.ts";
import type { Dialect, QuantizationSource, Scheme } from "../quantization.ts";
import { integerScheme } from "../schemes/integer.ts";
import { parseSource, sourceError } from "../source.ts";

const rulesSchema = z.looseObject({
  bits: z.int().optional(),
  group_size: z.int().optional(),
  desc_act: z.boolean().optional(),
  sym: z.boolean().optional(),
});

const schema = z.looseObject({
  bits: z.int(),
  group_size: z.int().default(128),
  desc_act: z.boolean().default(false),
  sym: z.boolean().default(true),
  checkpoint_format: z.string().default("gptq"),
  packing_format: z.string().optional(),
  dynamic: z.record(z.string(), rulesSchema).optional(),
  /** AutoRound's: widths of single modules; those of 16 bits are plain. */
  extra_config: z.record(z.string(), z.looseObject({ bits: z.int().optional() })).optional(),
  ...excludeFields,
});

type Config = z.output<typeof schema>;
type Rules = Required<z.output<typeof rulesSchema>>;

/** A rule for the modules that a pattern takes; undefined leaves them plain. */
interface DynamicRule {
  readonly pattern: RegExp;
  readonly scheme: Scheme | undefined;
}

/** See the module's documentation. */
export const gptq: Dialect = {
  name: "gptq",
  methods: ["gptq", "auto-round"],
  writers: "AutoGPTQ, GPTQModel, AutoRound (`auto_gptq` packing)",
  reads: [
    "4 and 8 bits in groups or by row, `sym` or not, zero points of both versions (`gptq`, `gptq_v2`)",
    "`desc_act`: columns whose groups are scattered are expanded to f32",
    "`dynamic` rules (`+:` and `-:` patterns) for single modules, AutoRound's `extra_config` of 16 bits",
  ],
  read(from) {
    const config = parseSource(schema, from);
    const zeroAdd = firstVersion(config, from) ? 1 : 0;
    const scheme = schemeOf(config, zeroAdd, from);
    const rules = Object.entries(config.dynamic ?? {}).map(([key, rule]): DynamicRule => {
      const pattern = modulePattern(key.replace(/^[+-]:/, ""), from);
      if (key.startsWith("-:")) return { pattern, scheme: undefined };
      const at = { ...from, source: `dynamic rule "${key}" of ${from.source}` };
      return { pattern, scheme: schemeOf({ ...config, ...rule }, zeroAdd, at) };
    });
    const plain = Object.entries(config.extra_config ?? {})
      .filter(([, { bits = config.bits }]) => bits >= 16).map(([module]) => module);
    const exclude = [...excludedModules(config), ...plain];
    const isExcluded = moduleMatcher(exclude, from);
    const ruleOf = (module: string) => rules.find(({ pattern }) => pattern.test(module));
    return {
      dialect: "gptq",
      source: from.source,
      formats: labelsOf(config, rules, scheme),
      exclude: [
        ...exclude,
        ...rules.filter((rule) => !rule.scheme).map(({ pattern }) => `re:${pattern.source}`),
      ],
      schemeOf: (module) => ruleOf(module)?.scheme ?? scheme,
      isExcluded(module) {
        const rule = ruleOf(module);
        return isExcluded(module) || (rule !== undefined && rule.scheme === undefined);
      },
    };
  },
};

/** Whether zero points are stored one too small. */
function firstVersion(config: Config, from: QuantizationSource): boolean {
  const packing = config.packing_format?.replace(/^auto_round:/, "");
  const format = packing ?? config.checkpoint_format;
  if (format === "gptq" || format === "auto_gptq") return true;
  if (format === "gptq_v2") return false;
  const key = packing === undefined ? "checkpoint_format" : "packing_format";
  throw sourceError(
    from,
    key,
    '"gptq" or "gptq_v2"',
    format,
    "Export the model with checkpoint_format gptq, or take the unquantized one and add quantize_moe",
  );
}

function schemeOf(rules: Rules, zeroAdd: 0 | 1, from: QuantizationSource): Scheme {
  const { bits, group_size: groupSize, desc_act: scattered, sym } = rules;
  if (bits !== 4 && bits !== 8) throw sourceError(from, "bits", "4 or 8", bits);
  if (groupSize !== -1 && groupSize < 1) {
    throw sourceError(from, "group_size", "a positive number or -1", groupSize);
  }
  const size = groupSize === -1 ? 0 : groupSize;
  return integerScheme({
    bits,
    groupSize: size,
    codes: "qweight",
    packing: { bits, along: 0, transposed: true },
    scales: "scales",
    scalesTransposed: true,
    zeros: { tensor: "qzeros", packing: { bits, along: 1, transposed: true }, add: zeroAdd },
    ...(sym && { symmetric: { source: `sym: true in ${from.source}` } }),
    groupIndex: "g_idx",
    scattered: scattered && size !== 0,
    source: `desc_act: false in ${from.source}`,
  });
}

function labelsOf(config: Config, rules: readonly DynamicRule[], scheme: Scheme): string[] {
  const span = config.group_size === -1 ? "by row" : `in groups of ${config.group_size}`;
  const order = config.desc_act && config.group_size !== -1 ? ", scattered: f32" : "";
  const others = rules.flatMap((rule) => rule.scheme ? [`${rule.scheme.format} (dynamic)`] : []);
  return [...new Set([`${scheme.format} ${span}${order}`, ...others])];
}
