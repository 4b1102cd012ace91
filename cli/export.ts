/**
 * `export`: a pipeline as a folder for another runtime.
 *
 * @module
 */

import { basename, dirname, join, resolve } from "node:path";
import { Command, Option } from "../deps/commander.ts";
import { exportTrtllm, pipeline, TRTLLM_FILES, TRTLLM_IMAGE } from "../dsl/mod.ts";
import { removeQuietly } from "../runtime/mod.ts";
import { ConfigError, messageOf, OutputError } from "../graph/mod.ts";
import type { CommandContext } from "./command.ts";
import { collect, countFlag } from "./flags.ts";
import { refusalHint, requirePermissions } from "./permissions.ts";

/** Runtimes that a pipeline can be exported to. */
const TARGETS = ["trtllm"] as const;

/** The command. */
export function exportCommand(context: CommandContext) {
  return new Command("export")
    .description("Write a pipeline as a folder that TensorRT-LLM's AutoDeploy runs on many GPUs")
    .argument("<config>", "YAML file of the pipeline")
    .addOption(
      new Option("--target <name>", "runtime to write for").choices(TARGETS).makeOptionMandatory(),
    )
    .requiredOption("-o, --output <folder>", "folder to write; it must not be there yet")
    .option("-m, --model <path|hub-id>", "model, where the file names none or another one")
    .option("-s, --set <key=value...>", "single values of the pipeline", collect)
    .option("--world-size <n>", "GPUs in all (default: 1)", countFlag("--world-size", 1))
    .option("--gpus-per-node <n>", "GPUs of a node (default: 8)", countFlag("--gpus-per-node", 1))
    .option("--image <name>", `container image (default: ${TRTLLM_IMAGE})`)
    .option("--force", "replace the folder if it is there, and an export")
    .option("--json", "one JSON document on stdout")
    .option("--debug", "stack traces of errors")
    .action((config, flags) => writeExport(config, flags, context));
}

/** Parsed flags of `export`. */
interface ExportFlags {
  readonly output: string;
  readonly model?: string;
  readonly set?: readonly string[];
  readonly worldSize?: number;
  readonly gpusPerNode?: number;
  readonly image?: string;
  readonly force?: true;
}

function writeExport(
  config: string,
  { output, model, set = [], force, ...options }: ExportFlags,
  { terminal }: CommandContext,
): void {
  requirePermissions("export", [
    { permission: { name: "read", path: config }, why: "it reads the pipeline" },
    { permission: { name: "write", path: dirname(resolve(output)) }, why: "it writes the folder" },
  ]);
  const named = model === undefined ? [] : [`model=${model}`];
  const resolved = pipeline.fromYaml(config).overlay(pipeline.fromFlags([...set, ...named]))
    .resolve();
  checkTarget(output, force === true);
  const { files, leftBehind } = exportTrtllm(resolved, options);
  writeFolder(output, files, force === true);
  if (terminal.json) {
    const document = { folder: output, files: Object.keys(files), leftBehind };
    return terminal.result(`${JSON.stringify(document, null, 2)}\n`);
  }
  for (const { path, reason } of leftBehind) terminal.progress(`left behind: ${path}: ${reason}`);
  terminal.result(`${Object.keys(files).map((name) => join(output, name)).join("\n")}\n`);
}

/** What is there already is replaced only when asked for, and only if an export has written all of it. */
function checkTarget(folder: string, force: boolean): void {
  const path = resolve(folder);
  if (!exists(path)) return;
  if (!force) {
    throw new ConfigError(
      "cli/output",
      `Cannot write folder "${folder}": expected none there, got one`,
      { hint: "Give --force to replace it" },
    );
  }
  const other = otherThanExport(path);
  if (other === undefined) return;
  throw new ConfigError(
    "cli/output",
    `Cannot replace "${folder}": expected a folder with files of an export alone, got ${other}`,
    { hint: "Name another folder, or move what is in this one" },
  );
}

/** What is at a path that no export has written; undefined where there is nothing of that kind. */
function otherThanExport(path: string): string | undefined {
  if (!Deno.lstatSync(path).isDirectory) return "something else";
  const other = [...Deno.readDirSync(path)]
    .find(({ name, isFile }) => !isFile || !TRTLLM_FILES.some((each) => each === name));
  return other && `"${other.name}"`;
}

/** Writes all files or none: into a folder beside the wanted one, which is then renamed. */
function writeFolder(
  folder: string,
  files: Readonly<Record<string, string>>,
  force: boolean,
): void {
  const target = resolve(folder);
  const unfinished = join(dirname(target), `.${basename(target)}.unfinished`);
  try {
    removeFolder(unfinished);
    Deno.mkdirSync(unfinished, { recursive: true });
    for (const [name, text] of Object.entries(files)) {
      Deno.writeTextFileSync(join(unfinished, name), text);
    }
    if (force) removeFolder(target);
    Deno.renameSync(unfinished, target);
  } catch (cause) {
    removeQuietly(unfinished);
    throw new OutputError("output/file", `Cannot write folder "${folder}": ${messageOf(cause)}`, {
      hint: refusalHint(cause) ?? "Name a folder elsewhere, where there is space and you may write",
      cause,
    });
  }
}

function exists(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

function removeFolder(path: string): void {
  if (exists(path)) Deno.removeSync(path, { recursive: true });
}
