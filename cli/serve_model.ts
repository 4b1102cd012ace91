/**
 * Runs a server until it is told to end. Loaded when a server is asked for: other commands need none
 * of its libraries.
 *
 * @module
 */

import { join } from "node:path";
import type { Pipeline } from "../dsl/mod.ts";
import { isLoopbackUrl, openLog, serve } from "../server/mod.ts";
import type { CommandContext } from "./command.ts";
import { bundledModel, provideBundledModel } from "./bundled_model.ts";
import { configure } from "./configure.ts";
import { type Need, processNeed, requirePermissions } from "./permissions.ts";
import type { ServeFlags } from "./serve_flags.ts";
import { logOptions, serveOptions } from "./serve_options.ts";

/** Serves until the first SIGINT or SIGTERM, which lets requests in flight end. */
export async function serveModel(
  flags: ServeFlags,
  { terminal, signal }: CommandContext,
): Promise<void> {
  const pipeline = configure(flags);
  requirePermissions("serve", serveNeeds(flags));
  await provideBundledModel("serve", pipeline.resolve().settings.model);
  const options = { description: aboutBundled(pipeline), ...await serveOptions(flags) };
  const ended = endSignal(signal);
  await using opened = await openLog(logOptions(flags));
  const server = await serve(pipeline, options, {
    log: opened.log,
    signal: ended.signal,
    cache: hubCache(),
  });
  const { url } = server;
  if (terminal.json) terminal.result(`${JSON.stringify({ url, pid: Deno.pid })}\n`);
  else terminal.result(`${isLoopbackUrl(url) ? "" : "reachable from other machines: "}${url}\n`);
  await ended.promise;
  await server.close();
}

/** The engine, which opens the model, has a process of its own with its own permissions. */
function serveNeeds({ host = "127.0.0.1", port = 8000 }: ServeFlags): readonly Need[] {
  const name = host.includes(":") ? `[${host}]` : host;
  const address = port === 0 ? name : `${name}:${port}`;
  return [
    { permission: { name: "net", host: address }, why: "it listens there" },
    processNeed("it starts the engine's process"),
  ];
}

/** What the page says of the model that comes with Mixline. */
function aboutBundled(pipeline: Pipeline): string | undefined {
  if (pipeline.resolve().settings.model !== bundledModel()) return undefined;
  return "A storyteller with 7.4 million parameters: it makes up little stories and knows nothing else. " +
    "Ask for one, such as: Tell me a story about a fox who finds a drum";
}

/** Resolves at SIGTERM, or when Ctrl-C was pressed once. */
function endSignal(interrupt: AbortSignal) {
  const controller = new AbortController();
  const { promise, resolve } = Promise.withResolvers<void>();
  const end = () => {
    controller.abort(interrupt.aborted ? interrupt.reason : undefined);
    resolve();
  };
  Deno.addSignalListener("SIGTERM", end);
  if (interrupt.aborted) end();
  else interrupt.addEventListener("abort", end, { once: true });
  return { promise, signal: controller.signal };
}

/** Folder of the hub's files; undefined where the home folder is not known. */
function hubCache(): string | undefined {
  const home = Deno.env.get("HF_HOME");
  if (home) return home;
  const user = Deno.env.get("HOME");
  return user && join(user, ".cache", "huggingface");
}
