/**
 * What authors of transforms need: definitions and plug-ins, and the graph with its ops, weights, patterns
 * and rewrites.
 *
 * @module
 */

export { definePlugin, type Plugin, type PluginTransform, usePlugin } from "../dsl/mod.ts";
export {
  type AnyTransform,
  type BaseConfig,
  defineTransform,
  type DefinitionFields,
  type ModelHandle,
  type OwnFields,
  type Refusal,
  registerTransform,
  type Stage,
  STAGES,
  type TransformContext,
  type TransformDefinition,
  type TransformPlan,
  type TransformRecord,
} from "../transforms/mod.ts";
export * from "../graph/mod.ts";
