/**
 * What the routes about the model, its tokens and the server's health answer.
 *
 * @module
 */

import type { z } from "../../deps/zod.ts";
import type { EngineProcess } from "../engine/engine_process.ts";
import type {
  detokenizeRequestSchema,
  expertsSchema,
  healthSchema,
  modelListSchema,
  modelSchema,
  tokenizeRequestSchema,
} from "../schemas/models.ts";
import { invalidField } from "../errors.ts";
import { inNamesOf } from "./field_names.ts";
import { checkModel, engineInfo, servedModel, type Service } from "./service.ts";

/** Milliseconds that `/metrics` waits for the engine's own counts. */
const STATS_MS = 1000;

/** `GET /v1/models`. */
export function listModels(service: Service): z.infer<typeof modelListSchema> {
  return { object: "list", data: [modelOf(service)] };
}

/** `GET /v1/models/{model}`. */
export function modelOf(service: Service): z.infer<typeof modelSchema> {
  const { maxSequenceTokens, chats, thinkingSwitch } = engineInfo(service);
  const { description } = service.settings;
  return {
    id: servedModel(service),
    object: "model",
    created: service.startedAt,
    owned_by: "mixline",
    max_model_len: maxSequenceTokens,
    chats,
    thinking_switch: thinkingSwitch,
    ...(description !== undefined && { description }),
  };
}

/** `POST /tokenize`. */
export async function tokensOf(
  service: Service,
  { model, prompt, messages }: z.infer<typeof tokenizeRequestSchema>,
) {
  if (model) checkModel(service, model);
  const tokens = await service.supervisor.engine.encode(messages ?? prompt ?? "")
    .catch((error) => {
      throw inNamesOf(messages ? { prompt: "messages" } : {}, error);
    });
  return { tokens, count: tokens.length, max_model_len: engineInfo(service).maxSequenceTokens };
}

/** `POST /detokenize`. */
export async function textOf(
  service: Service,
  { model, tokens }: z.infer<typeof detokenizeRequestSchema>,
) {
  if (model) checkModel(service, model);
  const { vocabSize } = engineInfo(service);
  const wrong = tokens.findIndex((id) => id >= vocabSize);
  if (wrong >= 0) {
    throw invalidField(
      `tokens.${wrong}`,
      `Cannot read token ${wrong}: expected an id from 0 to ${vocabSize - 1}, got ${tokens[wrong]}`,
    );
  }
  return { prompt: await service.supervisor.engine.decode(tokens) };
}

/** `GET /experts`. */
export async function expertsOf({ supervisor }: Service): Promise<z.infer<typeof expertsSchema>> {
  const layers = await supervisor.engine.experts();
  return { layers: layers.map(({ scope, counts }) => ({ layer: scope, counts: [...counts] })) };
}

/** `GET /health`. */
export function healthOf({ supervisor, admission }: Service): z.infer<typeof healthSchema> {
  const { state, restarts } = supervisor;
  const takesRequests = state === "ready" && !admission.isClosed;
  return { status: takesRequests ? "ok" : "unavailable", engine: state, restarts };
}

/** `GET /metrics`. */
export async function readMetrics({ supervisor, metrics }: Service): Promise<string> {
  metrics.observeEngine(await askEngine(supervisor, (engine) => engine.stats()));
  metrics.observeExperts(await askEngine(supervisor, (engine) => engine.experts()) ?? []);
  metrics.observeSupervisor(supervisor.state, supervisor.restarts, supervisor.info?.report.bytes);
  return await metrics.text();
}

/** What the engine answers; undefined when there is none, or when it does not answer soon. */
async function askEngine<Answer>(
  supervisor: Service["supervisor"],
  ask: (engine: EngineProcess) => Promise<Answer>,
): Promise<Answer | undefined> {
  if (supervisor.state !== "ready") return undefined;
  const late = Promise.withResolvers<undefined>();
  const timer = setTimeout(() => late.resolve(undefined), STATS_MS);
  const answer = ask(supervisor.engine).catch(() => undefined);
  return await Promise.race([answer, late.promise]).finally(() => clearTimeout(timer));
}
