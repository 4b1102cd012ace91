/**
 * Servers for tests: on a free port of the loopback address, with the bundled model or with an engine
 * that follows scripts.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import OpenAI from "../../deps/openai.ts";
import { type Pipeline, pipeline } from "../../mod.ts";
import {
  openLog,
  type RunningServer,
  serve,
  type ServeContext,
  type ServeOptions,
} from "../../server/mod.ts";

/** How an engine's process is started. */
type EngineCommand = NonNullable<ServeContext["command"]>;

/** A server under test. */
export interface TestServer extends AsyncDisposable {
  readonly url: string;
  readonly server: RunningServer;
  readonly client: OpenAI;
}

const SCRIPTED = fileURLToPath(new URL("./scripted_engine.ts", import.meta.url));

/** How the engine of `scripted_engine.ts` is started. */
export function scriptedCommand(): EngineCommand {
  return { command: Deno.execPath(), args: ["run", "--quiet", "--no-check", SCRIPTED] };
}

/** Serves the engine of `scripted_engine.ts`. */
export function serveScripted(
  options: ServeOptions = {},
  context: Partial<ServeContext> = {},
): Promise<TestServer> {
  const scripted = pipeline().settings({ model: "demo/storyteller" });
  return open(scripted, options, { command: scriptedCommand(), ...context });
}

/** Serves the bundled model, or one like it, on the CPU executor; `over` is laid over its pipeline. */
export function serveStoryteller(
  options: ServeOptions = {},
  context: Partial<ServeContext> = {},
  over = pipeline(),
  model = fileURLToPath(new URL("../../demo/storyteller", import.meta.url)),
): Promise<TestServer> {
  return open(over.settings({ model, executor: "cpu" }), options, context);
}

async function open(
  deployment: Pipeline,
  options: ServeOptions,
  context: Partial<ServeContext>,
): Promise<TestServer> {
  const opened = await openLog({ format: "json", level: "error", colors: false });
  const server = await serve(deployment, {
    port: 0,
    drainSeconds: 1,
    ...options,
  }, {
    log: opened.log,
    supervisor: { backOffMs: 50, steadyMs: 1 },
    ...context,
  });
  const { url } = server;
  const client = new OpenAI({
    baseURL: `${url}/v1`,
    apiKey: options.apiKeys?.[0] ?? "none",
    maxRetries: 0,
  });
  return {
    url,
    server,
    client,
    async [Symbol.asyncDispose]() {
      await server.close();
      await opened[Symbol.asyncDispose]();
    },
  };
}
