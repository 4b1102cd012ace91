/**
 * Keys that several families have in common, and rules about them.
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import { hiddenActSchema } from "../blocks/activation.ts";
import { baseConfigFields, moeConfigFields } from "./hf_config.ts";

/** A size. */
export const sizeSchema = z.int().positive();

/** A number of layers or experts that may be none. */
export const countSchema = z.int().nonnegative();

/** Keys of a sparse decoder with an activation of its own. */
export const sparseConfigFields = {
  ...baseConfigFields,
  ...moeConfigFields,
  hidden_act: hiddenActSchema,
  attention_bias: z.boolean().default(false),
};

/** Keys of a router with groups of experts. */
export const groupConfigFields = {
  n_group: sizeSchema.default(1),
  topk_group: sizeSchema.default(1),
  norm_topk_prob: z.boolean().default(true),
  routed_scaling_factor: z.number().default(1),
};

/** Types of attention by layer. */
export const layerTypesSchema = z.array(z.enum(["sliding_attention", "full_attention"])).optional();

/** Types of MLP by layer. */
export const mlpTypesSchema = z.array(z.enum(["dense", "sparse"])).optional();

/** Whether a layer is sparse: by the list, or from a layer on. */
export function isSparseLayer(
  types: readonly string[] | undefined,
  index: number,
  firstSparse: number,
): boolean {
  return types ? types[index] === "sparse" : index >= firstSparse;
}
