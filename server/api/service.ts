/**
 * What every route works with.
 *
 * @module
 */

import { type Context, matchedRoutes } from "../../deps/hono.ts";
import type { Logger } from "../../deps/logtape.ts";
import { RequestError } from "../../graph/mod.ts";
import type { Admission, Admitted } from "../admission.ts";
import type { EngineInfo } from "../engine/protocol.ts";
import type { Supervisor } from "../engine/supervisor.ts";
import { bugText, errorAnswer, invalidField, isBug } from "../errors.ts";
import type { ServerMetrics } from "../metrics.ts";
import type { Named } from "../schemas/common.ts";
import type { ServerSettings } from "../settings.ts";
import { type ServerEvent, streamEvents, type StreamOptions } from "./sse.ts";

/** The parts of a running server. */
export interface Service {
  readonly supervisor: Supervisor;
  readonly settings: ServerSettings;
  readonly admission: Admission;
  readonly metrics: ServerMetrics;
  readonly log: Logger;
  /** Seconds since 1970 at which the server started. */
  readonly startedAt: number;
}

/** What is known of a request on its way. */
export interface RequestVariables {
  readonly requestId: string;
  /** When it came, by `performance.now()`. */
  readonly begin: number;
}

/** A request and its answer. */
export type ServiceContext = Context<{ Variables: RequestVariables }>;

/** The name of the model that is served. */
export function servedModel({ settings, supervisor }: Service): string {
  return settings.servedModelName ?? supervisor.info?.model ?? "model";
}

/** Facts of the engine. @throws {DeviceError} before the first one was ready. */
export function engineInfo({ supervisor }: Service): EngineInfo {
  // Raises the error for clients while there is none.
  if (!supervisor.info) void supervisor.engine;
  const { info } = supervisor;
  if (info) return info;
  throw new Error(
    "an engine that is ready has no facts (this is a bug in Mixline, please report it)",
  );
}

/** The request with the name of the model that is served. @throws {RequestError} for another one */
export function named<Request extends { readonly model?: string | null }>(
  service: Service,
  request: Request,
): Named<Request> {
  const model = request.model ?? servedModel(service);
  checkModel(service, model);
  return { ...request, model };
}

/** Refuses a model that is not served. */
export function checkModel(service: Service, model: string): void {
  const served = servedModel(service);
  if (model === served) return;
  throw new RequestError(
    "model_not_found",
    `Cannot find model "${model.slice(0, 200)}": expected "${served}"`,
    { status: 404, hint: "Ask GET /v1/models for the name", details: { param: "model" } },
  );
}

/** Refuses messages, in the field `param`, for a model that has no chat template. */
export function checkCanChat(service: Service, param: string): void {
  if (engineInfo(service).chats) return;
  throw invalidField(
    param,
    "Cannot answer messages: expected a model with a chat template, got one without; use /v1/completions",
  );
}

/** Time of an answer, in seconds since 1970. */
export function now(): number {
  return Math.floor(Date.now() / 1000);
}

/** Takes a request, runs it, and lets it go. */
export async function answerOnce<Result>(
  service: Service,
  context: ServiceContext,
  run: (admitted: Admitted) => Promise<Result>,
): Promise<Result> {
  using admitted = service.admission.enter(context.req.raw.signal);
  return await run(admitted);
}

/** Takes a request and streams its events; it is let go when the stream has ended. */
export function answerStream(
  service: Service,
  context: ServiceContext,
  run: (admitted: Admitted) => AsyncGenerator<ServerEvent, void>,
  options: Pick<StreamOptions, "last" | "errorEvent">,
): Promise<Response> {
  const admitted = service.admission.enter(context.req.raw.signal);
  return streamEvents(context, run(admitted), {
    ...options,
    onError: (error) => logFailure(service, context, error),
    onEnd() {
      admitted.cancel();
      admitted[Symbol.dispose]();
    },
    onSent: () => observeDuration(service, context),
  });
}

/**
 * The path of the route that takes a request, without its parameters; those that no route takes, or
 * that have not come so far, are one label, or a stranger could fill the memory with paths.
 */
export function routeOf(context: ServiceContext): string {
  return matchedRoutes(context).findLast(({ method }) => method !== "ALL")?.path ?? "other";
}

/** Measures a request that has been answered to its end. */
export function observeDuration({ metrics }: Service, context: ServiceContext): void {
  const seconds = (performance.now() - context.get("begin")) / 1000;
  metrics.duration.observe({ route: routeOf(context) }, seconds);
}

/** What the log says of a request that failed: bugs with their stack, the rest in one line. */
export function logFailure({ log }: Service, context: ServiceContext, error: unknown): void {
  const requestId = context.get("requestId");
  if (isBug(error)) {
    log.error("request {requestId} failed: {error}", { requestId, error: bugText(error) });
    return;
  }
  const { message } = errorAnswer(error).body.error;
  log.info("request {requestId} was refused: {error}", { requestId, error: message });
}
