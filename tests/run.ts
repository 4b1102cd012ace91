/**
 * The test entry, `deno task test [--quick] [paths and flags of deno test]`: sees to a GPU driver, checks
 * the types, runs the tests and the examples in doc comments, and ends with one line
 * `N passed, N failed, N skipped`. With `--quick` it checks no types and leaves out the tests that need a
 * device or take long. Stderr stays empty unless something fails.
 *
 * @module
 */

import { findGroups, type Group, ROOT, writeGroup } from "./groups.ts";
import { ensureVulkan, gpuEnvironment, makeShaderCache } from "./vulkan.ts";

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

/** What a process has printed, and its exit code. */
interface Result {
  readonly code: number;
  readonly output: string;
}

/** A piece of the work, which prints nothing itself. */
type Job = () => Promise<Result>;

if (import.meta.main) Deno.exit(await main(Deno.args));

async function main(args: string[]): Promise<number> {
  const isQuick = args.includes(QUICK);
  const given = args.filter((arg) => arg !== QUICK && arg !== "--no-check");
  makeShaderCache();
  if (!isQuick) console.log((await ensureVulkan()).message);
  const isPath = await Promise.all(
    given.map((arg) => Deno.stat(arg).then(() => true, () => false)),
  );
  const paths = given.filter((_, i) => isPath[i]).map((path) => path.replace(/^\.\/|\/$/g, ""));
  const flags = given.filter((_, i) => !isPath[i]);
  const groups = await findGroups(paths);
  const jobs: Job[] = groups.map((group) => () => testGroup(group, flags, isQuick));
  if (!isQuick && args.length === given.length) jobs.unshift(() => checkTypes(paths));
  return report(await runJobs(jobs));
}

/** Runs the jobs on all cores. What one printed is shown when it ends: at the end where it failed. */
async function runJobs(jobs: readonly Job[]): Promise<Result[]> {
  const left = [...jobs];
  const results: Result[] = [];
  const worker = async () => {
    for (let job = left.shift(); job; job = left.shift()) {
      const result = await job();
      results.push(result);
      if (result.code === 0) await print(result.output);
    }
  };
  const count = Math.min(MOST_JOBS, navigator.hardwareConcurrency);
  await Promise.all(Array.from({ length: count }, worker));
  for (const { code, output } of results) if (code !== 0) await print(output);
  return results;
}

/** Prints the sums of all processes, and gives the exit code. */
function report(results: readonly Result[]): number {
  const sum: Counts = { passed: 0, failed: 0, skipped: 0 };
  for (const { code, output } of results) {
    const { passed, failed, skipped } = readCounts(output);
    sum.passed += passed;
    // A process that ends before its first test, as by a type error, has no summary and is a failure.
    sum.failed += code !== 0 && failed === 0 ? 1 : failed;
    sum.skipped += skipped;
  }
  const output = results.map(({ output }) => output).join("\n");
  for (const [reason, count] of leftOut(output)) {
    console.log(`${count} tests left out: ${reason}`);
  }
  console.log(`${sum.passed} passed, ${sum.failed} failed, ${sum.skipped} skipped`);
  return results.find(({ code }) => code !== 0)?.code ?? Math.min(sum.failed, 1);
}

/** Checks the types of the project and of all examples, or of what is named. */
function checkTypes(paths: readonly string[]): Promise<Result> {
  const checked = paths.length > 0 ? paths : [".", "README.md", ...markdownOf("docs")];
  return runDeno(["check", "--quiet", "--doc", "--lock=deno.lock", ...checked]);
}

function markdownOf(folder: string): string[] {
  return [...Deno.readDirSync(ROOT + folder)].map(({ name }) => `${folder}/${name}`)
    .filter((path) => path.endsWith(".md"));
}

/** Runs the tests of a group, in a process of their own. */
async function testGroup(
  group: Group,
  flags: readonly string[],
  isQuick: boolean,
): Promise<Result> {
  const module = await writeGroup(group);
  const test = ["test", "--quiet", "--no-check", "--lock=deno.lock", ...PERMISSIONS];
  const { code, output } = await runDeno(
    [...test, ...flags, module],
    { ...isQuick ? { [QUICK_VARIABLE]: "1" } : {}, ...environmentOf(group) },
  );
  return { code, output: output.replace(/(running \d+ tests? from) \S+/, `$1 ${group.name}`) };
}

/**
 * Mesa's software GPU takes longer to optimize the shaders of the kernels' tests, of which most run
 * once on small shapes, than to run them as they are.
 */
function environmentOf({ name }: Group): Record<string, string> {
  return name.startsWith("tests/kernels") ? { GALLIVM_PERF: "nopt" } : {};
}

/** Runs deno; gives its output, errors among it. */
async function runDeno(args: string[], env: Record<string, string> = {}): Promise<Result> {
  const color = Deno.stdout.isTerminal() && !Deno.env.get("NO_COLOR");
  const child = new Deno.Command(Deno.execPath(), {
    args,
    cwd: ROOT,
    env: { ...gpuEnvironment(), ...color ? { FORCE_COLOR: "1" } : { NO_COLOR: "1" }, ...env },
    stdin: "null",
    stdout: "piped",
  }).spawn();
  const output = await new Response(child.stdout).text();
  const { code, signal } = await child.status;
  if (signal !== null) console.error(`deno ${args[0]} was ended by ${signal}`);
  return { code, output };
}

async function print(text: string): Promise<void> {
  const bytes = new TextEncoder().encode(text);
  for (let done = 0; done < bytes.length;) done += await Deno.stdout.write(bytes.subarray(done));
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
