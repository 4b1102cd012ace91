/**
 * The examples of doc comments and Markdown as tests, all in one process. `deno test --doc` gives each
 * an isolate of its own, half a second apiece, and passes one whose `console.assert` fails.
 *
 * @module
 */

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

/** Defines a test for each example of a file; `path` is its name. */
export function defineExamples(path: string, url: URL): void {
  for (const { line, code } of findExamples(path, Deno.readTextFileSync(url))) {
    // The package is this folder, whatever its name.
    const module = `${code}\n// line ${line} of ${path}\n`
      .replace(
        'from "@mixline/mixline"',
        `from ${JSON.stringify(import.meta.resolve("../mod.ts"))}`,
      )
      .replaceAll(
        /(from |import\()"(\.[^"]*)"/g,
        (_, before, imported) => `${before}${JSON.stringify(new URL(imported, url).href)}`,
      );
    Deno.test(`example of ${path}:${line}`, async () => {
      await withAssertions(() => import(`data:text/typescript,${encodeURIComponent(module)}`));
    });
  }
}

/** Runs code whose `console.assert` throws. */
async function withAssertions(run: () => Promise<unknown>): Promise<void> {
  const { assert } = console;
  console.assert = (holds, ...message) => {
    if (!holds) throw new Error(["An example's assertion failed", ...message].join(": "));
  };
  try {
    await run();
  } finally {
    console.assert = assert;
  }
}
