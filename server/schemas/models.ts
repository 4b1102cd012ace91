/**
 * Bodies of the routes about the model and its tokens.
 *
 * @module
 */

import { z } from "../../deps/zod.ts";

/** `GET /v1/models/{model}`. */
export const modelSchema = z.object({
  id: z.string(),
  object: z.literal("model"),
  created: z.int(),
  owned_by: z.string(),
  max_model_len: z.int(),
  description: z.string().optional(),
  chats: z.boolean().describe("it has a chat template"),
  thinking_switch: z.boolean().describe("its template turns thinking on and off"),
}).meta({ id: "Model" });

/** `GET /v1/models`. */
export const modelListSchema = z.object({
  object: z.literal("list"),
  data: z.array(modelSchema),
}).meta({ id: "ModelList" });

/** `POST /tokenize`. */
export const tokenizeRequestSchema = z.strictObject({
  model: z.string().nullish(),
  prompt: z.string().nullish(),
  messages: z.array(z.record(z.string(), z.unknown()).and(z.object({ role: z.string() }))).min(1)
    .nullish(),
}).refine(({ prompt, messages }) => (typeof prompt === "string") !== Array.isArray(messages), {
  error: "expected either prompt or messages",
}).meta({ id: "TokenizeRequest" });

/** Its answer. */
export const tokenizeResponseSchema = z.object({
  tokens: z.array(z.int()),
  count: z.int(),
  max_model_len: z.int(),
}).meta({ id: "Tokens" });

/** `POST /detokenize`. */
export const detokenizeRequestSchema = z.strictObject({
  model: z.string().nullish(),
  tokens: z.array(z.int().min(0)).max(1_000_000),
}).meta({ id: "DetokenizeRequest" });

/** Its answer. */
export const detokenizeResponseSchema = z.object({ prompt: z.string() }).meta({ id: "Text" });

/** `GET /health`, `/health/live` and `/health/ready`. */
export const healthSchema = z.object({
  status: z.enum(["ok", "unavailable"]),
  engine: z.string(),
  restarts: z.int(),
}).meta({ id: "Health" });

/** `GET /experts`. */
export const expertsSchema = z.object({
  layers: z.array(z.object({
    layer: z.string().describe("module path of the MoE layer"),
    counts: z.array(z.int()).describe("choices of each expert by the tokens of the step"),
  })),
}).meta({ id: "Experts" });
