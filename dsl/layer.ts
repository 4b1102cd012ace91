/**
 * Builds an overlay from what one layer says, checking every name and every value on the way. YAML,
 * flags, the environment and the fluent methods all go through here.
 *
 * @module
 */

import type { z } from "../deps/zod.ts";
import {
  type AnyTransform,
  configSchema,
  findTransform,
  notApplicable,
  notApplicableKeys,
  STAGES,
  transformKeys,
} from "../transforms/mod.ts";
import {
  inapplicableField,
  inapplicableSetting,
  inapplicableSettings,
  inapplicableValue,
  listsFiles,
} from "./autodeploy.ts";
import { showName, showPath } from "./excerpt.ts";
import {
  checkValue,
  didYouMean,
  formatChoices,
  formatGot,
  type Issue,
  type ValueIssue,
} from "./issue.ts";
import { camelCase } from "./names.ts";
import type { Origin, TextLocation } from "./origin.ts";
import { type Leaf, type Overlay, toPlain } from "./overlay.ts";
import { pluginPath, tryPlugin } from "./plugins.ts";
import { settingsSchema, shortcutTarget, topLevelNames } from "./settings.ts";

/** The origin of a value, and where its parts are in a text. `at` leads from the value to a part of it. */
export interface Writer {
  origin(at: readonly PropertyKey[]): Origin;
  /**
   * `isName` asks for the name of the part, not for its value; `path` is that of the part in the
   * pipeline.
   */
  location?(
    at: readonly PropertyKey[],
    isName: boolean,
    path: readonly PropertyKey[],
  ): TextLocation | undefined;
  /** Where relative paths start; default the current folder. */
  readonly folder?: string;
}

type Path = readonly string[];
type Schema = z.ZodType;

/** Gathers the values and the issues of one layer. */
export class LayerBuilder {
  readonly issues: Issue[] = [];
  readonly #settings = new Map<string, Leaf>();
  readonly #transforms = new Map<string, Map<string, Leaf>>();
  readonly #shortcuts = new Set<string>();
  readonly #definitions: Map<string, AnyTransform>;

  /** `definitions` are transforms that are not registered. */
  constructor(definitions: Iterable<AnyTransform> = []) {
    this.#definitions = new Map([...definitions].map((each) => [each.key, each]));
  }

  /** The valid values; those with an issue are left out. */
  get overlay(): Overlay {
    const transforms = [...this.#transforms].map(([key, fields]) => {
      const definition = this.#definitions.get(key);
      return [key, { ...(definition && { definition }), fields }] as const;
    });
    return { settings: this.#settings, transforms: new Map(transforms) };
  }

  /** Writes the value of a path: a setting, a transform, one of its fields, or all transforms. */
  write(path: Path, value: unknown, writer: Writer): void {
    const [first, key, field, ...rest] = path;
    if (rest.length > 0) return this.#refuseDepth(path, writer);
    if (first !== "transforms") {
      if (key === undefined) this.#writeSetting(first, value, writer);
      else if (findSetting(first)) this.#refuseDepth(path, writer);
      else this.#refuseSetting(first, writer, [first]);
    } else if (key === undefined) this.#writeEntries([first], value, writer);
    else if (field === undefined) this.#writeTransform(key, value, writer);
    else this.#writeField(key, field, value, writer);
  }

  /** Adds an issue about the value of a path. */
  refuse(path: Path, issue: ValueIssue, writer: Writer): void {
    const { at, isName = false, ...rest } = issue;
    const whole = [...path, ...at];
    this.issues.push({
      ...rest,
      path: showPath(whole),
      location: () => writer.location?.(at, isName, whole),
    });
  }

  #writeSetting(name: string, value: unknown, writer: Writer): void {
    const target = shortcutTarget(name);
    if (target) {
      this.#writeField(target[0], target[1], value, writer, [name]);
      this.#shortcuts.add(target.join("."));
      return;
    }
    const schema = findSetting(name);
    if (!schema && inapplicableSetting(name) === undefined) {
      return this.#refuseSetting(name, writer, [name]);
    }
    const leaf = this.#leaf([name], value, writer, schema);
    if (!leaf) return;
    this.#settings.set(name, name === "plugins" ? this.#loadPlugins(leaf, writer) : leaf);
  }

  /** Loads plug-ins, so that what follows may use them; paths become absolute. */
  #loadPlugins({ value, origin }: Leaf, writer: Writer): Leaf {
    if (!Array.isArray(value)) return { value, origin };
    const files = value.map((file) => pluginPath(String(file), writer.folder));
    for (const [i, file] of files.entries()) {
      const problem = tryPlugin(file);
      if (problem) this.refuse(["plugins"], { ...problem, at: [i] }, writer);
    }
    return { value: Object.freeze(files), origin };
  }

  #writeTransform(key: string, value: unknown, writer: Writer): void {
    if (!this.#isKnown(key)) return this.#refuseTransform(key, writer);
    this.#entry(key);
    this.#writeEntries(["transforms", key], value, writer);
  }

  #writeField(key: string, field: string, value: unknown, writer: Writer, as?: Path): void {
    const path = as ?? ["transforms", key, field];
    if (!this.#isKnown(key)) return this.#refuseTransform(key, writer);
    const definition = this.#definition(key);
    const shape = definition ? configSchema(definition).shape : {};
    const schema = ownEntry(shape, field);
    if (definition && !schema && inapplicableField(key, field) === undefined) {
      return this.refuse(path, {
        code: "config/unknown-field",
        at: [],
        isName: true,
        problem: `expected a known field, got "${showName(field)}"`,
        hint: () => didYouMean(field, Object.keys(shape)) ?? describeFields(definition),
      }, writer);
    }
    const isIdle = inapplicableValue(key, field, value, schema) !== undefined;
    const leaf = this.#leaf(path, value, writer, isIdle ? undefined : schema);
    // As in AutoDeploy, a short name wins over the field it stands for when a file has both.
    const isBeaten = as === undefined && this.#shortcuts.has(`${key}.${field}`);
    if (leaf && !isBeaten) this.#entry(key).set(field, leaf);
  }

  /** Writes each entry of a mapping; null is an empty one, as in a line `fuse_moe:`. */
  #writeEntries(path: Path, value: unknown, writer: Writer): void {
    if (value === null) return;
    if (typeof value !== "object" || Array.isArray(value)) {
      const got = formatGot(value);
      return this.refuse(path, {
        code: "config/invalid",
        at: [],
        problem: `expected a mapping, got ${got}`,
        expected: "a mapping",
        got,
      }, writer);
    }
    for (const [name, field] of Object.entries(value)) {
      if (field === undefined) continue;
      this.write([...path, name], field, {
        origin: (at) => writer.origin([name, ...at]),
        location: (at, isName, whole) => writer.location?.([name, ...at], isName, whole),
      });
    }
  }

  /** The checked value. Null is always taken: it goes back to the default. */
  #leaf(path: Path, value: unknown, writer: Writer, schema?: Schema): Leaf | undefined {
    const plain = toPlain(value);
    if (plain === undefined) {
      const { at, part } = findUnsayable(value);
      const problem = `expected a value that YAML can hold, got ${describePart(part)}`;
      this.refuse(path, { code: "config/invalid", at, problem }, writer);
      return undefined;
    }
    if (JSON.stringify(plain).includes("${")) {
      this.refuse(path, {
        code: "config/interpolation",
        at: [],
        problem: "expected a plain value, got an interpolation",
        hint: "Write the value itself: references to other values are not resolved",
      }, writer);
      return undefined;
    }
    const issues = plain === null || !schema ? [] : checkValue(schema, plain);
    for (const issue of issues) this.refuse(path, issue, writer);
    return issues.length === 0 ? { value: plain, origin: writer.origin([]) } : undefined;
  }

  #entry(key: string): Map<string, Leaf> {
    const entry = this.#transforms.get(key) ?? new Map<string, Leaf>();
    this.#transforms.set(key, entry);
    return entry;
  }

  #definition(key: string): AnyTransform | undefined {
    return this.#definitions.get(key) ?? findTransform(key);
  }

  #isKnown(key: string): boolean {
    return this.#definition(key) !== undefined || notApplicable(key) !== undefined;
  }

  #refuseTransform(key: string, writer: Writer): void {
    const known = () => [...this.#definitions.keys(), ...transformKeys(), ...notApplicableKeys()];
    this.refuse(["transforms", key], {
      code: "config/unknown-transform",
      at: [],
      isName: true,
      problem: `expected a known transform, got "${showName(key)}"`,
      hint: () => transformHint(key, known()),
    }, writer);
  }

  #refuseSetting(name: string, writer: Writer, path: Path): void {
    this.refuse(path, {
      code: "config/unknown-setting",
      at: [],
      isName: true,
      problem: listsFiles(name)
        ? "files cannot list other files"
        : `expected a known setting, got "${showName(name)}"`,
      hint: () => settingHint(name),
    }, writer);
  }

  #refuseDepth(path: Path, writer: Writer): void {
    this.refuse(path, {
      code: "config/path",
      at: [],
      isName: true,
      problem: "expected a setting or transforms.<key>.<field>, got a longer path",
      hint: `Write all of ${showPath(path.slice(0, path[0] === "transforms" ? 3 : 1))}`,
    }, writer);
  }
}

/** The schema of a setting, or undefined. */
function findSetting(name: string): Schema | undefined {
  return ownEntry(settingsSchema.shape, name);
}

/** An entry by a name that a user wrote, such as `constructor`. */
function ownEntry(shape: Readonly<Record<string, Schema>>, name: string): Schema | undefined {
  return Object.hasOwn(shape, name) ? shape[name] : undefined;
}

function describeFields({ key, config }: AnyTransform): string {
  const own = Object.keys(config.shape);
  const others = "those of every transform, such as enabled";
  return `Transform "${key}" has ${formatChoices([...own, others], "and")}`;
}

function transformHint(key: string, known: readonly string[]): string {
  const meant = known.find((each) => camelCase(each) === key);
  if (meant !== undefined) return `Did you mean "${meant}"?`;
  if (topLevelNames().includes(key)) return `Write ${key} outside of transforms, as a setting`;
  if (key === "transforms" || STAGES.some((stage) => stage === key)) {
    return `Write what is below ${key} right below transforms: transforms.fuse_moe`;
  }
  return didYouMean(key, known) ?? "Choose a transform of docs/reference/transforms.md";
}

function settingHint(name: string): string {
  if (listsFiles(name)) return "Give all files at once, with one --config each";
  const isTransform = findTransform(name) !== undefined || notApplicable(name) !== undefined;
  if (isTransform) return `Write it under transforms: transforms.${name}`;
  const known = [...topLevelNames(), "transforms"];
  return didYouMean(name, known) ?? didYouMean(name, inapplicableSettings()) ??
    `There are ${formatChoices(known, "and")}`;
}

/** The first part of a value that YAML and JSON cannot say. */
function findUnsayable(
  value: unknown,
  at: readonly PropertyKey[] = [],
): { at: readonly PropertyKey[]; part: unknown } {
  if (typeof value !== "object" || value === null) return { at, part: value };
  const entries: readonly [PropertyKey, unknown][] = Array.isArray(value)
    ? [...value.entries()]
    : Object.entries(value);
  const wrong = entries.find(([, part]) => part !== undefined && toPlain(part) === undefined);
  return wrong === undefined ? { at, part: value } : findUnsayable(wrong[1], [...at, wrong[0]]);
}

function describePart(part: unknown): string {
  if (typeof part === "function") return "a function";
  if (typeof part !== "object" || part === null) return showName(String(part));
  return `a ${Object.getPrototypeOf(part)?.constructor?.name ?? "object"}`;
}
