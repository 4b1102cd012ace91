/**
 * What authors of samplers need: definitions, and what is said about one draw.
 *
 * @module
 */

export { definePlugin, type Plugin, type PluginTransform, usePlugin } from "../dsl/mod.ts";
export type { DrawRule, DrawRules, SamplerContext } from "../graph/mod.ts";
export { defineSampler, type SamplerDefinition } from "../transforms/mod.ts";
