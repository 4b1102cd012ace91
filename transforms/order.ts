/**
 * From the keys of a configuration to the list of transforms to run: definitions looked up, fields
 * parsed, stages sorted, constraints checked.
 *
 * @module
 */

import { ConfigError, nearest } from "../graph/mod.ts";
import { type AnyConfig, type AnyTransform, parseConfig } from "./core/config.ts";
import { notApplicable, notApplicableKeys } from "./core/not_applicable.ts";
import { findTransform, transformKeys } from "./registry.ts";
import { type Stage, STAGES } from "./core/stage.ts";

/** One entry of a resolved configuration. */
export interface PipelineStep {
  readonly key: string;
  /** Fields as written; defaults are filled in. */
  readonly config: Readonly<Record<string, unknown>>;
  /** For a transform that is not registered. */
  readonly definition?: AnyTransform;
}

/** A step with its definition and all fields, or one that has no meaning on WebGPU. */
export type ResolvedStep =
  & { readonly key: string; readonly stage: Stage }
  & (
    | { readonly definition: AnyTransform; readonly config: AnyConfig }
    | { readonly definition?: undefined; readonly enabled: boolean }
  );

/**
 * Steps in execution order: by stage, and inside a stage in the given order.
 *
 * @throws {ConfigError} `config/unknown-transform`, `config/duplicate-transform`,
 * `config/unknown-field`, `config/invalid`, `config/order`.
 */
export function orderSteps(steps: readonly PipelineStep[]): ResolvedStep[] {
  const resolved = steps.map(resolveStep);
  const seen = new Set<string>();
  for (const { key } of resolved) {
    if (seen.has(key)) {
      throw new ConfigError(
        "config/duplicate-transform",
        `Cannot order transforms: expected each key once, got "${key}" twice`,
        { details: { transform: key } },
      );
    }
    seen.add(key);
  }
  const ordered = resolved.toSorted((a, b) => STAGES.indexOf(a.stage) - STAGES.indexOf(b.stage));
  checkConstraints(ordered);
  return ordered;
}

function resolveStep({ key, config, definition }: PipelineStep): ResolvedStep {
  const found = definition ?? findTransform(key);
  if (found) {
    const fields = parseConfig(found, config);
    return { key, stage: fields.stage, definition: found, config: fields };
  }
  const inapplicable = notApplicable(key);
  if (inapplicable) {
    return { key, stage: inapplicable.stage, enabled: config.enabled !== false };
  }
  throw unknownTransform(key, "order transforms");
}

function unknownTransform(key: string, verb: string): ConfigError {
  const near = nearest(key, [...transformKeys(), ...notApplicableKeys()]);
  return new ConfigError(
    "config/unknown-transform",
    `Cannot ${verb}: expected a known transform, got "${key}"`,
    {
      hint: near
        ? `Did you mean "${near}"?`
        : "Pass its definition, or use a key of the reference page",
      details: { transform: key },
    },
  );
}

/** `after` and `before` apply only to transforms that are present and enabled. */
function checkConstraints(steps: readonly ResolvedStep[]): void {
  const enabled = steps.filter((step) => step.definition && step.config.enabled);
  const position = new Map(enabled.map((step, i) => [step.key, i]));
  const present = new Set(steps.map((step) => step.key));
  for (const [i, step] of enabled.entries()) {
    if (!step.definition) continue;
    const { after, before } = step.config;
    for (const key of [...after, ...before]) {
      if (!present.has(key) && !findTransform(key) && !notApplicable(key)) {
        throw unknownTransform(key, `read the order of transform "${step.key}"`);
      }
    }
    for (const key of after) if ((position.get(key) ?? -1) > i) throw orderError(key, step.key);
    for (const key of before) if ((position.get(key) ?? i) < i) throw orderError(step.key, key);
  }
}

function orderError(first: string, second: string): ConfigError {
  return new ConfigError(
    "config/order",
    `Cannot order transforms: expected "${first}" before "${second}", got it after`,
    {
      hint:
        `Move "${first}" up, or change the after and before fields of the two; inside a stage transforms run in the order of the configuration`,
      details: { first, second },
    },
  );
}
