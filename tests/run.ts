/**
 * The test entry, `deno task test [--quick | --dawn] [paths and flags of deno test]`: sees to a GPU driver, checks
 * the types, runs the tests and the examples in doc comments, and ends with one line
 * `N passed, N failed, N skipped`. With `--quick` it checks no types and leaves out the tests that need a
 * device or take long; with `--dawn` those that need a device run on Dawn's WebGPU instead of Deno's own.
 * Stderr stays empty unless something fails.
 *
 * @module
 */

import { existsSync } from "node:fs";
import { relative, resolve } from "node:path";
import { findGroups, type Group, GROUP_VARIABLE, ROOT } from "./groups.ts";
import { shareProcesses } from "./quick_groups.ts";
import { type Printer, type Result, runDeno } from "./run_deno.ts";
import { Screen } from "./screen.ts";
import { ensureVulkan, makeShaderCache } from "./vulkan.ts";

/** What the tests may do; the network is this machine alone. */
const PERMISSIONS = [
  "--allow-read",
  "--allow-write",
  "--allow-env",
  "--allow-run",
  "--allow-sys",
  "--allow-net=127.0.0.1,localhost",
];

/** Leaves out what needs a device or takes long. */
const QUICK = "--quick";

/** How `tests/support/quick.ts` hears of it. */
const QUICK_VARIABLE = "MIXLINE_TEST_QUICK";

/** Runs what needs a device on Dawn, which no lock but its own names. */
const DAWN = "--dawn";

/** How `tests/support/adapter.ts` hears of it. */
const WEBGPU_VARIABLE = "MIXLINE_TEST_WEBGPU";

/** Processes that run at the same time at most: they share one device. */
const MOST_JOBS = 4;

/** An escape sequence that sets a colour. */
const COLOR = new RegExp("\u001b\\[[0-9;]*m", "g");

/** Numbers of deno test's last line. */
interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

/** A process of the work. */
type Job = (print: Printer) => Promise<Result>;

if (import.meta.main) Deno.exit(await main(Deno.args));

async function main(args: string[]): Promise<number> {
  const isQuick = args.includes(QUICK);
  const onDawn = args.includes(DAWN);
  const given = args.filter((arg) => ![QUICK, DAWN, "--no-check"].includes(arg));
  const { paths, flags } = readArguments(given);
  for (const path of paths) {
    if ((await findGroups([path])).length > 0) continue;
    console.error(`Cannot test "${path}": expected files with tests or examples, got none`);
    return report([{ code: 1, output: "" }]);
  }
  const found = await findGroups(paths);
  const groups = isQuick ? shareProcesses(found) : found;
  makeShaderCache();
  if (!isQuick) console.log((await ensureVulkan()).message);
  const way: Way = { flags, isQuick, onDawn };
  const jobs: Job[] = groups.map((group) => (print) => testGroup(group, way, print));
  if (!isQuick && !onDawn && args.length === given.length) {
    jobs.unshift((print) => checkTypes(paths, print));
  }
  return report(await runJobs(jobs));
}

/** Paths below the root, and flags of deno test; a word behind a flag that is no path is its value. */
export function readArguments(args: readonly string[]): { paths: string[]; flags: string[] } {
  const isFlag = (i: number) => args[i]?.startsWith("-") ?? false;
  const isValue = (i: number) =>
    isFlag(i - 1) && !args[i - 1].includes("=") && !existsSync(args[i]);
  const isPath = args.map((_, i) => !isFlag(i) && !isValue(i));
  return {
    paths: args.filter((_, i) => isPath[i]).map((path) => relative(ROOT, resolve(path))),
    flags: args.filter((_, i) => !isPath[i]),
  };
}

/**
 * Runs the jobs on all cores, one more than there are, as those with servers and processes wait
 * now and then. Their output is shown in the order of their beginning, as it comes. */
async function runJobs(jobs: readonly Job[]): Promise<Result[]> {
  const left = [...jobs];
  const results: Result[] = [];
  const screen = new Screen(write);
  const worker = async () => {
    for (let job = left.shift(); job; job = left.shift()) {
      const place = screen.begin();
      results.push(await job((text) => screen.print(place, text)));
      screen.end(place);
    }
  };
  const count = Math.min(MOST_JOBS, navigator.hardwareConcurrency + 1);
  await Promise.all(Array.from({ length: count }, worker));
  return results;
}

/** Prints what failed and the sums of all processes, and gives the exit code. */
function report(results: readonly Result[]): number {
  const sum: Counts = { passed: 0, failed: 0, skipped: 0 };
  for (const { code, output } of results) {
    const { passed, failed, skipped } = readCounts(output);
    sum.passed += passed;
    // A process that ends before its first test, as by a type error, has no summary and is a failure.
    sum.failed += code !== 0 && failed === 0 ? 1 : failed;
    sum.skipped += skipped;
  }
  const failed = results.filter(({ code }) => code !== 0);
  if (results.length > 1) { for (const { output } of failed) write(failuresOf(output)); }
  const output = results.map(({ output }) => output).join("\n");
  for (const [reason, count] of leftOut(output)) {
    console.log(`${count} tests left out: ${reason}`);
  }
  console.log(`${sum.passed} passed, ${sum.failed} failed, ${sum.skipped} skipped`);
  return failed[0]?.code ?? Math.min(sum.failed, 1);
}

/** What deno test says of failures, which may have left the screen; all of what has no such part. */
function failuresOf(output: string): string {
  return output.slice(Math.max(0, output.search(/^.*\bERRORS\b.*$/m)));
}

/** Checks the types of the project and of all examples, or of what is named. */
function checkTypes(paths: readonly string[], print: Printer): Promise<Result> {
  const checked = paths.length > 0 ? paths : [".", "README.md", ...markdownOf("docs")];
  return runDeno(["check", "--quiet", "--doc", "--lock=deno.lock", ...checked], {}, print);
}

function markdownOf(folder: string): string[] {
  return [...Deno.readDirSync(ROOT + folder)].map(({ name }) => `${folder}/${name}`)
    .filter((path) => path.endsWith(".md"));
}

/** How groups are run. */
interface Way {
  /** Of deno test. */
  readonly flags: readonly string[];
  readonly isQuick: boolean;
  readonly onDawn: boolean;
}

/** Runs the tests of a group, in a process of their own. */
async function testGroup(
  group: Group,
  { flags, isQuick, onDawn }: Way,
  print: Printer,
): Promise<Result> {
  return await runDeno(
    [
      ...["test", "--quiet", "--no-check", ...PERMISSIONS],
      ...onDawn ? ["--no-lock", "--allow-ffi"] : ["--lock=deno.lock"],
      ...[...flags, "tests/group.ts"],
    ],
    {
      [GROUP_VARIABLE]: JSON.stringify(group.files),
      ...isQuick ? { [QUICK_VARIABLE]: "1" } : {},
      ...onDawn ? { [WEBGPU_VARIABLE]: "dawn" } : {},
    },
    (text) => print(text.replace(/(running \d+ tests? from) \S+/, `$1 ${group.name}`)),
  );
}

function write(text: string): void {
  const bytes = new TextEncoder().encode(text);
  for (let done = 0; done < bytes.length;) done += Deno.stdout.writeSync(bytes.subarray(done));
}

/** Reads `ok | 12 passed (3 steps) | 0 failed | 2 ignored (4s)`. */
export function readCounts(output: string): Counts {
  const lines = output.replaceAll(COLOR, "").split("\n");
  const line = lines.findLast((text) => /^(ok|FAILED) \| \d+ passed/.test(text)) ?? "";
  const number = (word: string) => Number(line.match(new RegExp(`(\\d+) ${word}`))?.[1] ?? 0);
  return { passed: number("passed"), failed: number("failed"), skipped: number("ignored") };
}

/** Tests left out by reason: a test that is left out names its reason in brackets. */
export function leftOut(output: string): Map<string, number> {
  const reasons = new Map<string, number>();
  const text = output.replaceAll(COLOR, "");
  for (const [, reason] of text.matchAll(/\[left out: (.*?)\] \.\.\. ignored/g)) {
    reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
  }
  return reasons;
}
