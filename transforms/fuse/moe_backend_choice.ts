/**
 * The choice of a backend for fused MoE layers, and of the type that it keeps operands in: fields of
 * the configuration, overrides of single layers, and the check that the backend can serve them.
 * Every `fuse_*_moe` transform has these fields.
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import {
  type FusedMoeAttrs,
  inputList,
  messageOf,
  MOE_OPERANDS,
  type MoeOperands,
  type Node,
} from "../../graph/mod.ts";
import {
  callBackend,
  type MoeBackend,
  moeBackend,
  moeBackendNames,
  moeBackends,
  type MoeSpec,
} from "../../kernels/mod.ts";
import { defaultsToSetting } from "../core/setting_default.ts";
import type { Refusal, TransformContext } from "../core/transform.ts";

/** Values of the fields that {@linkcode backendConfig} adds. */
export interface BackendChoice {
  readonly backend: string;
  readonly operands: MoeOperands;
  readonly overrides: readonly {
    readonly match: string;
    readonly backend: string;
    readonly operands?: MoeOperands | undefined;
  }[];
}

function makeFields() {
  const backend = z.enum(moeBackendNames());
  const operands = z.enum(MOE_OPERANDS);
  return {
    backend: backend.default("auto").describe("Implementation of the fused op"),
    operands: defaultsToSetting(
      "operands",
      operands.default("f32").describe(
        "Type of the operands in workgroup memory, for many tokens on WebGPU; f16 needs shader-f16, rounds activations and makes those above 65504 infinite; auto is f16 where that means tensor cores; sums stay f32",
      ),
    ),
    overrides: z.array(z.strictObject({
      match: z.string().describe("Module path; * stands for any characters, ? for one"),
      backend: backend.describe("Backend of the layers that match"),
      operands: operands.optional().describe(
        "Operands of the layers that match; default those of the transform",
      ),
    })).default([]).describe(
      "Backends and operands of single layers; the last matching entry applies",
    ),
  };
}

/**
 * A schema with the fields `backend`, `operands` and `overrides` that knows the backends registered at
 * the moment it is asked for; the same object as long as these do not change.
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

/** The attributes that the configuration gives to a layer. */
export function chosenAttrs(
  { backend, operands, overrides }: BackendChoice,
  scope: string,
): Pick<FusedMoeAttrs, "backend" | "operands"> {
  const own = overrides.findLast(({ match }) => glob(match).test(scope));
  const chosen = own?.operands ?? operands;
  return { backend: own?.backend ?? backend, ...(chosen !== "f32" && { operands: chosen }) };
}

/** Overrides that match no layer: a mistake in the configuration, so they are refusals. */
export function unusedOverrides(
  { overrides }: BackendChoice,
  layers: readonly Node[],
): Refusal[] {
  if (layers.length === 0) return [];
  const [first, last] = [layers[0].scope, layers[layers.length - 1].scope];
  return overrides.filter(({ match }) => !layers.some(({ scope }) => glob(match).test(scope)))
    .map(({ match }) => ({
      node: match,
      reason: `no MoE layer matches this override; the layers are ${first} .. ${last}`,
    }));
}

/**
 * Why a backend cannot serve a layer, with the answers of the other backends; undefined when it can.
 *
 * @throws {KernelError} `kernel/backend-failed` when the backend's `supports()` throws.
 */
export function backendRefusal(
  moe: Node<"moe">,
  attrs: FusedMoeAttrs,
  context: TransformContext,
): string | undefined {
  const spec = specOf(moe, attrs, context);
  const { backend } = attrs;
  const reason = callBackend(
    { backend, node: moe },
    "supports()",
    () => moeBackend(backend).supports(spec),
  );
  if (reason === undefined) return undefined;
  const others = moeBackends().filter(({ name }) => name !== backend).map((other) =>
    `${other.name} ${answerOf(other, spec)}`
  );
  return `backend ${backend} ${reason} (${others.join("; ")})`;
}

/** What a backend that nobody chose says of a layer. */
function answerOf(backend: MoeBackend, spec: MoeSpec): string {
  try {
    return backend.supports(spec) ?? "can";
  } catch (error) {
    return `fails: ${messageOf(error)}`;
  }
}

/**
 * How many layers each backend serves, and how many have f16 operands, for the record; and how many
 * keep f32 on a device that has matrices.
 */
export function choiceNotes(
  layers: readonly FusedMoeAttrs[],
  { target }: TransformContext,
): string[] {
  const backends = Map.groupBy(layers, ({ backend }) => backend);
  const notes = [...backends].map(([name, each]) => `${countLayers(each)} with backend ${name}`);
  const full = layers.filter(({ operands = "f32" }) => operands === "f32");
  if (full.length > 0 && (target.profile?.matrices ?? []).length > 0) {
    notes.push(
      `${
        countLayers(full)
      } with f32 operands: "operands: auto", here or at the top level, takes the device's matrices`,
    );
  }
  const halves = layers.filter(({ operands }) => operands === "f16");
  if (halves.length === 0) return notes;
  const unused = target.executor === "cpu" ? ", which the CPU executor computes in f32" : "";
  return [...notes, `${countLayers(halves)} with f16 operands${unused}`];
}

function countLayers({ length }: readonly unknown[]): string {
  return `${length} ${length === 1 ? "layer" : "layers"}`;
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
