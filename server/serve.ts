/**
 * Serves a pipeline: the engine in a process of its own, HTTP in this one.
 *
 * @module
 */

import { listen, type ServerType } from "../deps/hono.ts";
import type { Logger } from "../deps/logtape.ts";
import type { Pipeline } from "../dsl/mod.ts";
import { ConfigError, messageOf } from "../graph/mod.ts";
import { Admission } from "./admission.ts";
import { createApp } from "./app.ts";
import type { Service } from "./api/service.ts";
import { engineCommand } from "./engine/command.ts";
import type { EngineCommand } from "./engine/engine_process.ts";
import { Supervisor, type SupervisorOptions } from "./engine/supervisor.ts";
import { ServerMetrics } from "./metrics.ts";
import { OpenAnswers } from "./open_answers.ts";
import { type ServeOptions, serverSettings } from "./settings.ts";

/** What {@linkcode serve} works with besides the settings. */
export interface ServeContext {
  readonly log: Logger;
  /** Ends the start. */
  readonly signal?: AbortSignal;
  /** Folder that the hub's files go to. */
  readonly cache?: string;
  /** How the engine's process is started; default this executable. */
  readonly command?: EngineCommand;
  /** Times of the supervisor, for tests. */
  readonly supervisor?: Pick<
    SupervisorOptions,
    "backOffMs" | "steadyMs" | "heartbeatMs" | "hangMs"
  >;
}

/** A server that answers. */
export interface RunningServer {
  /** Where it answers, such as `http://127.0.0.1:8000`. */
  readonly url: string;
  readonly service: Service;
  /** Takes no more requests, lets those in flight end within `drainSeconds`, and ends. */
  close(): Promise<void>;
}

/**
 * Starts the server and its engine, and waits until that answers. Meanwhile `/health/live` says yes and
 * `/health/ready` no, and an address that is taken is found before a model is loaded.
 */
export async function serve(
  pipeline: Pipeline,
  options: ServeOptions,
  { log, signal, cache, command = engineCommand(cache), supervisor: times }: ServeContext,
): Promise<RunningServer> {
  const settings = serverSettings(options);
  const supervisor = Supervisor.start({
    ...times,
    command,
    yaml: pipeline.toYaml({ resolved: true }),
    onMessage: (text) => log.info("engine: {text}", { text }),
    onState: (state, why) =>
      why === undefined
        ? log.info("engine is {state}", { state })
        : log.warn("engine is {state}: {why}", { state, why }),
  });
  const metrics = new ServerMetrics();
  const admission = new Admission(settings, metrics);
  const startedAt = Math.floor(Date.now() / 1000);
  const service: Service = { supervisor, settings, admission, metrics, log, startedAt };
  const opened = supervisor.opened(signal);
  opened.catch(() => {});
  try {
    const { server, url } = await open(service);
    const close = closer(service, server);
    await opened.catch(async (error) => {
      await close();
      throw error;
    });
    return { url, service, close };
  } catch (error) {
    await supervisor.close();
    throw error;
  }
}

/** Listens; resolves when connections are taken. */
function open(service: Service): Promise<{ server: ServerType; url: string }> {
  const { settings } = service;
  const { promise, resolve, reject } = Promise.withResolvers<{ server: ServerType; url: string }>();
  const milliseconds = settings.receiveTimeoutSeconds * 1000;
  const server = listen({
    fetch: createApp(service).fetch,
    hostname: settings.host,
    port: settings.port,
    serverOptions: {
      headersTimeout: milliseconds,
      requestTimeout: milliseconds,
      connectionsCheckingInterval: Math.min(milliseconds, 1000),
      maxHeaderSize: settings.maxHeaderBytes,
    },
  }, ({ port }) => {
    const host = settings.host.includes(":") ? `[${settings.host}]` : settings.host;
    resolve({ server, url: `http://${host}:${port}` });
  });
  if ("maxConnections" in server) server.maxConnections = settings.maxConnections;
  server.once("error", (error) => reject(cannotListen(settings, error)));
  return promise;
}

/** Milliseconds for the last bytes of answers, however soon a server has to end. */
const LAST_BYTES_MS = 1000;

function closer({ admission, supervisor, settings, log }: Service, server: ServerType) {
  const answers = new OpenAnswers(server);
  let closing: Promise<void> | undefined;
  const close = async () => {
    // An engine that never opened has no requests to wait for, and its error says all.
    if (supervisor.state !== "closed") {
      log.info("ending: {inFlight} requests in flight get {seconds} s", {
        inFlight: admission.inFlight,
        seconds: settings.drainSeconds,
      });
    }
    const end = performance.now() + settings.drainSeconds * 1000;
    if (await within(admission.drain(), settings.drainSeconds * 1000)) {
      // The engine is done with them; their readers may be slow.
      const left = Math.max(end - performance.now(), LAST_BYTES_MS);
      if (!await within(answers.sent(), left)) log.warn("ended answers that nobody had read");
    } else {
      log.warn("ended {inFlight} requests that were in flight", { inFlight: admission.inFlight });
    }
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    if ("closeAllConnections" in server) server.closeAllConnections();
    await supervisor.close();
    await within(closed, 1000);
  };
  return () => closing ??= close();
}

/** Whether a promise settles in time. */
async function within(promise: Promise<void>, milliseconds: number): Promise<boolean> {
  const late = Promise.withResolvers<boolean>();
  const timer = setTimeout(() => late.resolve(false), milliseconds);
  return await Promise.race([promise.then(() => true), late.promise]).finally(() =>
    clearTimeout(timer)
  );
}

function cannotListen({ host, port }: { host: string; port: number }, error: unknown): ConfigError {
  const isTaken = messageOf(error).includes("EADDRINUSE");
  return new ConfigError(
    "serve/cannot-listen",
    `Cannot serve on ${host}:${port}: expected an address of this machine that is free, got ${
      messageOf(error)
    }`,
    {
      hint: isTaken
        ? "Give another --port, or end the program that has it"
        : "Give --host an address of this machine and --port one that this user may take, from 1024 on",
      cause: error,
    },
  );
}
