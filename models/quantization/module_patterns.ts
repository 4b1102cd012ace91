/**
 * Lists of modules in quantization configs: names, parts of paths, globs with `*` and `?`, and `re:`
 * patterns.
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import type { QuantizationSource } from "./quantization.ts";
import { sourceError } from "./source.ts";

/** A list of modules; absent is empty. Writers also give a single name. */
export const moduleListSchema = z.union([z.array(z.string()), z.string()], {
  error: "a list of module names",
}).nullish().transform((list) => list === undefined || list === null ? [] : [list].flat());

/** Keys under which writers list the modules they left plain. */
const EXCLUDE_KEYS = [
  "modules_to_not_convert",
  "ignored_layers",
  "ignore",
  "exclude_modules",
  "exclude",
] as const;

/** Schema fields of the lists of modules that were left plain. */
export const excludeFields = {
  modules_to_not_convert: moduleListSchema,
  ignored_layers: moduleListSchema,
  ignore: moduleListSchema,
  exclude_modules: moduleListSchema,
  exclude: moduleListSchema,
};

/** The modules that a config left plain, under whichever keys. */
export function excludedModules(
  config: Readonly<Partial<Record<(typeof EXCLUDE_KEYS)[number], string[]>>>,
): string[] {
  return [...new Set(EXCLUDE_KEYS.flatMap((key) => config[key] ?? []))];
}

/**
 * True for modules that an entry of a list names. An entry is a path or whole parts of one, in which
 * `*` stands for any characters and `?` for one, or `re:` and a regular expression that the path
 * begins with, as Python's `re.match` has it.
 *
 * @example
 * ```ts
 * import { moduleMatcher } from "./module_patterns.ts";
 * const from = { folder: "m", source: "config.json", value: {} };
 * const matches = moduleMatcher(["re:.*gate$", "layers.*.self_attn"], from);
 * console.assert(matches("model.layers.0.mlp.gate") && matches("model.layers.0.self_attn.q_proj"));
 * console.assert(!matches("model.layers.0.mlp.experts.0.gate_proj"));
 * ```
 */
export function moduleMatcher(
  entries: readonly string[],
  from: QuantizationSource,
): (module: string) => boolean {
  const patterns = entries.map((entry) => patternOf(entry, from));
  return (module) => patterns.some((pattern) => pattern.test(module));
}

function patternOf(entry: string, from: QuantizationSource): RegExp {
  if (entry.startsWith("re:")) return modulePattern(entry.slice(3), from);
  const escaped = entry.replaceAll(/[.+^${}()|[\]\\]/g, "\\$&");
  const glob = escaped.replaceAll("*", ".*").replaceAll("?", ".");
  return new RegExp(`(^|\\.)${glob}($|\\.)`);
}

/** A regular expression that a module's path begins with. */
export function modulePattern(text: string, from: QuantizationSource): RegExp {
  try {
    return new RegExp(`^(?:${text})`);
  } catch {
    throw sourceError(from, "", "a list of modules with valid regular expressions", text);
  }
}
