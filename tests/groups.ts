/**
 * Which tests share a process. Deno runs each file in an isolate of its own, and one that loads this
 * project costs 0.6 s before its first test, so the files of a folder are imported by one module.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { findExamples } from "./doc_examples.ts";

/** Root of the project. */
export const ROOT = fileURLToPath(new URL("../", import.meta.url));

/** How `tests/group.ts` hears what to import: paths relative to the root, in JSON. */
export const GROUP_VARIABLE = "MIXLINE_TEST_GROUP";

/** Folders and files with tests or with examples that are run as tests. */
const TESTED = [
  "README.md",
  "docs/chats.md",
  "docs/configuration.md",
  "mod.ts",
  "api",
  "graph",
  "models",
  "kernels",
  "transforms",
  "runtime",
  "dsl",
  "server",
  "cli",
  "bench",
  "tests",
];

/** What holds no tests although it lies below `tests/`. */
const DATA = ["tests/golden"];

/** Groups that take longest, which begin first; a longer path is the group of its files alone. */
const LONGEST = [
  "tests/family_golden_test.ts",
  "tests/kernels/moe",
  "tests/kernels/attention",
  "tests/server",
  "tests/kernels",
  "tests/dsl",
  "tests/runtime",
  "tests/runtime/webgpu",
  "tests/quantization",
  "tests/models",
  "tests/golden_test.ts",
  "tests/doc_commands_test.ts",
  "tests/cli",
  "tests/latent_golden_test.ts",
  "tests/random_models_test.ts",
];

/** Test files that run in one process. */
export interface Group {
  /** The folder of the files, the file where it runs alone, or "examples". */
  readonly name: string;
  readonly files: readonly string[];
}

/** The groups of the tests and examples below `paths`, those of the whole project without any. */
export async function findGroups(paths: readonly string[]): Promise<Group[]> {
  const files: string[] = [];
  for (const path of paths.length > 0 ? paths : TESTED) files.push(...await filesBelow(path));
  const groups = new Map<string, string[]>();
  for (const file of new Set(files)) {
    const name = isTest(file) ? groupOf(file) : "examples";
    const group = groups.get(name);
    if (group) group.push(file);
    else groups.set(name, [file]);
  }
  const rank = (name: string) =>
    (LONGEST.indexOf(name) + LONGEST.length + 1) % (LONGEST.length + 1);
  return [...groups].map(([name, files]) => ({ name, files: files.sort() }))
    .sort((a, b) => rank(a.name) - rank(b.name) || (a.name < b.name ? -1 : 1));
}

/** The group that is named for the file, or else its folder right below `tests`. */
function groupOf(file: string): string {
  const named = LONGEST.filter((name) => file === name || file.startsWith(`${name}/`));
  const [longest] = named.sort((a, b) => b.length - a.length);
  return longest ?? file.split("/").slice(0, -1).slice(0, 2).join("/");
}

/** The test files and the files with examples below a path, both relative to the root. */
async function filesBelow(path: string): Promise<string[]> {
  if (DATA.includes(path)) return [];
  const stat = await Deno.stat(ROOT + path).catch(() => undefined);
  if (stat?.isFile) return await isTested(path) ? [path] : [];
  if (!stat?.isDirectory) return [];
  const files: string[] = [];
  for await (const { name } of Deno.readDir(ROOT + path)) {
    files.push(...await filesBelow(`${path}/${name}`));
  }
  return files;
}

/** Whether a file is a test; others have examples. */
export function isTest(path: string): boolean {
  return path.startsWith("tests/") && path.endsWith("_test.ts");
}

async function isTested(path: string): Promise<boolean> {
  if (isTest(path)) return true;
  if (!/\.(ts|md)$/.test(path)) return false;
  return findExamples(path, await Deno.readTextFile(ROOT + path)).length > 0;
}
