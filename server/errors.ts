/**
 * Errors in the shape that OpenAI's clients read, with the status of their class.
 *
 * @module
 */

import { type Context, HTTPException } from "../deps/hono.ts";
import { z } from "../deps/zod.ts";
import { messageOf, MixlineError, RequestError } from "../graph/mod.ts";

/** Body of an answer that is an error. */
export interface ErrorBody {
  readonly error: {
    readonly message: string;
    readonly type: string;
    /** Path of the field at fault. */
    readonly param: string | null;
    readonly code: string | null;
  };
}

/** OpenAI's names for kinds of errors, by status. */
const TYPES: Readonly<Record<number, string>> = {
  400: "invalid_request_error",
  401: "authentication_error",
  403: "permission_error",
  404: "not_found_error",
  405: "invalid_request_error",
  408: "timeout_error",
  413: "invalid_request_error",
  415: "invalid_request_error",
  429: "rate_limit_error",
  431: "invalid_request_error",
  499: "cancelled",
  503: "service_unavailable_error",
  504: "timeout_error",
};

/** Seconds that a client should wait, by status. */
const RETRY_AFTER_SECONDS: Readonly<Record<number, number>> = { 429: 1, 503: 2 };

/** Most issues of one body that an error lists. */
const MOST_ISSUES = 5;

/** Status and body of anything thrown. Bugs keep their text: it is in the log, under the request's id. */
export function errorAnswer(error: unknown): { status: number; body: ErrorBody } {
  if (error instanceof MixlineError) {
    const { code, hint, details, httpStatus: status } = error;
    const message = hint === undefined ? error.message : `${error.message}. ${hint}`;
    return { status, body: bodyOf(status, message, code, paramOf(details)) };
  }
  if (error instanceof z.ZodError) return { status: 400, body: invalidBody(error) };
  if (error instanceof HTTPException) return frameworkAnswer(error);
  if (isAbort(error)) {
    return { status: 499, body: bodyOf(499, "the client has disconnected", "request/aborted") };
  }
  return { status: 500, body: bodyOf(500, "the server failed; see its log", "server/bug") };
}

/** An error as an answer. */
export function answerError(context: Context, error: unknown): Response {
  const { status, body } = errorAnswer(error);
  const retry = RETRY_AFTER_SECONDS[status];
  for (const [name, value] of Object.entries(JSON_TYPE)) context.header(name, value);
  if (retry !== undefined) context.header("retry-after", String(retry));
  const answer = context.body(JSON.stringify(body));
  // The framework's types list no statuses of our own, such as 499.
  return new Response(answer.body, { status, headers: answer.headers });
}

const JSON_TYPE = { "content-type": "application/json; charset=utf-8" };

/** Whether the error is unexpected. */
export function isBug(error: unknown): boolean {
  if (error instanceof MixlineError) return error.code.endsWith("/bug");
  if (error instanceof HTTPException) return error.status >= 500;
  return !(error instanceof z.ZodError) && !isAbort(error);
}

/** The text of a bug for the log. */
export function bugText(error: unknown): string {
  return error instanceof Error ? error.stack ?? messageOf(error) : messageOf(error);
}

/** A request that names something wrong in one field. */
export function invalidField(param: string, message: string): RequestError {
  return new RequestError("request/invalid-field", message, { details: { param } });
}

/** What the framework refuses itself: bodies that are no JSON. */
function frameworkAnswer({ status }: HTTPException): { status: number; body: ErrorBody } {
  const message = "Cannot read the request: expected a JSON document in UTF-8, got something else";
  return { status, body: bodyOf(status, message, "request/malformed-json") };
}

function isAbort(error: unknown): boolean {
  return error instanceof DOMException && error.name === "AbortError";
}

function bodyOf(
  status: number,
  message: string,
  code: string,
  param: string | null = null,
): ErrorBody {
  const type = TYPES[status] ?? (status < 500 ? "invalid_request_error" : "server_error");
  return { error: { message, type, param, code } };
}

function paramOf(
  { param, variable, option }: Readonly<Record<string, unknown>>,
): string | null {
  return [param, variable, option].find((name) => typeof name === "string") ?? null;
}

function invalidBody(error: z.ZodError): ErrorBody {
  const issues = error.issues.flatMap(innermost);
  const lines = issues.slice(0, MOST_ISSUES).map(({ path, message }) =>
    path === "" ? message : `"${path}": ${message}`
  );
  const more = issues.length > MOST_ISSUES ? `, and ${issues.length - MOST_ISSUES} more` : "";
  const message = `Cannot read the request: ${lines.join("; ")}${more}`;
  return bodyOf(400, message, "request/invalid-body", issues[0]?.path || null);
}

/** Path and words of an issue; of a union those of the variant that came closest. */
function innermost(issue: z.core.$ZodIssue): { path: string; message: string }[] {
  const path = issue.path.join(".");
  if (issue.code === "unrecognized_keys") {
    return issue.keys.slice(0, MOST_ISSUES).map((key) => ({
      path: path === "" ? key : `${path}.${key}`.slice(0, 200),
      message: "not supported",
    }));
  }
  if (issue.code === "invalid_union" && issue.errors.length > 0) {
    const deepest = Math.max(...issue.errors.flat().map((inner) => inner.path.length), 0);
    const closest = issue.errors.find((variant) =>
      variant.some((inner) => inner.path.length === deepest)
    );
    if (deepest > 0 && closest) {
      return closest.flatMap(innermost).map((inner) => ({
        ...inner,
        path: path === "" ? inner.path : `${path}.${inner.path}`,
      }));
    }
  }
  return [{ path: path.slice(0, 200), message: issue.message.slice(0, 500) }];
}
