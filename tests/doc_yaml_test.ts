/**
 * The configurations in the documents: every block of YAML, every `--set` in a sentence, and what
 * docs/configuration.md says that a file with a mistake, and one without, give.
 *
 * @module
 */

import assert from "node:assert/strict";
import { ConfigError, pipeline } from "../mod.ts";
import { shellWords } from "./support/doc_commands.ts";
import { ROOT } from "./support/root.ts";

const DOCUMENTS = [
  ...["README.md", "CONTRIBUTING.md"],
  ...["docs", "docs/reference"].flatMap((folder) =>
    [...Deno.readDirSync(new URL(folder, ROOT))].map(({ name }) => `${folder}/${name}`)
      .filter((path) => path.endsWith(".md")).sort()
  ),
];

interface Part {
  /** Such as `README.md:72`. */
  readonly place: string;
  readonly text: string;
}

function partsOf(pattern: RegExp): Part[] {
  return DOCUMENTS.flatMap((path) => {
    const text = Deno.readTextFileSync(new URL(path, ROOT));
    return [...text.matchAll(pattern)].map(({ 1: part, index }) => ({
      place: `${path}:${text.slice(0, index).split("\n").length}`,
      text: part,
    }));
  });
}

const blocks = partsOf(/^```ya?ml\n([^]*?)^```/gm);
const flags = partsOf(/`(--set [^`\n]+)`/g);

Deno.test("the documents have configurations", () => {
  assert.ok(blocks.length >= 5 && flags.length >= 2, `${blocks.length}, ${flags.length}`);
  // Every block of YAML is found, however it is indented.
  assert.equal(blocks.length, partsOf(/(```ya?ml)/g).length);
});

for (const { place, text } of blocks) {
  Deno.test(`${place}: a configuration`, () => {
    const read = pipeline.fromYaml(text);
    const { notes, values } = read.resolve();
    assert.deepEqual(notes, []);
    assert.ok(pipeline.fromYaml(read.toYaml()).equals(read));
    assert.ok(values.some(({ origin }) => origin.layer === "file"), "it sets nothing");
  });
}

for (const { place, text } of flags) {
  Deno.test(`${place}: ${text}`, () => {
    const [, flag] = shellWords(text);
    // It stands for any.
    if (flag !== "name=value") pipeline.fromFlags([flag]).resolve();
  });
}

Deno.test("docs/configuration.md shows what a pipeline's values and a mistake look like", () => {
  const page = Deno.readTextFileSync(new URL("docs/configuration.md", ROOT));
  const [values, mistake, ...others] = [...page.matchAll(/^```(\w*)\n([^]*?)^```$/gm)]
    .flatMap(([, language, text]) => language === "" ? [text] : []);
  assert.deepEqual(others, []);
  const yaml = (backend: string) =>
    `model: demo/storyteller\nmax_seq_len: 2048\ntransforms:\n  fuse_moe:\n    backend: ${backend}\n`;
  const written = withFile(yaml("auto"), (file) =>
    pipeline.fromYaml(file)
      .overlay(pipeline.fromFlags(["transforms.fuse-moe.backend=triton"]))
      .toYaml({ resolved: true, origins: true }));
  // The column of the comments is that of the longest line.
  const lines = (text: string) => text.split("\n").map((line) => line.replaceAll(/ {2,}#/g, " #"));
  for (const line of lines(values.trimEnd())) assert.ok(lines(written).includes(line), line);
  withFile(yaml("tritn"), (file) => {
    assert.throws(() => pipeline.fromYaml(file), (error) => {
      assert.ok(error instanceof ConfigError);
      const [first, ...others] = mistake.trimEnd().split("\n");
      const place = error.message.replaceAll(file, "deploy.yaml");
      assert.equal(`error: ${place}`.split("\n")[0], first);
      assert.ok(others.includes(`hint: ${error.hint}`), error.hint);
      return true;
    });
  });
});

/** Runs `use` with the path of `deploy.yaml` in a temporary folder, which is the current one. */
function withFile<Result>(text: string, use: (file: string) => Result): Result {
  const [before, folder] = [Deno.cwd(), Deno.makeTempDirSync()];
  try {
    Deno.chdir(folder);
    Deno.writeTextFileSync("deploy.yaml", text);
    return use("deploy.yaml");
  } finally {
    Deno.chdir(before);
    Deno.removeSync(folder, { recursive: true });
  }
}
