/**
 * Plug-ins: modules in any folder that bring transforms, MoE backends, architectures and samplers. A plug-in is
 * named in YAML (`plugins: [./mine.ts]`), by `--plugin`, or used in code.
 *
 * @module
 */

import { createRequire } from "node:module";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { ConfigError, messageOf } from "../graph/mod.ts";
import { type MoeBackend, moeBackends, registerMoeBackend } from "../kernels/mod.ts";
import { type Architecture, registerArchitecture } from "../models/mod.ts";
import {
  type AnyTransform,
  registerTransform,
  type TransformDefinition,
} from "../transforms/mod.ts";

/** What a plug-in brings; its module has it as its default export. */
export interface Plugin {
  /** Made with `defineTransform`: each becomes a YAML key and a method of pipelines. */
  readonly transforms?: readonly PluginTransform[];
  /** Each becomes a value of `backend` wherever a backend is chosen. */
  readonly moeBackends?: readonly MoeBackend[];
  /** Made with `defineSampler`: each becomes a YAML key and a method of pipelines. */
  readonly samplers?: readonly PluginTransform[];
  /** Made with `defineArchitecture`: models whose config.json names their classes load. */
  readonly architectures?: readonly Architecture[];
}

/** A transform of any fields: what a definition takes is checked where it is defined. */
export type PluginTransform = Pick<
  TransformDefinition<string>,
  "key" | "stage" | "summary" | "base" | "config"
>;

/** What is wrong with a plug-in: the end of a sentence, and what to do. */
export interface PluginProblem {
  readonly code: string;
  readonly problem: string;
  readonly hint: string;
}

const PARTS = ["transforms", "moeBackends", "architectures", "samplers"] as const;

/** Gives the plug-in as it is; a function so that its type is checked where it is written. */
export function definePlugin(plugin: Plugin): Plugin {
  return plugin;
}

/**
 * Registers everything that a plug-in brings; what is there already stays.
 *
 * @throws {ConfigError} for names that are taken and parts that are missing.
 *
 * @example
 * ```ts
 * import { z } from "../deps/zod.ts";
 * import { defineTransform } from "../transforms/mod.ts";
 * import { pipeline } from "./pipeline.ts";
 * import { usePlugin } from "./plugins.ts";
 * const countNodes = defineTransform({
 *   key: "count_nodes",
 *   stage: "compile",
 *   summary: "Say how many nodes the graph has",
 *   config: z.object({ loud: z.boolean().default(false).describe("Say it in a note") }),
 *   plan: (graph) => ({ matches: [], notes: [`${graph.nodes.length} nodes`] }),
 *   apply() {},
 * });
 * usePlugin({ transforms: [countNodes] });
 * const counting = pipeline.fromYaml("transforms: { count_nodes: { loud: true } }");
 * console.assert(counting.equals(pipeline.fromYaml(counting.toYaml())));
 * ```
 */
export function usePlugin(plugin: Plugin): void {
  for (const transform of [...plugin.transforms ?? [], ...plugin.samplers ?? []]) {
    registerTransform(transform as AnyTransform);
  }
  for (const backend of plugin.moeBackends ?? []) {
    if (!moeBackends().includes(backend)) registerMoeBackend(backend);
  }
  for (const architecture of plugin.architectures ?? []) registerArchitecture(architecture);
}

/** The absolute path of a plug-in's module; `folder` is where a relative one starts. */
export function pluginPath(file: string, folder = Deno.cwd()): string {
  return file.startsWith("file:") ? fileURLToPath(file) : resolve(folder, file);
}

/** Loads a module by its absolute path and uses the plug-in in it; says what is wrong, if something is. */
export function tryPlugin(path: string): PluginProblem | undefined {
  const loaded = loadModule(path);
  if ("problem" in loaded) return loaded;
  const { plugin } = loaded;
  const isPlugin = typeof plugin === "object" && plugin !== null &&
    PARTS.some((part) => part in plugin) && Object.keys(plugin).every((name) => isPart(name)) &&
    PARTS.every((part) => Array.isArray((plugin as Plugin)[part] ?? []));
  if (!isPlugin) {
    return {
      code: "config/plugin",
      problem: `expected a default export with ${PARTS.join(", ")}, got ${describe(plugin)}`,
      hint: "Write export default definePlugin({ transforms: [..] })",
    };
  }
  try {
    usePlugin(plugin as Plugin);
    return undefined;
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return {
      code: error.code,
      problem: `expected definitions that can be registered, got an error: ${error.message}`,
      hint: error.hint ?? "Mend the plug-in",
    };
  }
}

/** The default export of a module. Required, not imported: pipelines are read without waiting. */
function loadModule(path: string): { plugin: unknown } | PluginProblem {
  try {
    const { default: plugin } = createRequire(path)(path) as { default?: unknown };
    return { plugin };
  } catch (error) {
    return loadProblem(path, error);
  }
}

function loadProblem(path: string, error: unknown): PluginProblem {
  const code = Object(error).code;
  if (code === "MODULE_NOT_FOUND" && messageOf(error).includes(`'${path}'`)) {
    return {
      code: "config/missing-plugin",
      problem: `expected a module, got no file ${path}`,
      hint: "Give its path relative to the YAML file, or to the current folder on the command line",
    };
  }
  if (code === "ERR_REQUIRE_ASYNC_MODULE") {
    return {
      code: "config/plugin",
      problem: "expected a module that is there at once, got one with await at its top level",
      hint: "Move what waits into a function of the transform or the backend",
    };
  }
  return {
    code: "config/plugin",
    problem: `expected a module that loads, got an error: ${messageOf(error).split("\n")[0]}`,
    hint: "Try it by itself: deno check, then deno run",
  };
}

function isPart(name: string): boolean {
  return (PARTS as readonly string[]).includes(name);
}

function describe(value: unknown): string {
  if (value === undefined) return "none";
  if (typeof value !== "object" || value === null) return `a ${typeof value}`;
  return `an object with ${Object.keys(value).join(", ") || "nothing in it"}`;
}
