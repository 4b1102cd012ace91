/**
 * `generate`: a pipeline's YAML as a script, and a script's pipeline as YAML.
 *
 * @module
 */

import { dirname, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { Command } from "../deps/commander.ts";
import { Pipeline, pipeline } from "../dsl/mod.ts";
import { ConfigError, messageOf } from "../graph/mod.ts";
import { statOf } from "../runtime/mod.ts";
import type { CommandContext } from "./command.ts";
import { importPermission, type Need, processNeed, requirePermissions } from "./permissions.ts";

/** What generated scripts import. */
const LIBRARY = new URL("../mod.ts", import.meta.url).href;

/** The command. */
export function generateCommand({ terminal }: CommandContext) {
  return new Command("generate")
    .description("Turn a pipeline's YAML into a script, or a script's pipeline into YAML")
    .argument("<source>", "YAML file, or a script that exports a pipeline as deployment")
    .option("-o, --output <file>", "file to write (default: standard output)")
    .option("--force", "write over a file that is there")
    .option("--debug", "stack traces of errors")
    .action(async (source, flags) => {
      requirePermissions("generate", generateNeeds(source, flags.output));
      if (flags.output !== undefined) checkOutput(flags.output, flags.force === true);
      const text = isScript(source)
        ? (await readScript(source)).toYaml()
        : await writeScript(source);
      if (flags.output === undefined) return terminal.result(text);
      await writeFile(flags.output, text, flags.force === true);
      if (!isScript(source)) {
        await deno(["check", "--quiet", ...importPermission(), flags.output]);
      }
    });
}

function isScript(source: string): boolean {
  return /\.[cm]?[jt]s$/.test(source);
}

/** Files, and Deno itself, which formats and checks scripts. */
function generateNeeds(source: string, output: string | undefined): readonly Need[] {
  return [
    { permission: { name: "read", path: source }, why: "it reads the source" },
    ...(output === undefined
      ? []
      : [{ permission: { name: "write", path: output }, why: "it writes the output" } as const]),
    ...(isScript(source) ? [] : [processNeed("deno fmt formats the script")]),
  ];
}

/** A place that is taken or cannot be written to is known before the work. */
function checkOutput(file: string, force: boolean): void {
  const info = statOf(file);
  const folder = statOf(dirname(file));
  if (info?.isDirectory) throw unwritable(file, "a file's name", "a folder");
  if (info && !force) throw unwritable(file, "no file there", "one");
  if (!folder?.isDirectory) throw unwritable(file, "a folder above it", folder ? "a file" : "none");
}

function unwritable(file: string, expected: string, got: string, cause?: unknown): ConfigError {
  return new ConfigError(
    "cli/output",
    `Cannot write file "${file}": expected ${expected}, got ${got}`,
    { hint: got === "one" ? "Give --force to write over it" : "Choose another file", cause },
  );
}

/** The script of a YAML file, formatted. */
async function writeScript(source: string): Promise<string> {
  const code = pipeline.fromYaml(source).toTypeScript({ module: LIBRARY, comments: true });
  const header = `/**
 * The pipeline of ${source.replaceAll("*/", "* /")}. Run with \`mixline run\`, or with
 * \`deno task run\` in Mixline's folder, and then this file and what follows:
 * the model, where the pipeline names none, and a prompt.
 *
 * @module
 */

`;
  return await deno(["fmt", "--line-width=100", "--ext=ts", "-"], header + code);
}

/** The pipeline that a script exports. */
async function readScript(source: string): Promise<Pipeline> {
  const { deployment } = await import(pathToFileURL(resolve(source)).href).catch((cause) => {
    throw new ConfigError(
      "cli/script",
      `Cannot read script "${source}": expected a module that loads, got "${messageOf(cause)}"`,
      { hint: "Try it by itself with deno check", cause },
    );
  });
  if (deployment instanceof Pipeline) return deployment;
  throw new ConfigError(
    "cli/script",
    `Cannot read script "${source}": expected an export "deployment" that is a pipeline, got ${
      deployment === undefined ? "none" : `a ${typeof deployment}`
    }`,
    { hint: `Export it as const deployment, with pipeline of ${LIBRARY}` },
  );
}

async function writeFile(file: string, text: string, force: boolean): Promise<void> {
  try {
    await Deno.writeTextFile(file, text, { createNew: !force });
  } catch (cause) {
    const isTaken = cause instanceof Deno.errors.AlreadyExists;
    throw isTaken
      ? unwritable(file, "no file there", "one", cause)
      : unwritable(file, "a place to write to", `"${messageOf(cause)}"`, cause);
  }
}

/** Runs Deno itself; what it printed. */
async function deno(args: readonly string[], input = ""): Promise<string> {
  const child = new Deno.Command("deno", {
    args: [...args],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(input));
  await writer.close();
  const { code, stdout, stderr } = await child.output();
  if (code === 0) return new TextDecoder().decode(stdout);
  throw new Error(`deno ${args[0]} failed: ${new TextDecoder().decode(stderr)}`);
}
