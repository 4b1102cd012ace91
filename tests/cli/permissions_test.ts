/**
 * Commands without a permission that they need: one sentence with the flag and the reason, before any
 * work.
 *
 * @module
 */

import assert from "node:assert/strict";
import { join } from "node:path";
import { CliHost } from "../support/cli.ts";
import { type ProcessResult, resultOf } from "../support/process_result.ts";
import { ROOT } from "../support/root.ts";
import { slowTest } from "../support/quick.ts";

const CONFIG = new URL("configs/exact.yaml", ROOT).pathname;

interface Refusal {
  readonly granted: readonly string[];
  readonly script?: string;
  readonly args: readonly string[];
  readonly says: RegExp;
  readonly hint: RegExp;
  readonly code?: number;
  readonly env?: Readonly<Record<string, string>>;
}

const READER = ["--allow-env", "--allow-read"];
const HUB = ["deploy", "--model", "org/tiny-moe"];
const HUB_CACHE = { HF_HOME: "/nonexistent/hub" };

const REFUSALS: readonly Refusal[] = [
  {
    granted: [],
    args: ["--version"],
    says: /Requires env access to "INIT_CWD"$/m,
    hint: /^hint: Add --allow-env=MIXLINE_\*,HF_\*,/m,
    code: 1,
  },
  {
    granted: ["--allow-env"],
    args: ["deploy"],
    says: /Cannot start "deploy": .* --allow-read=.*storyteller \(the model is there\)/,
    hint: /^hint: Add --allow-read=/m,
  },
  {
    granted: READER,
    args: HUB,
    env: HUB_CACHE,
    says: /--allow-write=\/nonexistent\/hub\/hub \(.*--allow-net=huggingface\.co \(the model is/,
    hint: /^hint: Add --allow-write=\/nonexistent\/hub\/hub --allow-net=huggingface\.co /m,
  },
  {
    granted: [...READER, "--allow-write"],
    args: HUB,
    env: { ...HUB_CACHE, HF_ENDPOINT: "http://127.0.0.1:9" },
    says: /--allow-net=127\.0\.0\.1:9 \(HF_ENDPOINT names it as the hub\)/,
    hint: /^hint: Add --allow-net=127\.0\.0\.1:9 /m,
  },
  {
    granted: READER,
    args: ["serve", "--port", "8123"],
    says: /--allow-net=127\.0\.0\.1:8123 \(it listens there\) and --allow-run=deno \(it starts/,
    hint: /--allow-net=127\.0\.0\.1:8123 --allow-run=deno/,
  },
  {
    granted: READER,
    args: ["inspect", "report", "--executor", "cpu", "--out", "pages"],
    says: /Cannot write "pages": Requires write access to "pages"$/m,
    hint: /^hint: Add --allow-write=pages /m,
    code: 1,
  },
  {
    granted: READER,
    args: ["tune", "--out", "tables"],
    says: /Cannot write "tables": Requires write access to "tables"$/m,
    hint: /^hint: Add --allow-write=tables /m,
    code: 1,
  },
  {
    granted: READER,
    args: ["export", CONFIG, "--target", "trtllm", "-o", "out"],
    says: /--allow-write=.* \(it writes the folder\)/,
    hint: /^hint: Add --allow-write=/m,
  },
  {
    granted: READER,
    args: ["generate", CONFIG, "-o", "script.ts"],
    says: /--allow-write=script\.ts \(it writes.*--allow-run=deno \(deno fmt formats the script\)/,
    hint: /^hint: Add --allow-write=script\.ts --allow-run=deno /m,
  },
  {
    granted: READER,
    args: ["run", "script.ts"],
    says: /Cannot start "run": .*--allow-run=deno \(it starts the script/,
    hint: /^hint: Add --allow-run=deno /m,
  },
  {
    granted: READER,
    script: "bench/report.ts",
    args: ["--out", "page.html"],
    says: /^Cannot write ".*page\.json": Requires write access/m,
    hint: /^Add --allow-write=/m,
    code: 1,
  },
];

/** Runs one: in the process for those with the same permissions, or a script in its own. */
async function run(
  { granted, script, args, env = {} }: Refusal,
  cwd: string,
  hosts: Map<string, CliHost>,
): Promise<ProcessResult> {
  const flags = ["--no-prompt", "--no-lock", ...granted];
  // A process that runs several has to know its folder and a variable.
  if (script === undefined && READER.every((flag) => granted.includes(flag))) {
    const host = hosts.get(flags.join()) ?? new CliHost(cwd, { granted: flags });
    hosts.set(flags.join(), host);
    return await host.run(args, env);
  }
  const path = join(ROOT.pathname, script ?? "cli/main.ts");
  const command = new Deno.Command(Deno.execPath(), {
    args: ["run", ...flags, path, ...args],
    cwd,
    env: { NO_COLOR: "1", ...env },
    stdin: "null",
  });
  return await resultOf(command);
}

function check({ args, says, hint, code }: Refusal, result: ProcessResult): void {
  const { stderr, stdout } = result;
  const label = `${args.join(" ")}: ${stderr}`;
  assert.equal(result.code, code ?? 2, label);
  assert.match(stderr, says, label);
  assert.match(stderr, hint, label);
  // Nothing was begun, left behind, or called a bug.
  assert.doesNotMatch(stderr, /^(model|device|transforms|weights) |bug in Mixline|^\s+at /m, label);
  assert.equal(stdout, "");
}

slowTest("commands name the flags that they lack, and why, before they begin", async () => {
  const cwd = await Deno.makeTempDir();
  const hosts = new Map<string, CliHost>();
  try {
    for (const refusal of REFUSALS) {
      check(refusal, await run(refusal, cwd, hosts));
      assert.deepEqual(await Array.fromAsync(Deno.readDir(cwd)), [], refusal.args.join(" "));
    }
  } finally {
    for (const host of hosts.values()) await host[Symbol.asyncDispose]();
    await Deno.remove(cwd, { recursive: true });
  }
});
