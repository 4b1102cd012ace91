/**
 * Layers that are one short text a value: `--set` flags and environment variables.
 *
 * @module
 */

import { parseDocument } from "../deps/yaml.ts";
import { type AnyTransform, configSchema, TRANSFORMS } from "../transforms/mod.ts";
import { inapplicableSettings } from "./autodeploy.ts";
import { didYouMean, type Issue, throwIssues } from "./issue.ts";
import { LayerBuilder } from "./layer.ts";
import { excerptOf, type Origin, type Place } from "./origin.ts";
import { EMPTY_OVERLAY, mergeOverlays, type Overlay } from "./overlay.ts";
import { topLevelNames } from "./settings.ts";

/** What environment variables of a pipeline start with. */
export const ENVIRONMENT_PREFIX = "MIXLINE_";

/** Variables with the prefix that others read. */
const OTHER_VARIABLES = ["MIXLINE_TUNED_DIR", "MIXLINE_CACHE_DIR", "MIXLINE_SLOW"];

/** One assignment in a text. */
interface Assignment {
  readonly path: readonly string[];
  readonly text: string;
  readonly origin: Origin;
  readonly place: Place;
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
    const equals = flag.indexOf("=");
    const name = (equals < 0 ? flag : flag.slice(0, equals)).trim().replace(/^-+/, "");
    const path = name.replaceAll("-", "_").split(".");
    const shown = flag.startsWith("--") ? flag : `--set ${flag}`;
    const place = {
      text: `in ${shown}`,
      excerpt: excerptOf(flag, equals + 2, flag.length, "--set"),
    };
    if (equals > 0 && path.every((part) => part !== "")) {
      const origin = { layer: "flag", flag: shown } as const;
      return [{ path, text: flag.slice(equals + 1), origin, place }];
    }
    issues.push({
      code: "config/flag",
      path: "",
      problem: `expected path=value, got ${JSON.stringify(flag)}`,
      hint: "Write it as --set transforms.fuse_moe.backend=triton",
      place: { text: "in --set" },
    });
    return [];
  });
  return readAssignments(assignments, issues);
}

/**
 * Reads variables such as `MIXLINE_MAX_SEQ_LEN` and `MIXLINE_TRANSFORMS__FUSE_MOE__BACKEND`: two
 * underscores are a dot, the value is YAML.
 *
 * @throws {ConfigError} with all issues, among them a variable that is nearly a setting.
 */
export function readEnvironment(environment: Readonly<Record<string, string>>): Overlay {
  const issues: Issue[] = [];
  const assignments = Object.entries(environment).flatMap(([variable, text]) => {
    if (!variable.startsWith(ENVIRONMENT_PREFIX) || OTHER_VARIABLES.includes(variable)) return [];
    const path = variable.slice(ENVIRONMENT_PREFIX.length).toLowerCase().split("__");
    const known = [...topLevelNames(), ...inapplicableSettings()];
    // A name like no setting belongs to somebody else.
    const isOurs = path[0] === "transforms" || didYouMean(path[0], known) !== undefined;
    const origin = { layer: "environment", variable } as const;
    return isOurs ? [{ path, text, origin, place: { text: `in ${variable}` } }] : [];
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

/** Every variable that means something. */
function knownVariables(): string[] {
  const fields = Object.values<AnyTransform>(TRANSFORMS).flatMap((definition) =>
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

function readAssignment({ path, text, origin, place }: Assignment): LayerBuilder {
  const write = (value: unknown) => {
    const builder = new LayerBuilder();
    builder.write(path, value, { origin: () => origin, place: () => place });
    return builder;
  };
  const document = parseDocument(text, { prettyErrors: false });
  const [error] = [...document.errors, ...document.warnings];
  if (error) {
    const builder = new LayerBuilder();
    const problem = `expected a YAML value: ${error.message.replace(/^./, (c) => c.toLowerCase())}`;
    builder.issues.push({ code: "config/yaml", path: path.join("."), problem, place });
    return builder;
  }
  const value: unknown = document.toJS();
  const layer = write(value);
  if (layer.issues.length === 0 || typeof value === "string") return layer;
  // `--set model=123` means the text, which a setting that takes a text accepts.
  const asText = write(text);
  return asText.issues.length === 0 ? asText : layer;
}
