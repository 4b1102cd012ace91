/**
 * Fragments: texts that a shader is put together from. A fragment says in its first lines who it is,
 * which names it needs from elsewhere, and which of the names it declares are for others:
 *
 * ```wgsl
 * //@fragment linear/gemm_store_vec4
 * //@needs N y finish_quad bias_quad residual_quad
 * //@gives store_quad
 * ```
 *
 * What it needs may come from another fragment, a constant or a buffer. A name with `$i` in it, such
 * as `HEIGHT_$h`, stands for `HEIGHT_0`, `HEIGHT_1` and so on. Names that are declared and not given
 * are the fragment's own. A text without these lines, as TypeScript writes them for one shader, gives
 * all that it declares and needs all that it uses.
 *
 * Nothing here needs a GPU. The directives do not reach the shader.
 *
 * @module
 */

import { KernelError } from "../graph/mod.ts";
import { WGSL_WORDS } from "./wgsl_words.ts";

/** A text with what it says about itself. */
export interface Fragment {
  /** Its file from `kernels/` on, without extension; for texts of TypeScript what they declare. */
  readonly name: string;
  readonly needs: ReadonlySet<string>;
  readonly gives: ReadonlySet<string>;
  /** All names of module scope, given or not. */
  readonly declares: ReadonlySet<string>;
  /** WGSL, `@repeat` blocks included. */
  readonly text: string;
}

const DIRECTIVE = /^\/\/@(fragment|needs|gives) (.*)\n/gm;
const IDENTIFIER = /(?<![\w.$])[A-Za-z_$][\w$]*/g;
const MODULE_SCOPE = /^(?:fn|struct|alias|const|override|var(?:<[^>]*>)?) +([\w$]+)/gm;
/** What follows `fn`, `let` and the like, or stands in front of a type, is a name of the text. */
const DECLARATION =
  /\b(?:fn|struct|alias|const|override|let|var(?:<[^>]*>)?) +([\w$]+)|([\w$]+) *:(?!:)/g;

/** Fragments by their text: a program lowers the same ones for every layer. */
const known = new Map<string, Fragment>();

/** Reads a fragment; raises a {@linkcode KernelError} where its directives and its text differ. */
export function readFragment(source: string): Fragment {
  const found = known.get(source);
  if (found) return found;
  const fragment = parse(source);
  known.set(source, fragment);
  return fragment;
}

/**
 * Checks that every name that a fragment needs is given, once, by another fragment or is one of
 * `names` (constants and buffers). Raises a {@linkcode KernelError} that names fragment and name.
 */
export function checkFragments(fragments: readonly Fragment[], names: readonly string[]): void {
  const shader = fragments.at(-1)?.name ?? "main";
  const owners = new Map<string, string>();
  const declare = (name: string, owner: string) => {
    const other = owners.get(name);
    if (other !== undefined) {
      refuse(shader, `one declaration of "${name}"`, `${other} and ${owner}`);
    }
    owners.set(name, owner);
  };
  for (const name of names) declare(name, "a constant or buffer");
  for (const { name, declares } of fragments) {
    for (const declared of declares) declare(declared, `fragment "${name}"`);
  }
  const given = new Set([...names, ...fragments.flatMap(({ gives }) => [...gives])]);
  for (const { name, needs } of fragments) {
    for (const need of needs) {
      if (isGiven(need, given)) continue;
      const owner = owners.get(need);
      const got = owner === undefined ? "none" : `${owner}, which keeps it to itself`;
      refuse(shader, `a constant, buffer or fragment that gives "${need}" to "${name}"`, got);
    }
  }
}

function isGiven(need: string, given: ReadonlySet<string>): boolean {
  if (!need.endsWith("$")) return given.has(need);
  const numbered = [...given].filter((each) => each.startsWith(need.slice(0, -1)));
  return numbered.some((each) => /^\d+$/.test(each.slice(need.length - 1)));
}

function refuse(shader: string, expected: string, got: string): never {
  throw new KernelError(
    "kernel/fragment",
    `Cannot compose shader "${shader}": expected ${expected}, got ${got}`,
  );
}

function parse(source: string): Fragment {
  const directives = { fragment: [] as string[], needs: [] as string[], gives: [] as string[] };
  const text = source.replaceAll(DIRECTIVE, (_, kind: keyof typeof directives, words: string) => {
    directives[kind].push(...words.trim().split(/\s+/));
    return "";
  });
  const code = text.replaceAll(/\/\/(?!@repeat ).*$|^(?:enable|diagnostic)\b.*;$/gm, "");
  const declares = new Set([...code.matchAll(MODULE_SCOPE)].map(([, name]) => stem(name)));
  const uses = usesOf(code);
  const name = directives.fragment[0] ?? [...declares].join(", ");
  const wrong = text.match(/^.*\/\/@(?!(?:repeat \w+ \w|end\s*$)).*$/m);
  if (wrong) {
    fail(name, "//@fragment, //@needs, //@gives, //@repeat or //@end", `"${wrong[0].trim()}"`);
  }
  if (text === source) return { name, needs: uses, gives: declares, declares, text };
  const needs = new Set(directives.needs.map(stem).filter(isForeign));
  const gives = new Set(directives.gives.map(stem));
  for (const give of gives) {
    if (!declares.has(give)) fail(name, `a declaration of "${give}", which it gives`, "none");
  }
  for (const use of uses) {
    if (!needs.has(use)) fail(name, `"${use}" among its needs, for its text uses it`, "none");
  }
  for (const need of needs) {
    if (!uses.has(need)) fail(name, `a text that uses "${need}", which it needs`, "none");
  }
  return { name, needs, gives, declares, text };
}

function fail(name: string, expected: string, got: string): never {
  throw new KernelError(
    "kernel/fragment",
    `Cannot read fragment "${name}": expected ${expected}, got ${got}`,
  );
}

/** Names that a text uses and does not declare. */
function usesOf(text: string): ReadonlySet<string> {
  const counts = [...text.matchAll(/\/\/@repeat \w+ (\S+)/g)].map(([, count]) => count);
  const code = text.replaceAll(/\/\/.*$/gm, "").replaceAll(/@builtin\([^)]*\)|@\w+/g, "");
  const declared = new Set(
    [...code.matchAll(DECLARATION)].map(([, after, before]) => stem(after ?? before)),
  );
  const names = [...code.matchAll(IDENTIFIER)].map(([name]) => name);
  // `sum_$LAST_MATRIX` writes the number of a constant into a name.
  const inNames = [...code.matchAll(/\$([A-Z][A-Z_]*[A-Z])/g)].map(([, name]) => name);
  return new Set(
    [...names, ...counts].map(stem)
      // `score_0` is one of those that a block declares as `score_$c`.
      .filter((name) => !declared.has(name) && !declared.has(name.replace(/\d.*$/, "$")))
      .concat(inNames)
      .filter(isForeign),
  );
}

/** A name up to the first number that `@repeat` writes into it. */
function stem(name: string): string {
  const at = name.indexOf("$");
  return at === -1 ? name : name.slice(0, at + 1);
}

/** Whether something must give the name: it is neither WGSL's own, a number, nor `$i` alone. */
function isForeign(name: string): boolean {
  return name !== "$" && name !== "_" && !WGSL_WORDS.has(name) && !/^\d/.test(name);
}
