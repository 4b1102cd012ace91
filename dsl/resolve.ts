/**
 * From overlay to what will run: defaults filled in, transforms in order, and for every value the
 * layer that set it.
 *
 * @module
 */

import type { z } from "../deps/zod.ts";
import { ConfigError } from "../graph/mod.ts";
import {
  type AnyTransform,
  configSchema,
  findTransform,
  notApplicable,
  orderSteps,
  settingBehind,
  type Stage,
  whyWithoutEffect,
} from "../transforms/mod.ts";
import { inapplicableField, inapplicableSetting, inapplicableValue } from "./autodeploy.ts";
import { camelCase } from "./names.ts";
import { formatOrigin, type Origin } from "./origin.ts";
import type { Leaf, Overlay, Plain, TransformEntry } from "./overlay.ts";
import type { Settings } from "./setting_types.ts";
import { SETTING_NAMES, settingsSchema } from "./settings.ts";

/** A value and the layer that set it. */
export interface ResolvedValue {
  /** `max_seq_len`, `transforms.fuse_moe.backend`. */
  readonly path: string;
  /** Name of the setting or of the field. */
  readonly name: string;
  /** Key of the transform that the field belongs to. */
  readonly transform?: string;
  /** As YAML holds it. */
  readonly value: Plain;
  /** What was written, where that has no meaning here and `value` is the default instead. */
  readonly written?: Plain;
  /** The setting whose value and origin these are, as the field itself is not written. */
  readonly setting?: string;
  /** The layer that set it: defaults, a file's line, a variable, a flag, code. */
  readonly origin: Origin;
}

/** One transform of a resolved pipeline. */
export interface ResolvedTransform {
  /** Key in YAML. */
  readonly key: string;
  /** Stage it runs in. */
  readonly stage: Stage;
  /** Whether it runs. */
  readonly enabled: boolean;
  /** All fields; for a transform that is not applicable those that were written. */
  readonly config: Readonly<Record<string, unknown>>;
  /**
   * Undefined for a transform that is not applicable on WebGPU.
   *
   * @internal
   */
  readonly definition?: AnyTransform;
}

/** A pipeline with all defaults filled in. */
export interface ResolvedPipeline {
  /** Every setting, defaults filled in. */
  readonly settings: Settings;
  /** In execution order, disabled ones too. */
  readonly transforms: readonly ResolvedTransform[];
  /** Every value by its path, with the layer that set it; settings first. */
  readonly values: readonly ResolvedValue[];
  /** What was carried through without effect, and why; one sentence each. */
  readonly notes: readonly string[];
  /** The layer that set a value; undefined for a path that does not exist. */
  originOf(path: string): Origin | undefined;
}

/** Resolves an overlay that has its base already under it. */
export function resolveOverlay(overlay: Overlay): ResolvedPipeline {
  const settings = resolveSettings(overlay);
  const entries = new Map(
    [...overlay.transforms].map((
      [key, entry],
    ) => [key, resolveEntry(key, entry, overlay.settings)]),
  );
  const ordered = orderEntries([...entries.values()]);
  const transforms = ordered.map((step): ResolvedTransform => {
    const { key, stage, definition } = step;
    const written = entries.get(key)?.step.config ?? {};
    if (!definition) return { key, stage, enabled: step.enabled, config: written };
    return { key, stage, enabled: step.config.enabled, config: step.config, definition };
  });
  const values = [
    ...settings.values,
    ...transforms.flatMap(({ key }) => entries.get(key)?.values ?? []),
  ];
  const origins = new Map(values.map(({ path, origin }) => [path, origin]));
  return {
    settings: settings.settings,
    transforms,
    values,
    notes: collectNotes(overlay),
    originOf: (path) => origins.get(path),
  };
}

/** An order that is wrong names the layers that asked for it. */
function orderEntries(entries: readonly ReturnType<typeof resolveEntry>[]) {
  try {
    return orderSteps(entries.map(({ step }) => step));
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const keys = Object.values(error.details);
    const wishes = entries.flatMap(({ values }) => values).filter(({ name, value, origin }) =>
      (name === "after" || name === "before") && origin.layer !== "definition" &&
      Array.isArray(value) && value.some((key) => keys.includes(key))
    );
    const [written] = wishes.flatMap(({ origin }) => origin.layer === "file" ? [origin] : []);
    const located = written === undefined ? error : new ConfigError(error.code, error.message, {
      ...(error.hint === undefined ? {} : { hint: error.hint }),
      details: {
        ...error.details,
        file: written.file,
        line: written.line,
        column: written.column,
      },
      cause: error.cause,
    });
    for (const { path, origin } of wishes) located.within(`${path} (${formatOrigin(origin)})`);
    throw located;
  }
}

function resolveSettings({ settings }: Overlay): { settings: Settings; values: ResolvedValue[] } {
  const names = [...SETTING_NAMES, ...settings.keys()];
  const values = [...new Set<string>(names)].map((name) => {
    const shape: Readonly<Record<string, z.ZodType>> = settingsSchema.shape;
    return { path: name, name, ...resolveLeaf(settings.get(name), shape[name]) };
  });
  const known = values.filter(({ name }) => name in settingsSchema.shape);
  const result = Object.fromEntries(known.map(({ name, value }) => [camelCase(name), value]));
  return { settings: result as Settings, values };
}

function resolveEntry(
  key: string,
  { definition, fields }: TransformEntry,
  settings: Overlay["settings"],
) {
  const found = definition ?? findTransform(key);
  const shape: ReadonlyMap<string, z.ZodType> = new Map(
    Object.entries(found ? configSchema(found).shape : {}) as [string, z.ZodType][],
  );
  const names = [...shape.keys(), ...fields.keys()];
  const values = [...new Set(names)].map((name) => ({
    path: `transforms.${key}.${name}`,
    name,
    transform: key,
    ...resolveField(fields.get(name), shape.get(name), settings),
    ...idleValue(key, name, fields.get(name), shape.get(name)),
  }));
  // Fields that have no meaning here stay out of what the transform's schema reads.
  const known = values.filter(({ name }) => !found || shape.has(name));
  const config = Object.fromEntries(known.map(({ name, value }) => [name, value]));
  return { values, step: { key, config, ...(definition && { definition }) } };
}

/** What was written, else the setting that is the field's default, else the schema's default. */
function resolveField(
  leaf: Leaf | undefined,
  schema: z.ZodType | undefined,
  settings: Overlay["settings"],
): Pick<ResolvedValue, "value" | "origin" | "setting"> {
  const setting = schema && settingBehind(schema);
  const below = setting === undefined ? undefined : settings.get(setting);
  const isWritten = leaf !== undefined && leaf.value !== null;
  if (isWritten || setting === undefined || !below) return resolveLeaf(leaf, schema);
  return { ...resolveLeaf(below, schema), setting };
}

function idleValue(
  key: string,
  name: string,
  leaf?: Leaf,
  schema?: z.ZodType,
): Pick<ResolvedValue, "written"> {
  const isIdle = leaf && inapplicableValue(key, name, leaf.value, schema) !== undefined;
  return isIdle ? { written: leaf.value } : {};
}

/** What was written, or the schema's default: also for a null that the schema does not take. */
function resolveLeaf(leaf: Leaf | undefined, schema?: z.ZodType): { value: Plain; origin: Origin } {
  const origin: Origin = leaf?.origin ?? { layer: "definition" };
  if (!schema) return { value: leaf?.value ?? null, origin };
  const written = leaf && schema.safeParse(leaf.value);
  return { value: (written?.success ? written.data : schema.parse(undefined)) as Plain, origin };
}

function collectNotes({ settings, transforms }: Overlay): string[] {
  const notes: string[] = [];
  for (const name of settings.keys()) {
    const reason = inapplicableSetting(name);
    if (reason !== undefined) notes.push(`${name} is not applicable on WebGPU: ${reason}`);
  }
  for (const [key, { fields }] of transforms) {
    // One that is off would do nothing anywhere.
    if (fields.get("enabled")?.value === false) continue;
    const reason = notApplicable(key)?.reason;
    if (reason !== undefined) notes.push(`${key} is not applicable on WebGPU: ${reason}`);
    else {
      for (const [field, { value }] of fields) {
        const why = inapplicableField(key, field);
        if (why !== undefined) notes.push(`${key}.${field} is not applicable on WebGPU: ${why}`);
        const idle = inapplicableValue(key, field, value, fieldSchema(key, field));
        if (idle === undefined) continue;
        notes.push(`${key}.${field}: ${value} is not applicable on WebGPU: ${idle}`);
      }
    }
  }
  return [...notes, ...fieldsWithoutEffect(transforms)];
}

function fieldSchema(key: string, field: string): z.ZodType | undefined {
  const found = findTransform(key);
  const shape: Readonly<Record<string, z.ZodType>> = found ? configSchema(found).shape : {};
  return Object.hasOwn(shape, field) ? shape[field] : undefined;
}

/** Fields that were set to something else than their default and change nothing; a note for each reason. */
function fieldsWithoutEffect(transforms: Overlay["transforms"]): string[] {
  const reasons = new Map<string, string[]>();
  for (const [key, { definition, fields }] of transforms) {
    const found = definition ?? findTransform(key);
    if (!found || fields.get("enabled")?.value === false) continue;
    const shape = configSchema(found).shape as Readonly<Record<string, z.ZodType>>;
    for (const [name, { value }] of fields) {
      const schema = shape[name];
      const why = schema && whyWithoutEffect(schema);
      // What names a kernel of CUDA is told by the transform, which knows whether it is one.
      if (name === "backend" || why === undefined) continue;
      if (JSON.stringify(schema.parse(undefined)) === JSON.stringify(value)) continue;
      reasons.set(why, [...reasons.get(why) ?? [], `${key}.${name}`]);
    }
  }
  return [...reasons].map(([why, paths]) =>
    `${paths.join(", ")} ${paths.length === 1 ? "has" : "have"} no effect on WebGPU: ${why}`
  );
}
