/**
 * Errors for people: what failed, where in which file, what to do. A stack trace only with --debug.
 *
 * @module
 */

import { messageOf, MixlineError, RequestError } from "../graph/mod.ts";
import { refusalHint } from "./permissions.ts";
import type { Style } from "./terminal.ts";

/** Exit code after Ctrl-C, as shells count it: 128 + SIGINT. */
export const EXIT_INTERRUPTED = 130;

/** A refusal by Deno's permissions is not a bug. */
function isRefused(error: unknown): boolean {
  return error instanceof Deno.errors.NotCapable && refusalHint(error) !== undefined;
}

/** Exit code of an error: the class's own, 1 for unexpected errors. */
export function exitCodeOf(error: unknown): number {
  if (isAbort(error)) return EXIT_INTERRUPTED;
  return error instanceof MixlineError ? error.exitCode : 1;
}

/** Whether an error only says that the user has stopped. */
export function isAbort(error: unknown): boolean {
  return error instanceof DOMException && error.name === "AbortError" ||
    error instanceof MixlineError && error.code === "request/aborted";
}

/** An error as the lines of stderr; `stack` adds the stack traces of it and of its causes. */
export function renderError(error: unknown, style: Style, stack = false): string {
  if (isAbort(error)) return style.yellow("stopped");
  const label = style.bold(style.red("error:"));
  const lines = [`${label} ${style.bold(sentence(error))}`];
  if (error instanceof MixlineError) lines.push(...renderDetails(error, style));
  else if (isRefused(error)) lines.push(hintLine(`${refusalHint(error)}`, style));
  else if (!stack) lines.push(hintLine("Run again with --debug for the stack trace", style));
  if (stack) lines.push(...stackLines(error, style));
  return lines.join("\n");
}

/** An error as one JSON document. */
export function errorToJson(error: unknown, stack = false): Record<string, unknown> {
  const known = error instanceof MixlineError
    ? {
      ...error.toJSON(),
      message: sentence(error),
      ...hintOf(error),
    }
    : { name: "Error", code: unknownCode(error), message: sentence(error), ...hintOf(error) };
  const trace = stack && error instanceof Error ? { stack: error.stack } : {};
  return { error: { ...known, exitCode: exitCodeOf(error), ...trace } };
}

/** Code of an error that is none of our classes. */
function unknownCode(error: unknown): string {
  if (isAbort(error)) return "cli/stopped";
  return isRefused(error) ? "cli/permission" : "cli/bug";
}

/** What to do: grant what Deno refused, wherever that was noticed, or what the error itself says. */
function hintOf(error: unknown): { readonly hint?: string } {
  const own = error instanceof MixlineError ? error.hint : undefined;
  const hint = refusalHint(error) ?? (own && inFlagWords(own, error));
  return hint === undefined ? {} : { hint };
}

function sentence(error: unknown): string {
  if (error instanceof MixlineError || isAbort(error)) return inFlagWords(messageOf(error), error);
  const message = messageOf(error);
  if (isRefused(error)) return `Cannot go on: ${message}`;
  // The message of a broken invariant has this sentence already.
  const isSaid = message.includes("this is a bug in Mixline");
  return `Cannot go on: ${message}${isSaid ? "" : " (this is a bug in Mixline, please report it)"}`;
}

/** Options of a generation that are flags by another spelling. */
const OPTION = /\boption "(\w+)"|\b(maxNewTokens|topK|topP|minP|repetitionPenalty)\b/g;

/** A request's text in the words of who typed flags: `--max-new-tokens`, not `maxNewTokens`. */
function inFlagWords(text: string, error: unknown): string {
  if (!(error instanceof RequestError)) return text;
  const flag = (name: string) =>
    `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
  return text.replace(
    OPTION,
    (_, quoted?: string, bare?: string) => quoted ? `flag "${flag(quoted)}"` : flag(bare ?? ""),
  );
}

function renderDetails(error: MixlineError, style: Style): string[] {
  const lines: string[] = [];
  const { excerpt } = error.details;
  if (typeof excerpt === "string") {
    lines.push(...excerpt.split("\n").map((line) => `  ${style.cyan(line)}`.trimEnd()));
  }
  if (error.trail.length > 0) {
    lines.push(`  ${style.cyan("in")} ${[...error.trail].reverse().join(" > ")}`);
  }
  const { hint } = hintOf(error);
  if (hint !== undefined) lines.push(hintLine(hint, style));
  return lines;
}

function hintLine(hint: string, style: Style): string {
  return `${style.bold(style.green("hint:"))} ${hint}`;
}

function stackLines(error: unknown, style: Style): string[] {
  const lines: string[] = [];
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    lines.push(style.dim(cause.stack ?? String(cause)));
  }
  return lines;
}
