/**
 * Access control: keys, hosts, origins, and the headers for browsers on every answer.
 *
 * @module
 */

import { createHash, timingSafeEqual } from "node:crypto";
import type { MiddlewareHandler } from "../deps/hono.ts";
import { RequestError } from "../graph/mod.ts";
import { answerError } from "./errors.ts";
import { isLoopback, type ServerSettings } from "./settings.ts";

/** Paths that answer without a key: for load balancers, and the files of the page. */
const OPEN_PATHS = new Set([
  "/",
  "/experts.js",
  "/page.js",
  "/page.css",
  "/health",
  "/health/live",
  "/health/ready",
]);

/** Nothing but the page's own files, and calls to this server. */
const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; " +
  "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HEADERS: Readonly<Record<string, string>> = {
  "content-security-policy": POLICY,
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
};

/** Headers for browsers on every answer. */
export const securityHeaders: MiddlewareHandler = async (context, next) => {
  await next();
  for (const [name, value] of Object.entries(HEADERS)) context.header(name, value);
};

/**
 * A page elsewhere can point a name of its own at 127.0.0.1 and then counts as the same origin; the
 * `Host` it sends gives it away.
 */
export function hostGuard(settings: ServerSettings): MiddlewareHandler {
  return async (context, next) => {
    if (!isLoopback(settings.host) || settings.apiKeys.length > 0) return await next();
    const host = (context.req.header("host") ?? "").replace(/:\d+$/, "");
    if (isLoopback(host)) return await next();
    return answerError(
      context,
      new RequestError(
        "request/foreign-host",
        `Cannot answer the request: expected host localhost or a loopback address, got "${
          host.slice(0, 100)
        }"`,
        { status: 403, hint: "Call the server by its address, or give it a key with --api-key" },
      ),
    );
  };
}

/** Demands one of the keys, compared in constant time. */
export function keyGuard({ apiKeys }: ServerSettings): MiddlewareHandler {
  const digests = apiKeys.map(digest);
  return async (context, next) => {
    if (digests.length === 0 || OPEN_PATHS.has(context.req.path)) return await next();
    const [scheme, key = ""] = (context.req.header("authorization") ?? "").split(" ", 2);
    const given = digest(key);
    // Every key is compared, so that the time does not tell which one came close.
    const matches = digests.map((each) => timingSafeEqual(each, given));
    if (scheme.toLowerCase() === "bearer" && matches.includes(true)) return await next();
    context.header("www-authenticate", "Bearer");
    return answerError(
      context,
      new RequestError(
        "request/unauthorized",
        "Cannot answer the request: expected a valid API key, got " +
          (key === "" ? "none" : "another one"),
        { status: 401, hint: "Send it as: Authorization: Bearer <key>" },
      ),
    );
  };
}

function digest(key: string): Uint8Array {
  return createHash("sha256").update(key).digest();
}
