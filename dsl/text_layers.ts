/**
 * Layers with one short text per value: `--set` flags and environment variables.
 *
 * @module
 */

import { allTransforms, configSchema } from "../transforms/mod.ts";
import { inapplicableSettings } from "./autodeploy.ts";
import { excerptOf, showName, showPath } from "./excerpt.ts";
import { didYouMean, type Issue, throwIssues } from "./issue.ts";
import { LayerBuilder } from "./layer.ts";
import type { Origin, TextLocation } from "./origin.ts";
import { EMPTY_OVERLAY, mergeOverlays, type Overlay } from "./overlay.ts";
import { topLevelNames } from "./settings.ts";
import { ENVIRONMENT_PREFIX, OTHER_VARIABLES } from "./variables.ts";
import { parseYaml, type YamlProblem } from "./yaml_document.ts";

/** One assignment in a text. */
interface Assignment {
  readonly path: readonly string[];
  readonly text: string;
  readonly origin: Origin;
  /** True when the value is the text as it is, if the setting takes a text. */
  readonly isText: boolean;
  /** The location of the value, or of the last part of a path. */
  location(path?: readonly PropertyKey[]): TextLocation;
}

/**
 * Reads `path=value` texts, as after `--set`: hyphens in the path are underscores, the value is
 * YAML. Later ones win. With hyphens in front, as `--model=x`, a text is a flag of its own.
 *
 * @throws {ConfigError} with all issues of all flags.
 */
export function readFlags(flags: readonly string[]): Overlay {
  const issues: Issue[] = [];
  const assignments = flags.flatMap((flag) => {
    const assignment = splitFlag(flag);
    if (assignment !== undefined) return [assignment];
    issues.push({
      code: "config/flag",
      path: "",
      problem: `expected path=value, got ${showName(JSON.stringify(flag))}`,
      hint: "Write it as --set transforms.fuse_moe.backend=triton",
      location: () => ({ text: "in --set" }),
    });
    return [];
  });
  return readAssignments(assignments, issues);
}

/** The parts of `path=value`; undefined for a text that is none. */
function splitFlag(flag: string): Assignment | undefined {
  const equals = flag.indexOf("=");
  const isText = flag.startsWith("--");
  const start = flag.length - flag.trimStart().replace(/^-+/, "").length;
  const parts = flag.slice(start, Math.max(start, equals)).trimEnd().split(".");
  if (equals < 0 || parts.some((part) => part === "")) return undefined;
  const shown = showName(isText ? flag : `--set ${flag}`, 120);
  return {
    path: parts.map((part) => part.replaceAll("-", "_")),
    text: flag.slice(equals + 1),
    isText,
    origin: { layer: "flag", flag: isText ? flag : `--set ${flag}` },
    location(path) {
      const before = parts.slice(0, (path?.length ?? 1) - 1);
      const at = start + before.reduce((length, part) => length + part.length + 1, 0);
      const [column, length] = path === undefined
        ? [equals + 2, flag.length]
        : [at + 1, parts[path.length - 1]?.length ?? 1];
      return { text: `in ${shown}`, excerpt: excerptOf(flag, column, length, "--set") };
    },
  };
}

/**
 * Reads variables such as `MIXLINE_MAX_SEQ_LEN` and `MIXLINE_TRANSFORMS__FUSE_MOE__BACKEND`: two
 * underscores are a dot, the value is YAML.
 *
 * @throws {ConfigError} with all issues, among them variables that Mixline does not have.
 */
export function readEnvironment(environment: Readonly<Record<string, string>>): Overlay {
  const issues: Issue[] = [];
  const assignments = Object.entries(environment).flatMap(([variable, text]) => {
    if (!variable.startsWith(ENVIRONMENT_PREFIX)) return [];
    if (Object.hasOwn(OTHER_VARIABLES, variable)) return [];
    const path = variable.slice(ENVIRONMENT_PREFIX.length).toLowerCase().split("__");
    const known = [...topLevelNames(), ...inapplicableSettings()];
    const origin = { layer: "environment", variable } as const;
    const location = () => ({ text: `in ${showName(variable, 120)}` });
    const isSetting = path[0] === "transforms" || didYouMean(path[0], known) !== undefined;
    if (isSetting) return [{ path, text, origin, isText: false, location }];
    const settings = [...topLevelNames().map((name) => ENVIRONMENT_PREFIX + name.toUpperCase())];
    issues.push({
      code: "config/unknown-variable",
      path: "",
      problem: `expected a variable of Mixline, got ${showName(variable, 120)}`,
      hint: didYouMean(variable, [...Object.keys(OTHER_VARIABLES), ...settings]) ??
        `Unset it, or name a setting: ${settings.join(", ")}`,
      location: () => ({ text: "in the environment" }),
    });
    return [];
  });
  return readAssignments(assignments, issues);
}

/**
 * The variables of this process. A process that may read only some of them (`MIXLINE_*`) cannot list
 * them; it gets those whose names are known, and misspelt ones are not seen.
 */
export function ownVariables(): Record<string, string> {
  if (Deno.permissions.querySync({ name: "env" }).state === "granted") return Deno.env.toObject();
  const found = knownVariables().flatMap((name) => {
    const { state } = Deno.permissions.querySync({ name: "env", variable: name });
    const value = state === "granted" ? Deno.env.get(name) : undefined;
    return value === undefined ? [] : [[name, value]];
  });
  return Object.fromEntries(found);
}

/** Every variable that sets a value. */
function knownVariables(): string[] {
  const fields = allTransforms().flatMap((definition) =>
    Object.keys(configSchema(definition).shape).map((name) =>
      `TRANSFORMS__${definition.key}__${name}`
    )
  );
  return [...topLevelNames(), ...fields].map((name) => ENVIRONMENT_PREFIX + name.toUpperCase());
}

/** Each assignment is a layer of its own, so that a later one wins whatever its spelling. */
function readAssignments(assignments: readonly Assignment[], issues: Issue[]): Overlay {
  let overlay = EMPTY_OVERLAY;
  for (const assignment of assignments) {
    const layer = readAssignment(assignment);
    issues.push(...layer.issues);
    overlay = mergeOverlays(overlay, layer.overlay);
  }
  throwIssues(issues);
  return overlay;
}

function readAssignment({ path, text, origin, isText, location }: Assignment): LayerBuilder {
  const write = (value: unknown) => {
    const builder = new LayerBuilder();
    builder.write(path, value, {
      origin: () => origin,
      location: (at, isName, whole) => location(isName && at.length === 0 ? whole : undefined),
    });
    return builder;
  };
  // `--set model=123` means the text, which a setting that takes a text accepts.
  const asText = write(text);
  if (isText && (asText.issues.length === 0 || text === "")) return asText;
  const { value, problems: [problem] } = parseYaml(text);
  if (problem) {
    const builder = new LayerBuilder();
    builder.issues.push({
      code: "config/yaml",
      path: showPath(path),
      problem: problem.problem.replace("expected YAML:", "expected a YAML value:"),
      hint: quoteHint(text, problem),
      location: () => location(),
    });
    return builder;
  }
  const layer = write(value);
  if (layer.issues.length === 0 || typeof value === "string") return layer;
  return asText.issues.length === 0 ? asText : layer;
}

/** How to give a text that is YAML by accident, such as `*.mlp`: quoted, in quotes for the shell. */
function quoteHint(text: string, { hint }: YamlProblem): string {
  if (hint !== undefined && !text.trimStart().startsWith("*")) return hint;
  return `Quote a text that YAML reads as something else: '${showName(JSON.stringify(text))}'`;
}
