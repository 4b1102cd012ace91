/**
 * From flags to a pipeline. Of two layers that set a value the later one here wins: bundled model,
 * files, environment, `--set`, flags of their own.
 *
 * @module
 */

import { type Pipeline, pipeline } from "../dsl/mod.ts";
import { ConfigError } from "../graph/mod.ts";
import { bundledModel } from "./bundled_model.ts";
import type { ModelFlags } from "./deploy_flags.ts";

/**
 * The pipeline that flags, files and environment ask for.
 *
 * @throws {ConfigError} for names and values that do not exist.
 */
export function configure(flags: ModelFlags): Pipeline {
  const files = flags.config ?? [];
  if (files.includes("")) {
    throw new ConfigError(
      "cli/invalid-value",
      'Cannot read flag "--config": expected a file, got ""',
      { details: { flag: "--config", value: "" } },
    );
  }
  // Loaded first: files may use what plug-ins bring.
  const plugged = flags.plugin
    ? pipeline.fromFlags([`--plugins=${JSON.stringify(flags.plugin)}`])
    : pipeline.empty();
  const configured = pipeline.fromYaml(...files)
    .overlay(plugged)
    .overlay(pipeline.fromEnvironment())
    .overlay(pipeline.fromFlags(flags.set ?? []));
  return withModel(withFlags(configured, flags));
}

function withFlags(
  lower: Pipeline,
  { model, executor, webgpu, kvCacheDtype }: ModelFlags,
): Pipeline {
  const named = [
    ...(model === undefined ? [] : [`--model=${model}`]),
    ...(executor === undefined ? [] : [`--executor=${executor}`]),
    ...(webgpu === undefined ? [] : [`--webgpu=${webgpu}`]),
    ...(kvCacheDtype === undefined ? [] : [`--kv-cache-dtype=${kvCacheDtype}`]),
  ];
  return lower.overlay(pipeline.fromFlags(named));
}

/** The bundled model, where none is named. */
function withModel(configured: Pipeline): Pipeline {
  const { model } = configured.resolve().settings;
  return model === null ? configured.settings({ model: bundledModel() }) : configured;
}
