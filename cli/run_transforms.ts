/**
 * The graph that a deployment would run, without reading its weights.
 *
 * @module
 */

import type { ResolvedPipeline } from "../dsl/mod.ts";
import { ConfigError, type Graph, nearest } from "../graph/mod.ts";
import type { Model } from "../models/mod.ts";
import { openExecutor } from "../runtime/mod.ts";
import { optimize, type TransformRecord } from "../transforms/mod.ts";

/** What the transforms need. */
export interface Subject {
  readonly resolved: ResolvedPipeline;
  readonly model: Model;
  readonly signal: AbortSignal;
}

/** Runs the transforms for the device that a deployment would take, and frees it. */
export async function runTransforms(
  { resolved, model, signal }: Subject,
  after: (graph: Graph, key: string) => void = () => {},
): Promise<{ graph: Graph; history: readonly TransformRecord[] }> {
  const { settings, transforms } = resolved;
  const { executor, profile } = await openExecutor(settings.executor, {
    webgpu: settings.webgpu,
  });
  try {
    const maxSeqLen = settings.maxSeqLen ?? model.config.max_position_embeddings;
    return await optimize({
      steps: transforms,
      signal,
      context: {
        model,
        target: { executor: executor.kind, ...(profile && { profile }) },
        settings: {
          maxSeqLen,
          maxBatchSize: settings.maxBatchSize,
          maxNumTokens: settings.maxNumTokens ?? maxSeqLen,
        },
        log: () => {},
      },
      afterTransform: (graph, { key }) => after(graph, key),
    });
  } finally {
    executor.dispose();
  }
}

/**
 * Checks that a flag names a transform that will run.
 *
 * @throws {ConfigError} `cli/invalid-value`.
 */
export function checkTransform(
  flag: string,
  key: string,
  { transforms }: ResolvedPipeline,
): void {
  const known = transforms.filter(({ enabled }) => enabled).map((transform) => transform.key);
  if (known.includes(key)) return;
  const near = nearest(key, known);
  throw new ConfigError(
    "cli/invalid-value",
    `Cannot read flag "${flag}": expected a transform of the pipeline that is enabled, got "${key}"`,
    {
      hint: near ? `Did you mean "${near}"?` : `Choose one of ${known.join(", ")}`,
      details: { known },
    },
  );
}
