/**
 * The web framework: routes, middleware, and routes that are described by zod schemas.
 *
 * @module
 */

export { serve as listen, type ServerType } from "npm:@hono/node-server@2.1.9";
export { createRoute, OpenAPIHono } from "npm:@hono/zod-openapi@1.6.3";
export type { Context, MiddlewareHandler } from "npm:hono@4.13.19";
export { bodyLimit } from "npm:hono@4.13.19/body-limit";
export { cors } from "npm:hono@4.13.19/cors";
export { HTTPException } from "npm:hono@4.13.19/http-exception";
export { matchedRoutes } from "npm:hono@4.13.19/route";
