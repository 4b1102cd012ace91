import assert from "node:assert/strict";
import { leftOut, readArguments, readCounts } from "./run.ts";
import { slowTest } from "./support/quick.ts";

Deno.test("readCounts() reads deno test's last line when tests pass, fail and are ignored", () => {
  const output = "a ... ok (1ms)\n\nFAILED | 12 passed (3 steps) | 2 failed | 4 ignored (5s)\n\n";
  assert.deepEqual(readCounts(output), { passed: 12, failed: 2, skipped: 4 });
});

Deno.test("readCounts() gives zeros when the run stopped before its first test", () => {
  assert.deepEqual(readCounts("error: Type checking failed."), {
    passed: 0,
    failed: 0,
    skipped: 0,
  });
});

Deno.test("readArguments() tells paths from flags and their values", () => {
  assert.deepEqual(
    readArguments(["./tests/dsl/", "--filter", "deploy()", "--fail-fast", "graph"]),
    {
      paths: ["tests/dsl", "graph"],
      flags: ["--filter", "deploy()", "--fail-fast"],
    },
  );
});

Deno.test("leftOut() counts tests by the reason in their names", () => {
  const output = [
    "fusedMoe() is right [left out: no WebGPU adapter] ... ignored (0ms)",
    "engine.generate() is right [left out: no WebGPU adapter] ... ignored (0ms)",
    "a slow one [left out: MIXLINE_SLOW is not set] ... ignored (0ms)",
    "another ... ignored (0ms)",
  ].join("\n");
  assert.deepEqual([...leftOut(output)], [
    ["no WebGPU adapter", 2],
    ["MIXLINE_SLOW is not set", 1],
  ]);
});

/** Runs the test entry on one test, on a machine with no adapter and with an apt-get that only notes. */
async function runWithoutAdapter(env: Readonly<Record<string, string>>) {
  const bin = await Deno.makeTempDir();
  try {
    const commands = {
      "apt-get": `#!/bin/sh\necho "$@" >> ${bin}/log\n`,
      sudo: '#!/bin/sh\n[ "$1" = -n ] && shift\nexec "$@"\n',
    };
    for (const [name, text] of Object.entries(commands)) {
      await Deno.writeTextFile(`${bin}/${name}`, text, { mode: 0o755 });
    }
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "-A",
        "tests/run.ts",
        "--filter",
        "readCounts() gives zeros",
        "tests/run_test.ts",
      ],
      cwd: new URL("../", import.meta.url),
      stdin: "null",
      env: {
        PATH: `${bin}:${Deno.env.get("PATH")}`,
        VK_DRIVER_FILES: "/nonexistent",
        VK_ICD_FILENAMES: "/nonexistent",
        DENO_WEBGPU_BACKEND: "vulkan",
        ...env,
      },
    }).output();
    const log = await Deno.readTextFile(`${bin}/log`).catch(() => "");
    const [output, errors] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
    return { code, output, errors, log };
  } finally {
    await Deno.remove(bin, { recursive: true });
  }
}

/** A test of how Linux gets a driver. */
function linuxTest(name: string, fn: () => Promise<void>): void {
  if (Deno.build.os === "linux") slowTest(name, fn);
  else Deno.test({ name: `${name} [left out: not Linux]`, ignore: true, fn });
}

linuxTest("the test entry installs nothing unasked, and says how to go on", async () => {
  const { code, output, errors, log } = await runWithoutAdapter({ CI: "" });
  assert.equal(code, 0, output + errors);
  assert.equal(log, "");
  assert.match(
    output,
    /^No WebGPU adapter, and there is nobody to ask; run "(sudo -n )?apt-get install -y .*mesa-vulkan-drivers", set CI=1 to have it run, or test without a device: --quick$/m,
  );
  assert.match(output, /^1 passed, 0 failed, 0 skipped$/m);
});

linuxTest(
  "the test entry installs the driver where CI has agreed, and says with what command",
  async () => {
    const { code, output, errors, log } = await runWithoutAdapter({ CI: "1" });
    assert.equal(code, 0, output + errors);
    assert.equal(log, "install -y --no-install-recommends mesa-vulkan-drivers\n");
    assert.match(output, /^No WebGPU adapter\. A software one comes with Debian's .*: .*apt-get/m);
  },
);

slowTest("a green run of the test entry writes nothing to stderr", async () => {
  const { code, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "tests/run.ts", "--quick", "tests/graph"],
    cwd: new URL("../", import.meta.url),
    stdin: "null",
  }).output();
  assert.equal(new TextDecoder().decode(stderr), "");
  assert.equal(code, 0);
});
