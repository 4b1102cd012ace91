/**
 * Puts WGSL together: constants, buffer declarations, library fragments and the kernel's own text.
 * WGSL does not care about the order of declarations, so composing is concatenating; what is added
 * is `$NAME` substitution in fragments, `@repeat`, which writes a loop's body out, and that `enable`
 * directives of fragments come first, where WGSL wants them.
 *
 * naga refuses pointers to storage as parameters, so a fragment that reads a buffer is instantiated
 * once for each buffer instead of being called with it. naga also counts the turns of every loop,
 * clamps every index that is not a constant and never unrolls; `@repeat` avoids all three.
 *
 * @module
 */

import { invariant, KernelError } from "../graph/mod.ts";
import { hoistEnables } from "./enables.ts";
import { checkFragments, readFragment } from "./fragment.ts";
import type { Binding } from "./kernel.ts";

/**
 * Values of module constants: a number becomes a `u32`, a boolean a `bool`, a string is taken as
 * the literal it is (see {@linkcode f32Literal}).
 */
export type ShaderConstants = Readonly<Record<string, number | boolean | string>>;

/** One entry of bind group 0: what is bound, and how the shader sees it. */
export interface ShaderBuffer extends Binding {
  /** Name of the WGSL variable. */
  readonly name: string;
  /** WGSL type, such as `array<vec4<u32>>`. */
  readonly type: string;
}

/** Everything one shader is made of. */
export interface ShaderParts {
  /** Seen by the kernel's text and by all fragments, and by `@repeat` as counts. */
  readonly constants?: ShaderConstants;
  /** In the order of their binding numbers. */
  readonly buffers: readonly ShaderBuffer[];
  /** Texts of fragments; equal texts are taken once. */
  readonly fragments?: readonly string[];
  /** The kernel's own text, with entry point `main`. */
  readonly body: string;
}

/** A complete shader and its bindings in order, as a `Dispatch` wants them. */
export interface Shader {
  readonly wgsl: string;
  readonly bindings: readonly Binding[];
}

/**
 * Composes a shader.
 *
 * @example
 * ```ts
 * import { composeShader } from "./compose.ts";
 * const { wgsl } = composeShader({
 *   constants: { ROWS: 2 },
 *   buffers: [],
 *   body: "//@repeat r ROWS\nvar<private> sum_$r: f32;\n//@end",
 * });
 * console.assert(wgsl.includes("var<private> sum_1: f32;"));
 * ```
 */
export function composeShader(parts: ShaderParts): Shader {
  const constants = parts.constants ?? {};
  const fragments = [...new Set([...parts.fragments ?? [], parts.body])].map(readFragment);
  checkFragments(fragments, [
    ...Object.keys(constants),
    ...parts.buffers.map(({ name }) => name),
  ]);
  const sections = [
    Object.entries(constants).map(([name, value]) => declareConstant(name, value)).join("\n"),
    parts.buffers.map(declareBuffer).join("\n"),
    ...fragments.map(({ text }) => text),
  ];
  const text = sections.map((section) => section.trim()).filter(Boolean).join("\n\n") + "\n";
  return {
    wgsl: hoistEnables(keepsBlocks ? text : expand(text, constants)),
    bindings: parts.buffers.map(({ buffer, access, range, order }) => ({
      ...{ buffer, access },
      ...(range && { range }),
      ...(order && { order }),
    })),
  };
}

/** Whether shaders are composed for records. */
let keepsBlocks = false;

/**
 * Runs a function whose shaders keep their `@repeat` blocks: for records, in which one change should
 * be one line. Such shaders do not compile.
 */
export function withBlocks<T>(run: () => T): T {
  keepsBlocks = true;
  try {
    return run();
  } finally {
    keepsBlocks = false;
  }
}

/** Writes out the blocks of a text, and the numbers of constants within names. */
function expand(text: string, constants: ShaderConstants): string {
  return expandLines(text.split("\n"), constants).join("\n").replaceAll(
    /\$([A-Z][A-Z_]*[A-Z])/g,
    (_, name: string) => String(constants[name]),
  );
}

/**
 * A fragment with its parameters filled in: `$NAME` stands for the given text.
 *
 * @example
 * ```ts
 * import { instantiate } from "./compose.ts";
 * const text = instantiate("fn $NAME_at(i: u32) -> f32 { return $NAME[i]; }", { NAME: "bias" });
 * console.assert(text === "fn bias_at(i: u32) -> f32 { return bias[i]; }");
 * ```
 */
export function instantiate(fragment: string, names: Readonly<Record<string, string>>): string {
  let text = fragment;
  for (const [name, value] of Object.entries(names)) text = text.replaceAll(`$${name}`, value);
  return text;
}

/** Largest number that f32 holds. */
const LARGEST_F32 = 3.4028234663852886e38;

/**
 * An f32 constant, exact to the last bit.
 *
 * @throws {KernelError} `kernel/no-f32` for a number that f32 does not hold; `what` names it.
 */
export function f32Literal(value: number, what = "a number"): string {
  const rounded = Math.fround(value);
  if (!Number.isFinite(rounded)) {
    throw new KernelError(
      "kernel/no-f32",
      `Cannot write a shader: expected ${what} that f32 holds, got ${value}`,
      { hint: "Correct it in the model's config.json, or use --executor cpu", details: { value } },
    );
  }
  const text = String(rounded);
  return /[.e]/.test(text) ? `${text}f` : `${text}.0f`;
}

/** A bound of values as an f32 constant: beyond what f32 holds it bounds nothing, as the largest does. */
export function f32Bound(value: number): string {
  return f32Literal(Math.min(Math.max(value, -LARGEST_F32), LARGEST_F32), "a bound");
}

/** The lowest f32: below every score, and finite, so that differences of two are no NaN. */
export const LOWEST_F32 = -3.4028234663852886e38;

/** {@linkcode LOWEST_F32} as a shader's constant. */
export const LOWEST: string = f32Literal(LOWEST_F32);

function declareConstant(name: string, value: number | boolean | string): string {
  if (typeof value === "string") return `const ${name} = ${value};`;
  if (typeof value === "boolean") return `const ${name} = ${value};`;
  invariant(Number.isInteger(value) && value >= 0 && value < 2 ** 32, `${name} = ${value}: no u32`);
  return `const ${name} = ${value}u;`;
}

function declareBuffer(buffer: ShaderBuffer, index: number): string {
  const space = buffer.access === "uniform" ? "uniform" : `storage, ${buffer.access}`;
  return `@group(0) @binding(${index}) var<${space}> ${buffer.name}: ${buffer.type};`;
}

/**
 * Writes out `//@repeat x COUNT` … `//@end`: the lines between, COUNT times, `$x` replaced by 0, 1,
 * 2, …; blocks nest. COUNT is a constant's name or a number, and may hold the `$x` of a block around
 * it. Names of variables may hold `$x`, and `$CONSTANT` for the number of a constant.
 */
function expandLines(lines: readonly string[], constants: ShaderConstants): string[] {
  const out: string[] = [];
  for (let at = 0; at < lines.length; at++) {
    const repeat = /^\s*\/\/@repeat (\w+) (\w+)\s*$/.exec(lines[at]);
    if (!repeat) {
      out.push(lines[at]);
      continue;
    }
    const [, variable, countName] = repeat;
    const count = Number(constants[countName] ?? countName);
    invariant(Number.isInteger(count) && count >= 0, `@repeat has no count "${countName}"`);
    const end = endOfBlock(lines, at);
    const body = lines.slice(at + 1, end);
    const pattern = new RegExp(`\\$${variable}(?![A-Za-z])`, "g");
    for (let i = 0; i < count; i++) {
      const lines = body.map((line) => line.replace(pattern, String(i)));
      out.push(...expandLines(lines, constants));
    }
    at = end;
  }
  return out;
}

/** Line of the `//@end` that closes the block which begins at a line. */
function endOfBlock(lines: readonly string[], begin: number): number {
  let depth = 0;
  for (let at = begin; at < lines.length; at++) {
    if (/^\s*\/\/@repeat\b/.test(lines[at])) depth++;
    else if (/^\s*\/\/@end\b/.test(lines[at]) && --depth === 0) return at;
  }
  invariant(false, `"${lines[begin].trim()}" has no @end`);
}
