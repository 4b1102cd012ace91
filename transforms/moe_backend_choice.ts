/**
 * The choice of a backend for fused MoE layers: fields of the configuration, overrides of single
 * layers, and the question whether the backend can serve them. Every `fuse_*_moe` transform has it.
 *
 * @module
 */

import { z } from "zod";
import { type FusedMoeAttrs, inputList, type Node } from "../graph/mod.ts";
import { moeBackend, moeBackendNames, moeBackends, type MoeSpec } from "../kernels/mod.ts";
import type { NearMiss, TransformContext } from "./transform.ts";

/** Values of the fields that {@linkcode backendConfig} adds. */
export interface BackendChoice {
  readonly backend: string;
  readonly overrides: readonly { readonly match: string; readonly backend: string }[];
}

function makeFields() {
  const backend = z.enum(moeBackendNames());
  return {
    backend: backend.default("auto").describe("Implementation of the fused op"),
    overrides: z.array(z.strictObject({
      match: z.string().describe("Module path; * stands for any characters, ? for one"),
      backend: backend.describe("Backend of the layers that match"),
    })).default([]).describe("Backends of single layers; the last entry that matches decides"),
  };
}

/**
 * A schema with the fields `backend` and `overrides` that knows the backends registered at the
 * moment it is asked for; the same object as long as these do not change.
 */
export function backendConfig<Fields extends z.ZodRawShape>(
  fields: Fields,
): () => z.ZodObject<ReturnType<typeof makeFields> & Fields> {
  let [known, schema] = ["", z.object({ ...makeFields(), ...fields })];
  return () => {
    const names = moeBackendNames().join();
    if (known !== names) {
      known = names;
      schema = z.object({ ...makeFields(), ...fields });
    }
    return schema;
  };
}

/** The backend that the configuration gives to a layer. */
export function chosenBackend({ backend, overrides }: BackendChoice, scope: string): string {
  return overrides.findLast(({ match }) => glob(match).test(scope))?.backend ?? backend;
}

/** Overrides that match no layer: a mistake, not a wish. */
export function unusedOverrides(
  { overrides }: BackendChoice,
  layers: readonly Node[],
): NearMiss[] {
  if (layers.length === 0) return [];
  const [first, last] = [layers[0].scope, layers[layers.length - 1].scope];
  return overrides.filter(({ match }) => !layers.some(({ scope }) => glob(match).test(scope)))
    .map(({ match }) => ({
      node: match,
      reason: `no MoE layer matches this override; the layers are ${first} .. ${last}`,
    }));
}

/** Why a backend cannot serve a layer, with what the others say; undefined when it can. */
export function backendRefusal(
  moe: Node<"moe">,
  attrs: FusedMoeAttrs,
  context: TransformContext,
): string | undefined {
  const spec = specOf(moe, attrs, context);
  const reason = moeBackend(attrs.backend).supports(spec);
  if (reason === undefined) return undefined;
  const others = moeBackends().filter(({ name }) => name !== attrs.backend).map((backend) =>
    `${backend.name} ${backend.supports(spec) ?? "can"}`
  );
  return `backend ${attrs.backend} ${reason} (${others.join("; ")})`;
}

/** How many layers each backend got, for the record. */
export function backendNotes(backends: readonly string[]): string[] {
  return [...Map.groupBy(backends, (name) => name)].map(([name, { length }]) =>
    `${length} ${length === 1 ? "layer" : "layers"} with backend ${name}`
  );
}

/** A layer as backends see it, before it is fused. */
function specOf(moe: Node<"moe">, attrs: FusedMoeAttrs, context: TransformContext): MoeSpec {
  const { target: { profile }, settings } = context;
  const { alpha = 1.702, limit = 7, operands = "f32", ...rest } = attrs;
  return {
    ...rest,
    alpha,
    limit,
    operands,
    scope: moe.scope,
    tokens: { min: 1, max: settings.maxNumTokens },
    biasUp: inputList(moe, "b1").length + inputList(moe, "b3").length > 0,
    biasDown: inputList(moe, "b2").length > 0,
    residual: false,
    ...(profile && { profile }),
  };
}

function glob(pattern: string): RegExp {
  const escaped = pattern.replaceAll(/[.+^${}()|[\]\\]/g, "\\$&");
  return new RegExp(`^${escaped.replaceAll("*", ".*").replaceAll("?", ".")}$`);
}
