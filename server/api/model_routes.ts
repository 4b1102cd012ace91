/**
 * What the routes about the model, its tokens and the server's health answer.
 *
 * @module
 */

import type { z } from "../../deps/zod.ts";
import type { SchedulerStats } from "../../runtime/mod.ts";
import type {
  detokenizeRequestSchema,
  healthSchema,
  modelListSchema,
  tokenizeRequestSchema,
} from "../schemas/models.ts";
import { checkModel, engineInfo, servedModel, type Service } from "./service.ts";

/** Milliseconds that `/metrics` waits for the engine's own counts. */
const STATS_MS = 1000;

/** `GET /v1/models`. */
export function listModels(service: Service): z.infer<typeof modelListSchema> {
  const { maxSequenceTokens, chats } = engineInfo(service);
  return {
    object: "list",
    data: [{
      id: servedModel(service),
      object: "model",
      created: service.startedAt,
      owned_by: "mixline",
      max_model_len: maxSequenceTokens,
      chats,
      ...(service.settings.description !== undefined &&
        { description: service.settings.description }),
    }],
  };
}

/** `POST /tokenize`. */
export async function tokensOf(
  service: Service,
  { model, prompt, messages }: z.infer<typeof tokenizeRequestSchema>,
) {
  if (model) checkModel(service, model);
  const tokens = await service.supervisor.engine.encode(messages ?? prompt ?? "");
  return { tokens, count: tokens.length, max_model_len: engineInfo(service).maxSequenceTokens };
}

/** `POST /detokenize`. */
export async function textOf(
  service: Service,
  { model, tokens }: z.infer<typeof detokenizeRequestSchema>,
) {
  if (model) checkModel(service, model);
  return { prompt: await service.supervisor.engine.decode(tokens) };
}

/** `GET /health`. */
export function healthOf({ supervisor }: Service): z.infer<typeof healthSchema> {
  const { state, restarts } = supervisor;
  return { status: state === "ready" ? "ok" : "unavailable", engine: state, restarts };
}

/** `GET /metrics`. */
export async function readMetrics({ supervisor, metrics }: Service): Promise<string> {
  metrics.observeEngine(await engineStats(supervisor));
  metrics.observeSupervisor(supervisor.state, supervisor.restarts, supervisor.info?.report.bytes);
  return await metrics.text();
}

/** Counts of the engine; undefined when there is none, or when it does not answer soon. */
async function engineStats(
  supervisor: Service["supervisor"],
): Promise<SchedulerStats | undefined> {
  if (supervisor.state !== "ready") return undefined;
  const late = Promise.withResolvers<undefined>();
  const timer = setTimeout(() => late.resolve(undefined), STATS_MS);
  const stats = supervisor.engine.stats().catch(() => undefined);
  return await Promise.race([stats, late.promise]).finally(() => clearTimeout(timer));
}
