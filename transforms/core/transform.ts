/**
 * What a transform is. The YAML key, the DSL method, the JSON Schema and the reference page are derived
 * from its one definition.
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import type { Graph, NearMiss } from "../../graph/mod.ts";
import type {
  Architecture,
  BuildOptions,
  Checkpoint,
  EagerGraph,
  ModelConfig,
} from "../../models/mod.ts";
import type { DeviceProfile } from "../../kernels/mod.ts";
import type { BaseConfig } from "../fields.ts";
import { type Stage, STAGES } from "./stage.ts";
import { accepted } from "./accepted.ts";

/** Fields that every transform has, with AutoDeploy's names. */
export const baseConfigSchema = z.object({
  stage: z.enum(STAGES).describe("Stage the transform runs in"),
  enabled: z.boolean().default(true).describe("Whether the transform runs at all"),
  skip_on_error: z.boolean().default(false).describe(
    "On an error, restore the graph and go on instead of stopping",
  ),
  run_per_gm: z.boolean().default(true).describe(accepted("there is one graph")),
  run_graph_cleanup: z.boolean().default(true).describe("Remove dead nodes after the transform"),
  run_shape_prop: z.boolean().default(false).describe("Infer types again after the transform"),
  requires_clean_graph: z.boolean().default(true).describe(
    "Remove dead nodes before the transform",
  ),
  requires_shape_prop: z.boolean().default(false).describe(
    "Infer types again before the transform",
  ),
  expect_mem_change: z.boolean().default(false).describe(
    "The transform is expected to change the bytes of the weights",
  ),
  after: z.array(z.string()).default([]).describe("Keys that must have run before, when enabled"),
  before: z.array(z.string()).default([]).describe("Keys that must run later, when enabled"),
});

/** A node that makes a transform impossible, and why. */
export interface Refusal {
  /** Its module path and op. */
  readonly node: string;
  /** A clause: what the transform needs and the node has not. */
  readonly reason: string;
}

/** What a transform found before it changes anything. */
export interface TransformPlan<Match = unknown> {
  /** What `apply` will rewrite, in any form. */
  readonly matches: readonly Match[];
  /** Nodes that almost matched, and the condition that each failed. */
  readonly nearMisses?: readonly NearMiss[];
  /** Sentences for the user: what was chosen and why, what is left alone. */
  readonly notes?: readonly string[];
  /** Why the transform has nothing to do; it then counts as skipped. */
  readonly skipped?: string;
  /** Any of them stops the transform before it changes the graph. */
  readonly refusals?: readonly Refusal[];
}

/** What transforms may know besides the graph. The caller of the optimizer provides it. */
export interface TransformContext {
  /** The model folder that `build_model` reads. */
  readonly model: ModelHandle;
  /** Where the result will run, and the device when it is known. */
  readonly target: {
    readonly executor: "cpu" | "webgpu";
    readonly profile?: DeviceProfile;
  };
  /** Top-level settings of the pipeline: `max_seq_len`, `max_batch_size`, `max_num_tokens`. */
  readonly settings: {
    readonly maxSeqLen: number;
    readonly maxBatchSize: number;
    readonly maxNumTokens: number;
  };
  /** Shows a note to the user, one sentence. */
  readonly log: (message: string) => void;
}

/** The part of a loaded model that transforms use; `models/` provides it. */
export interface ModelHandle {
  /** The model's folder. */
  readonly path: string;
  /** Last part of the path or of the name on the hub. */
  readonly name: string;
  /** Its config.json with the defaults of its class. */
  readonly config: ModelConfig;
  /** Bytes of all tensors. */
  readonly bytes: number;
  /** @internal */
  readonly architecture: Architecture;
  /** @internal */
  readonly checkpoint: Checkpoint;
  /** @internal */
  build(options?: BuildOptions): EagerGraph;
}

/** A transform. `Own` is the schema of its own fields. */
export interface TransformDefinition<
  Key extends string = string,
  Own extends z.ZodRawShape = z.ZodRawShape,
  Match = unknown,
> {
  /** YAML key in snake_case; the DSL method is its camelCase form. */
  readonly key: Key;
  /** Stage it runs in, after those that stand before it. */
  readonly stage: Stage;
  /** One sentence, imperative. */
  readonly summary: string;
  /** Other defaults of the base fields, such as `{ enabled: false }`. */
  readonly base?: Partial<Omit<BaseConfig, "stage">>;
  /** Own fields; every one has a default and a description. */
  readonly config: z.ZodObject<Own>;
  /** Finds every match and every refusal, and changes nothing. */
  plan(
    graph: Graph,
    config: z.output<z.ZodObject<Own>> & BaseConfig,
    context: TransformContext,
  ): TransformPlan<Match> | Promise<TransformPlan<Match>>;
  /** Rewrites what the plan found; carries every attribute forward. */
  apply(
    graph: Graph,
    plan: TransformPlan<Match>,
    config: z.output<z.ZodObject<Own>> & BaseConfig,
    context: TransformContext,
  ): void | Promise<void>;
}

/** Makes a transform; a function so that its type parameters are inferred. */
export function defineTransform<const Key extends string, Own extends z.ZodRawShape, Match>(
  definition: TransformDefinition<Key, Own, Match>,
): TransformDefinition<Key, Own, Match> {
  return definition;
}
