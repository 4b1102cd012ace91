/**
 * The test entry, `deno task test [--quick] [paths and flags of deno test]`: sees to a GPU driver, runs
 * the tests and the examples in doc comments, and ends with one line `N passed, N failed, N skipped`.
 * With `--quick` it leaves out the tests that need a device. Stderr stays empty unless something fails.
 *
 * @module
 */

import { ensureVulkan, gpuEnvironment, makeShaderCache } from "./vulkan.ts";

/** Folders and files with tests or with examples that are run as tests. */
const TESTED = [
  "README.md",
  "mod.ts",
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

/** What the tests may do; the network is this machine alone. */
const PERMISSIONS = [
  "--allow-read",
  "--allow-write",
  "--allow-env",
  "--allow-run",
  "--allow-sys",
  "--allow-net=127.0.0.1,localhost",
];

/** Leaves out what needs a device. */
const QUICK = "--quick";

/** How `tests/support/adapter.ts` hears of it. */
const QUICK_VARIABLE = "MIXLINE_TEST_QUICK";

/** Test files that run at the same time at most: they share one device. */
const MOST_JOBS = 4;

/** An escape sequence that sets a colour. */
const COLOR = new RegExp("\u001b\\[[0-9;]*m", "g");

/** Numbers of deno test's last line. */
interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

if (import.meta.main) Deno.exit(await main(Deno.args));

async function main(args: string[]): Promise<number> {
  const isQuick = args.includes(QUICK);
  const given = args.filter((arg) => arg !== QUICK);
  makeShaderCache();
  if (!isQuick) console.log((await ensureVulkan()).message);
  const named = await existing(given.filter((arg) => !arg.startsWith("-")));
  const paths = named.length > 0 ? [] : await existing(TESTED);
  const { code, output } = await runTests([...given, ...paths], isQuick);
  const counts = readCounts(output);
  for (const [reason, count] of leftOut(output)) {
    console.log(`${count} tests left out: ${reason}`);
  }
  // A run that stops before its first test, as for a type error, has no summary and is a failure.
  if (code !== 0 && counts.failed === 0) counts.failed = 1;
  console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
  return code === 0 && counts.failed > 0 ? 1 : code;
}

/** Runs deno test, showing its output as it comes, and keeps the text. */
async function runTests(
  args: readonly string[],
  isQuick: boolean,
): Promise<{ code: number; output: string }> {
  // Types are another step of the gate, and half of the time of a quick run.
  const check = isQuick ? ["--no-check"] : [];
  const color = Deno.stdout.isTerminal() && !Deno.env.get("NO_COLOR");
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      "test",
      "--quiet",
      "--doc",
      "--parallel",
      "--lock=deno.lock",
      ...check,
      ...PERMISSIONS,
      ...args,
    ],
    env: {
      ...gpuEnvironment(),
      ...(color ? { FORCE_COLOR: "1" } : { NO_COLOR: "1" }),
      ...(isQuick ? { [QUICK_VARIABLE]: "1" } : {}),
      DENO_JOBS: String(Math.min(MOST_JOBS, navigator.hardwareConcurrency)),
    },
    stdin: "null",
    stdout: "piped",
  }).spawn();
  let output = "";
  const decoder = new TextDecoder();
  for await (const chunk of child.stdout) {
    await writeAll(chunk);
    output += decoder.decode(chunk, { stream: true });
  }
  const { code, signal } = await child.status;
  if (signal !== null) console.error(`deno test was ended by ${signal}`);
  return { code, output: output.replaceAll(COLOR, "") };
}

async function writeAll(bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length;) done += await Deno.stdout.write(bytes.subarray(done));
}

/** Reads `ok | 12 passed (3 steps) | 0 failed | 2 ignored (4s)`. */
export function readCounts(output: string): Counts {
  const line = output.split("\n").findLast((text) => /^(ok|FAILED) \| \d+ passed/.test(text)) ?? "";
  const number = (word: string) => Number(line.match(new RegExp(`(\\d+) ${word}`))?.[1] ?? 0);
  return { passed: number("passed"), failed: number("failed"), skipped: number("ignored") };
}

/** Tests left out by reason: a test that is left out names its reason in brackets. */
export function leftOut(output: string): Map<string, number> {
  const reasons = new Map<string, number>();
  for (const [, reason] of output.matchAll(/\[left out: (.*?)\] \.\.\. ignored/g)) {
    reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
  }
  return reasons;
}

async function existing(paths: readonly string[]): Promise<string[]> {
  const found = await Promise.all(
    paths.map((path) => Deno.stat(path).then(() => path, () => undefined)),
  );
  return found.filter((path) => path !== undefined);
}
