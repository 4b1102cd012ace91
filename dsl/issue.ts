/**
 * What is wrong with a configuration. All issues of a text are gathered and raised together.
 *
 * @module
 */

import { z } from "../deps/zod.ts";
import { ConfigError, nearest } from "../graph/mod.ts";
import { showName } from "./excerpt.ts";
import type { TextLocation } from "./origin.ts";

/** One thing that is wrong. */
export interface Issue {
  /** Code of the error, such as `config/unknown-field`. */
  readonly code: string;
  /** Dotted path of the value, such as `transforms.fuse_moe.backend`; "" for the whole text. */
  readonly path: string;
  /** What is wrong, such as `expected true or false, got "maybe"`. */
  readonly problem: string;
  /** Looked for only when the issue is shown, as `location`. */
  readonly hint?: string | (() => string | undefined);
  readonly location?: () => TextLocation | undefined;
  readonly expected?: string;
  readonly got?: string;
}

/** An issue as it is shown. */
interface ShownIssue extends Omit<Issue, "hint" | "location"> {
  readonly hint?: string;
  readonly location?: TextLocation;
}

/** How many issues an error shows. */
const SHOWN_ISSUES = 20;

/** The error of one or more issues; its message is that of the first. */
export function issuesError(issues: readonly Issue[]): ConfigError {
  const [first, ...others] = issues.slice(0, SHOWN_ISSUES).map(showIssue);
  const isOnly = others.length === 0;
  const hidden = Math.max(0, issues.length - SHOWN_ISSUES);
  const block = (...lines: readonly (string | undefined)[]) =>
    lines.filter((line) => line !== undefined).join("\n");
  const blocks = [
    block(first.location?.excerpt, isOnly ? undefined : first.hint),
    ...others.map((issue) => block(issueMessage(issue), issue.location?.excerpt, issue.hint)),
    hidden === 0 ? "" : `… ${hidden} more`,
  ];
  const excerpt = blocks.filter((text) => text !== "").join("\n\n");
  return new ConfigError(
    first.code,
    `${issueMessage(first)}${isOnly ? "" : ` (and ${issues.length - 1} more)`}`,
    {
      // With several issues each hint stands below its own.
      hint: isOnly ? first.hint : undefined,
      details: {
        ...issueDetails(first),
        ...(excerpt === "" ? {} : { excerpt }),
        ...(isOnly ? {} : { issues: [first, ...others].map(describeIssue) }),
        ...(hidden === 0 ? {} : { issuesLeftOut: hidden }),
      },
    },
  );
}

/** Raises issues, if there are any. */
export function throwIssues(issues: readonly Issue[]): void {
  if (issues.length > 0) throw issuesError(issues);
}

function showIssue({ hint, location, ...issue }: Issue): ShownIssue {
  const shownHint = typeof hint === "function" ? hint() : hint;
  const shownLocation = location?.();
  return {
    ...issue,
    ...(shownHint === undefined ? {} : { hint: shownHint }),
    ...(shownLocation === undefined ? {} : { location: shownLocation }),
  };
}

function issueMessage({ path, location, problem }: ShownIssue): string {
  const what = path === "" ? "configuration" : `"${path}"`;
  return `Cannot read ${what}${location ? ` ${location.text}` : ""}: ${problem}`;
}

function issueDetails({ path, location, expected, got }: ShownIssue): Record<string, unknown> {
  return {
    path,
    ...(location?.file !== undefined && {
      file: location.file,
      line: location.line,
      column: location.column,
    }),
    ...(expected !== undefined && { expected, got }),
  };
}

function describeIssue(issue: ShownIssue): Record<string, unknown> {
  return {
    code: issue.code,
    message: issueMessage(issue),
    ...(issue.hint === undefined ? {} : { hint: issue.hint }),
    ...issueDetails(issue),
  };
}

/** An issue that has no location yet; `at` leads from the checked value to the part that is wrong. */
export interface ValueIssue extends Omit<Issue, "path" | "location"> {
  readonly at: readonly PropertyKey[];
  /** True when the name of the last part is wrong, not its value. */
  readonly isName?: boolean;
}

/** Issues of a value by its schema: the only code where zod's words become ours. */
export function checkValue(schema: z.core.$ZodType, value: unknown): readonly ValueIssue[] {
  const result = (schema as z.ZodType).safeParse(value);
  return result.success
    ? []
    : result.error.issues.flatMap((issue) => convertIssue(issue, schema, value));
}

function convertIssue(
  issue: z.core.$ZodIssue,
  schema: z.core.$ZodType,
  root: unknown,
): ValueIssue[] {
  const value = issue.path.reduce<unknown>(
    (parent, name) => Object(parent)[name as string],
    root,
  );
  if (issue.code === "unrecognized_keys") {
    const fields = fieldNames(schema, issue.path);
    return issue.keys.map((key) => ({
      code: "config/unknown-field",
      at: [...issue.path, key],
      isName: true,
      problem: `expected a known field, got "${showName(key)}"`,
      hint: () => didYouMean(key, fields) ?? `There are ${formatChoices(fields, "and")}`,
    }));
  }
  const expected = expectation(issue);
  if (expected === undefined) {
    return [{ code: "config/invalid", at: issue.path, problem: issue.message }];
  }
  const got = formatGot(value);
  const hint = suggestion(issue, value);
  return [{
    code: "config/invalid",
    at: issue.path,
    problem: `expected ${expected}, got ${got}`,
    expected,
    got,
    ...(hint === undefined ? {} : { hint }),
  }];
}

/** Names of the fields of the mapping at a path of a schema. */
function fieldNames(schema: z.core.$ZodType, path: readonly PropertyKey[]): string[] {
  if (schema instanceof z.ZodDefault || schema instanceof z.ZodNullable) {
    return fieldNames(schema.unwrap(), path);
  }
  const [name, ...rest] = path;
  if (schema instanceof z.ZodArray) return fieldNames(schema.element, rest);
  if (!(schema instanceof z.ZodObject)) return [];
  return name === undefined
    ? Object.keys(schema.shape)
    : fieldNames(schema.shape[String(name)], rest);
}

const TYPE_WORDS: Readonly<Record<string, string>> = {
  string: "a text",
  number: "a number",
  int: "a whole number",
  boolean: "true or false",
  array: "a list",
  object: "a mapping",
  record: "a mapping",
  null: "null",
};

/** What an issue's schema expects, in words; undefined where zod's message is used. */
function expectation(issue: z.core.$ZodIssue): string | undefined {
  switch (issue.code) {
    case "invalid_type":
      return TYPE_WORDS[issue.expected] ?? issue.expected;
    case "invalid_value":
      return formatChoices(issue.values.map(String));
    case "too_small":
      return bound(issue.origin, "at least", "more than", issue.minimum, issue.inclusive);
    case "too_big":
      return bound(issue.origin, "at most", "less than", issue.maximum, issue.inclusive);
    case "invalid_union": {
      const choices = issue.errors.map(([first]) => first && expectation(first));
      return formatChoices([...new Set(choices.filter((choice) => choice !== undefined))]);
    }
    default:
      return undefined;
  }
}

function bound(
  origin: string,
  inclusive: string,
  exclusive: string,
  limit: number | bigint,
  isInclusive = true,
): string {
  const range = `${isInclusive ? inclusive : exclusive} ${limit}`;
  if (origin === "array") return `a list of ${range} ${Number(limit) === 1 ? "entry" : "entries"}`;
  if (origin === "string") {
    if (inclusive === "at least" && Number(limit) === 1) return "a text that is not empty";
    return `a text of ${range} ${Number(limit) === 1 ? "character" : "characters"}`;
  }
  return `${origin === "int" ? "a whole number" : "a number"} of ${range}`;
}

function suggestion(issue: z.core.$ZodIssue, value: unknown): string | undefined {
  if (issue.code === "invalid_value" && typeof value === "string") {
    return didYouMean(value, issue.values.map(String));
  }
  if (issue.code === "invalid_type" && issue.expected === "boolean" && typeof value === "string") {
    if (/^(yes|on|y)$/i.test(value)) return "Write true: YAML 1.2 has no other word for it";
    if (/^(no|off|n)$/i.test(value)) return "Write false: YAML 1.2 has no other word for it";
  }
  return undefined;
}

/** `Did you mean "x"?` for the nearest of some names, or the only one that the word begins. */
export function didYouMean(word: string, names: Iterable<string>): string | undefined {
  const known = [...names];
  const longer = known.filter((name) => word.length > 1 && name.startsWith(word));
  const near = longer.length === 1 ? longer[0] : nearest(word, known);
  return near === undefined ? undefined : `Did you mean "${near}"?`;
}

/** `auto, triton or trtllm`. */
export function formatChoices(names: readonly string[], word: "or" | "and" = "or"): string {
  if (names.length < 2) return names.join();
  return `${names.slice(0, -1).join(", ")} ${word} ${names[names.length - 1]}`;
}

/** A value as it would stand in YAML, shortened. */
export function formatGot(value: unknown): string {
  if (value === undefined) return "nothing";
  return showName(JSON.stringify(value) ?? String(value));
}
