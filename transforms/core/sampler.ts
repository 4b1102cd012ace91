/**
 * Samplers of plug-ins. A sampler is a transform of the stage `compile`, so that its YAML key, its method
 * of pipelines, its fields and their schema are derived as those of any transform are. It says before each
 * draw which tokens are allowed and what is added to their logits; the device draws.
 *
 * @module
 */

import type { z } from "../../deps/zod.ts";
import { addSampler, type DrawRules, type SamplerContext } from "../../graph/mod.ts";
import type { BaseConfig } from "../fields.ts";
import { defineTransform, type TransformDefinition } from "./transform.ts";

/** What a sampler is. `Own` is the schema of its own fields. */
export interface SamplerDefinition<Key extends string, Own extends z.ZodRawShape> {
  /** YAML key in snake_case; the DSL method is its camelCase form. */
  readonly key: Key;
  /** One sentence, imperative. */
  readonly summary: string;
  /** Own fields; every one has a default and a description. */
  readonly config: z.ZodObject<Own>;
  /**
   * Called once for a deployment, before weights are uploaded; what it throws ends the deployment. The
   * result is called once for each sequence, with the tokens of its prompt.
   */
  open(
    config: z.output<z.ZodObject<Own>> & BaseConfig,
    context: SamplerContext,
  ): (prompt: Int32Array) => DrawRules;
}

/**
 * Makes a sampler: a transform for `definePlugin({ samplers: [..] })` or `pipeline().use(..)`.
 *
 * @example
 * ```ts
 * import { z } from "../../deps/zod.ts";
 * import { defineSampler } from "./sampler.ts";
 * const noRepeat = defineSampler({
 *   key: "no_repeat",
 *   summary: "Make the token that came last less likely",
 *   config: z.object({ penalty: z.number().default(5).describe("Taken off its logit") }),
 *   open: ({ penalty }) => () => (made) =>
 *     made.length === 0 ? {} : { bias: new Map([[made[made.length - 1], -penalty]]) },
 * });
 * console.assert(noRepeat.stage === "compile");
 * ```
 */
export function defineSampler<const Key extends string, Own extends z.ZodRawShape>(
  { key, summary, config, open }: SamplerDefinition<Key, Own>,
): TransformDefinition<Key, Own, string> {
  return defineTransform({
    key,
    stage: "compile",
    summary,
    config,
    plan: () => ({ matches: [key], notes: ["asked before each draw"] }),
    apply: (graph, _plan, fields) =>
      addSampler(graph, { key, open: (context) => open(fields, context) }),
  });
}
