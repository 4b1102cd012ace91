/**
 * Values laid over each other. An overlay holds only values that were written; each has its
 * origin.
 *
 * @module
 */

import type { AnyTransform } from "../transforms/mod.ts";
import type { Origin } from "./origin.ts";

/** What YAML and JSON can say. */
export type Plain = null | boolean | number | string | readonly Plain[] | PlainRecord;

/** A mapping of plain values. */
export interface PlainRecord {
  /** A value by its name. */
  readonly [name: string]: Plain;
}

/** A value as it was written. */
export interface Leaf {
  readonly value: Plain;
  readonly origin: Origin;
}

/** What an overlay has for one transform. */
export interface TransformEntry {
  /** For a transform that is not registered. */
  readonly definition?: AnyTransform;
  readonly fields: ReadonlyMap<string, Leaf>;
}

/** Top-level settings and fields of transforms. */
export interface Overlay {
  readonly settings: ReadonlyMap<string, Leaf>;
  /** In the order in which the keys were first named. */
  readonly transforms: ReadonlyMap<string, TransformEntry>;
}

/** The empty overlay. */
export const EMPTY_OVERLAY: Overlay = { settings: new Map(), transforms: new Map() };

/**
 * `upper` over `lower`. Settings and transforms merge by name, fields of a transform too; the value
 * of a field or of a setting is replaced as a whole, also when it is a list or a mapping; only plug-ins
 * add up, as a layer may use what any layer has loaded. A key stays where it was named first. So
 * overlaying is associative.
 */
export function mergeOverlays(lower: Overlay, upper: Overlay): Overlay {
  const transforms = new Map(lower.transforms);
  for (const [key, entry] of upper.transforms) {
    const below = transforms.get(key);
    transforms.set(key, below ? mergeEntries(below, entry) : entry);
  }
  const settings = new Map([...lower.settings, ...upper.settings]);
  const plugins = mergePlugins(lower.settings.get("plugins"), upper.settings.get("plugins"));
  if (plugins) settings.set("plugins", plugins);
  return { settings, transforms };
}

/** Both lists, without what stands twice; null, the default, adds nothing. */
function mergePlugins(lower: Leaf | undefined, upper: Leaf | undefined): Leaf | undefined {
  if (!lower?.value || !upper?.value) return upper?.value ? upper : lower ?? upper;
  const all = new Set([lower.value, upper.value].flat());
  return { value: Object.freeze([...all]), origin: upper.origin };
}

function mergeEntries(lower: TransformEntry, upper: TransformEntry): TransformEntry {
  const definition = upper.definition ?? lower.definition;
  return {
    ...(definition && { definition }),
    fields: new Map([...lower.fields, ...upper.fields]),
  };
}

/** Whether two overlays have the same values, whatever their origins. The order of transforms counts. */
export function sameOverlay(a: Overlay, b: Overlay): boolean {
  const [left, right] = [[...a.transforms], [...b.transforms]];
  return sameLeaves(a.settings, b.settings) && left.length === right.length &&
    left.every(([key, entry], i) =>
      key === right[i][0] && entry.definition === right[i][1].definition &&
      sameLeaves(entry.fields, right[i][1].fields)
    );
}

function sameLeaves(a: ReadonlyMap<string, Leaf>, b: ReadonlyMap<string, Leaf>): boolean {
  return a.size === b.size && [...a].every(([name, { value }]) => {
    const other = b.get(name);
    return other !== undefined && samePlain(value, other.value);
  });
}

/** Deep equality of plain values; the order of a mapping's entries does not count. */
export function samePlain(a: Plain, b: Plain): boolean {
  if (a === b) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const [left, right] = [Object.entries(a), b as PlainRecord];
  return left.length === Object.keys(b).length &&
    left.every(([name, value]) => Object.hasOwn(right, name) && samePlain(value, right[name]));
}

/** A frozen copy of a value that YAML and JSON can say; undefined for any other value. */
export function toPlain(value: unknown): Plain | undefined {
  switch (typeof value) {
    case "boolean":
    case "string":
      return value;
    case "number":
      return Number.isFinite(value) ? value : undefined;
    case "object":
      return value === null ? null : Array.isArray(value) ? plainList(value) : plainRecord(value);
    default:
      return undefined;
  }
}

function plainList(values: readonly unknown[]): Plain | undefined {
  const list = values.map(toPlain);
  return list.some((each) => each === undefined) ? undefined : Object.freeze(list as Plain[]);
}

function plainRecord(value: object): Plain | undefined {
  const prototype = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) return undefined;
  const entries: [string, Plain][] = [];
  for (const [name, field] of Object.entries(value)) {
    // An option that is undefined is one that was not given.
    if (field === undefined) continue;
    const plain = toPlain(field);
    if (plain === undefined) return undefined;
    entries.push([name, plain]);
  }
  return Object.freeze(Object.fromEntries(entries));
}
