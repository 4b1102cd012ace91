/**
 * The DSL: pipelines in TypeScript and YAML, provenance, generated programs and schemas, deployment.
 *
 * @module
 */

export type { DeployEvent, DeployOptions } from "./deploy.ts";
export { type CamelCase, camelCase } from "./names.ts";
export { formatOrigin, type Origin } from "./origin.ts";
export type { Plain, PlainRecord } from "./overlay.ts";
export {
  type ConfigSource,
  deploy,
  Pipeline,
  pipeline,
  type PipelineDeployOptions,
  type PipelineStart,
  type YamlOptions,
} from "./pipeline.ts";
export { definePlugin, type Plugin, type PluginTransform, usePlugin } from "./plugins.ts";
export type { ResolvedPipeline, ResolvedTransform, ResolvedValue } from "./resolve.ts";
export type { Settings, SettingsInput } from "./setting_types.ts";
export { SETTING_NAMES, settingsSchema, SHORTCUTS } from "./settings.ts";
export type { TransformMethods } from "./transform_methods.ts";
export { inapplicableSetting, inapplicableSettings } from "./autodeploy.ts";
export { pipelineJsonSchema } from "./schema.ts";
export {
  exportTrtllm,
  TRTLLM_FILES,
  TRTLLM_IMAGE,
  type TrtllmExport,
  type TrtllmOptions,
} from "./export/export_trtllm.ts";
export type { LeftBehind } from "./export/trtllm_config.ts";
export { formatBytes } from "./report/format.ts";
export { ENVIRONMENT_PREFIX, OTHER_VARIABLES } from "./variables.ts";
export { compareLogits, NOTHING_CHANGED, TransformVerifier, type VerifyRow } from "./verify.ts";
export type { TypeScriptOptions } from "./write_typescript.ts";
