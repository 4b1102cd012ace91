/**
 * What a registry asks of the package: documentation of everything public, types that are written out,
 * and names of files that every system can hold. Both checks run without a network.
 *
 * @module
 */

import assert from "node:assert/strict";

const ROOT = new URL("../", import.meta.url);

/** Runs deno in the repository; gives its exit code, and all that it wrote. */
async function deno(...args: string[]): Promise<{ code: number; text: string }> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args,
    cwd: ROOT,
    env: { NO_COLOR: "1" },
    stdin: "null",
  }).output();
  const decoder = new TextDecoder();
  return { code, text: decoder.decode(stdout) + decoder.decode(stderr) };
}

/** The first complaints of a long list. */
function complaints(text: string): string {
  return text.split("\n").filter((line) => /^(error|warning)|-->/.test(line)).slice(0, 20)
    .join("\n");
}

Deno.test("everything that deno.json exports is documented, and every type that it names is public", async () => {
  const { exports } = JSON.parse(await Deno.readTextFile(new URL("deno.json", ROOT)));
  const entries = Object.values<string>(exports);
  assert.ok(entries.includes("./mod.ts") && entries.length > 3);
  // Types of npm packages are documented there, and nothing here could make them public.
  const { code, text } = await deno("doc", "--lint", "--no-npm", ...entries);
  assert.equal(code, 0, complaints(text));
  const alone = await deno("doc", "--lint", "--no-npm", "mod.ts");
  assert.equal(alone.code, 0, complaints(alone.text));
});

Deno.test("deno publish takes the package as it is, and finds no slow types", async () => {
  // Types are checked by deno check; that they are written out is checked here all the same.
  const { code, text } = await deno(
    ...["publish", "--dry-run", "--allow-dirty", "--no-check", "--config", "deno.json"],
  );
  assert.equal(code, 0, complaints(text));
  const files = [...text.matchAll(/^ *file:\S*?([^/\s]+\/[^/\s]+|[^/\s]+) \(([\d.]+)KB\)/gm)];
  assert.ok(files.length > 300, `${files.length} files`);
  assert.ok(!/\/(tests|bench|demo|examples)\//.test(text), "the package has what nobody imports");
  const kilobytes = files.reduce((sum, [, , size]) => sum + Number(size), 0);
  assert.ok(kilobytes < 4096, `${kilobytes} KB`);
});
