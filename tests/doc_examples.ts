/**
 * The examples of doc comments and Markdown as tests, all in one process. `deno test --doc` gives each
 * an isolate of its own, half a second apiece, and passes one whose `console.assert` fails.
 *
 * @module
 */

import { basename } from "node:path";
import { pathToFileURL } from "node:url";

/** An example in a text. */
export interface Example {
  /** First line of its code, from one. */
  readonly line: number;
  readonly code: string;
}

/** A block between fences that begin and end at the same column, after ` * ` in a comment. */
const BLOCK = /^([ \t]*(?:\* ?)?)```ts[ \t]*\n([^]*?)^\1```[ \t]*$/gm;

/**
 * The examples of a file: blocks of TypeScript of its Markdown, or of its doc comments.
 *
 * ```ts
 * import { findExamples } from "./doc_examples.ts";
 * const fence = "`".repeat(3);
 * const [example] = findExamples("a.md", `# A\n${fence}ts\nf();\n${fence}\n`);
 * console.assert(example.line === 3 && example.code === "f();\n");
 * ```
 */
export function findExamples(path: string, text: string): Example[] {
  const isMarkdown = path.endsWith(".md");
  const examples: Example[] = [];
  for (const { 0: block, 1: margin, 2: body, index } of text.matchAll(BLOCK)) {
    if (margin.includes("*") === isMarkdown) continue;
    const line = text.slice(0, index).split("\n").length + 1;
    const lines = body.split("\n").map((text) =>
      text.startsWith(margin) ? text.slice(margin.length) : text.replace(/^\s*\*$/, "")
    );
    if (block.length > 0) examples.push({ line, code: lines.join("\n") });
  }
  return examples;
}

/** Writes a test module at `path` with a test for each example of `files`, which lie below `root`. */
export async function writeExamples(
  path: string,
  root: string,
  files: readonly string[],
): Promise<void> {
  const folder = path.replace(/_test\.ts$/, "");
  await Deno.remove(folder, { recursive: true }).catch(() => {});
  await Deno.mkdir(folder, { recursive: true });
  const tests: string[] = [];
  for (const file of files) {
    for (const { line, code } of findExamples(file, await Deno.readTextFile(root + file))) {
      const name = `${tests.length}_${line}_${basename(file)}`.replace(/\.md$/, ".ts");
      await Deno.writeTextFile(`${folder}/${name}`, UNCHECKED + fromFolderOf(root + file, code));
      const module = `./${basename(folder)}/${name}`;
      tests.push(`example("${file}:${line}", () => import(${JSON.stringify(module)}));\n`);
    }
  }
  await Deno.writeTextFile(path, HEADER + tests.join(""));
}

/** Code whose relative imports are those of a file, as it reads where it is run. */
function fromFolderOf(file: string, code: string): string {
  return code.replaceAll(
    /(from |import\()"(\.[^"]*)"/g,
    (_, before, path) => `${before}${JSON.stringify(new URL(path, pathToFileURL(file)).href)}`,
  );
}

/** What is written is not checked: `deno check --doc` has seen the original. */
export const UNCHECKED = "// @ts-nocheck\n";

const HEADER = `${UNCHECKED}
console.assert = (holds, ...message) => {
  if (!holds) throw new Error(["An example's assertion failed", ...message].join(": "));
};
const example = (name, run) => Deno.test(\`example of \${name}\`, async () => void await run());
`;
