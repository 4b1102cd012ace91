/**
 * `detect_sharding` and `sharding_transform_executor`: accepted with all of AutoDeploy's fields and
 * skipped, as AutoDeploy does when it runs on one device.
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import { defineTransform } from "../core/transform.ts";

const SINGLE_DEVICE = "Skipping sharding for a single device";

/** Finds what could be split across devices; there is one. */
export const detectSharding = defineTransform({
  key: "detect_sharding",
  stage: "sharding",
  summary: "Accepted for AutoDeploy's files; skipped, because there is one device",
  base: { requires_shape_prop: true },
  config: z.object({
    simple_shard_only: z.boolean().default(false).describe("Unused with one device"),
    sharding_source: z.array(z.string()).default(["manual", "factory", "heuristic"]).describe(
      "Unused with one device",
    ),
    support_partial_config: z.boolean().default(true).describe("Unused with one device"),
    sharding_dims: z.array(z.string()).default(["tp", "ep", "bmm"]).describe(
      "Unused with one device",
    ),
    shard_all_unprocessed: z.boolean().default(true).describe("Unused with one device"),
    enable_attention_dp: z.boolean().default(false).describe("Unused with one device"),
    allreduce_strategy: z.string().default("NCCL").describe("Unused with one device"),
    dist_backend: z.string().default("auto").describe("Unused with one device"),
    factory_config: z.record(z.string(), z.unknown()).default({}).describe(
      "Unused with one device",
    ),
    manual_config: z.record(z.string(), z.unknown()).default({}).describe("Unused with one device"),
    dist_mapping: z.record(z.string(), z.unknown()).default({}).describe("Unused with one device"),
  }),
  plan: () => ({ matches: [], skipped: SINGLE_DEVICE }),
  apply() {},
});

/** Splits the graph across devices; there is one. */
export const shardingTransformExecutor = defineTransform({
  key: "sharding_transform_executor",
  stage: "sharding",
  summary: "Accepted for AutoDeploy's files; skipped, because there is one device",
  base: { run_shape_prop: true },
  config: z.object({}),
  plan: () => ({ matches: [], skipped: SINGLE_DEVICE }),
  apply() {},
});
