/**
 * Directives of shaders (`enable`, `diagnostic`): WGSL wants them in front of everything else, fragments have them
 * where they need them, and WebGPU implementations differ in one of them.
 *
 * @module
 */

const DIRECTIVE = /^(?:enable|diagnostic)\b[^;]+;\n+/gm;

/** Subgroup functions and built-in values, in a text without comments. */
const SUBGROUPS = /\bsubgroup[A-Z]|\b(?:subgroup_(?:id|size|invocation_id)|num_subgroups)\b/;

/** The text with its directives in front, each once. */
export function hoistEnables(text: string): string {
  const enables = new Set(text.match(DIRECTIVE)?.map((line) => line.trimEnd()));
  if (enables.size === 0) return text;
  return `${[...enables].join("\n")}\n\n${text.replaceAll(DIRECTIVE, "")}`;
}

/**
 * A shader by the letter of WGSL's specification, which wants `enable subgroups;` in front of
 * subgroup operations. naga, the compiler of Deno's WebGPU, knows them without the directive and
 * refuses it, so shaders are composed without. For Tint, the compiler of Dawn and Chromium.
 *
 * @example
 * ```ts
 * import { standardWgsl } from "./enables.ts";
 * const text = standardWgsl("fn all(x: f32) -> f32 {\n  return subgroupAdd(x);\n}\n");
 * console.assert(text.startsWith("enable subgroups;\n"));
 * ```
 */
export function standardWgsl(wgsl: string): string {
  if (!SUBGROUPS.test(wgsl.replaceAll(/\/\/.*$/gm, ""))) return wgsl;
  return hoistEnables(`enable subgroups;\n\n${wgsl}`);
}
