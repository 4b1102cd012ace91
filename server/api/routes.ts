/**
 * Descriptions of all routes, from which requests are checked and the OpenAPI document is made.
 *
 * @module
 */

import { createRoute } from "../../deps/hono.ts";
import { z } from "../../deps/zod.ts";
import { chatRequestSchema, chatResponseSchema } from "../schemas/chat.ts";
import { errorSchema } from "../schemas/common.ts";
import { completionRequestSchema, completionResponseSchema } from "../schemas/completion.ts";
import {
  detokenizeRequestSchema,
  detokenizeResponseSchema,
  expertsSchema,
  healthSchema,
  modelListSchema,
  modelSchema,
  tokenizeRequestSchema,
  tokenizeResponseSchema,
} from "../schemas/models.ts";
import { responsesRequestSchema, responsesResponseSchema } from "../schemas/responses.ts";

const FAILURES = {
  400: "The request is invalid; `param` names the field",
  401: "No valid API key",
  404: "No such model",
  413: "The body is too large",
  429: "Too many requests in flight; send it again after Retry-After",
  500: "The server failed",
  503: "No engine is ready; send it again after Retry-After",
  504: "The request took longer than the time limit",
};

const failures = Object.fromEntries(
  Object.entries(FAILURES).map(([status, description]) => [
    status,
    { description, content: { "application/json": { schema: errorSchema } } },
  ]),
);

function json<Schema extends z.ZodType>(schema: Schema) {
  return { "application/json": { schema } };
}

/** An answer that is one document, or a stream of events when the request says so. */
function answer<Schema extends z.ZodType>(schema: Schema) {
  const stream = { "text/event-stream": { schema: z.string().describe("server-sent events") } };
  return {
    200: { description: "The answer", content: { ...json(schema), ...stream } },
    ...failures,
  };
}

function post<Path extends string, Request extends z.ZodType, Response extends z.ZodType>(
  path: Path,
  summary: string,
  request: Request,
  response: Response,
) {
  return createRoute({
    method: "post",
    path,
    summary,
    request: { body: { required: true, content: json(request) } },
    responses: answer(response),
  });
}

function get<Path extends string, Response extends z.ZodType>(
  path: Path,
  summary: string,
  response: Response,
) {
  return createRoute({
    method: "get",
    path,
    summary,
    responses: {
      200: { description: "The answer", content: json(response) },
      503: { description: "Not now", content: json(response) },
    },
  });
}

export const chatRoute = post(
  "/v1/chat/completions",
  "Answer a chat",
  chatRequestSchema,
  chatResponseSchema,
);
export const responsesRoute = post(
  "/v1/responses",
  "Answer a conversation, in the form of OpenAI's newer API",
  responsesRequestSchema,
  responsesResponseSchema,
);
export const completionRoute = post(
  "/v1/completions",
  "Continue a text",
  completionRequestSchema,
  completionResponseSchema,
);
export const modelsRoute = get("/v1/models", "The model that is served", modelListSchema);
export const modelRoute = createRoute({
  ...get("/v1/models/{model}", "The model of this name", modelSchema),
  path: "/v1/models/{model}",
  request: { params: z.object({ model: z.string() }) },
});
export const tokenizeRoute = post(
  "/tokenize",
  "Token ids of a text or a chat",
  tokenizeRequestSchema,
  tokenizeResponseSchema,
);
export const detokenizeRoute = post(
  "/detokenize",
  "Text of token ids",
  detokenizeRequestSchema,
  detokenizeResponseSchema,
);
export const expertsRoute = get(
  "/experts",
  "Which experts each layer chose in the step that ran last",
  expertsSchema,
);
export const healthRoute = get("/health", "Whether requests are taken", healthSchema);
export const readyRoute = get("/health/ready", "Whether requests are taken", healthSchema);
export const liveRoute = get("/health/live", "Whether the server is running", healthSchema);
