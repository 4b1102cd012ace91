/**
 * Flags of a server.
 *
 * @module
 */

import { Option } from "../deps/commander.ts";
import { ConfigError, messageOf } from "../graph/mod.ts";
import type { LogOptions, ServeOptions } from "../server/mod.ts";
import { modelCommand } from "./deploy_flags.ts";
import { collect, countFlag } from "./flags.ts";

/** The command `serve` without its action. */
export function serveFlags() {
  return modelCommand("serve", "Serve a model: OpenAI's API and a web page")
    .option("--port <n>", "port; 0 takes a free one (default: 8000)", countFlag("--port", 0, 65535))
    .option("--host <address>", "address to listen on (default: 127.0.0.1)")
    .option("--served-model-name <name>", "name of the model in requests (default: its own)")
    .option("--api-key <key>", "key that clients must send, repeatable", collect)
    .option("--api-key-file <file>", "file with one key a line")
    .option("--insecure", "listen beyond this machine without keys")
    .option("--cors-origin <origin>", "origin whose pages may call the server, repeatable", collect)
    .option(
      "--max-requests <n>",
      "requests in flight before 429 (default: 256)",
      countFlag("--max-requests", 1),
    )
    .option(
      "--max-body-bytes <n>",
      "largest body (default: 8 MiB)",
      countFlag("--max-body-bytes", 1024),
    )
    .option(
      "--max-connections <n>",
      "connections at one time (default: 1024)",
      countFlag("--max-connections", 1),
    )
    .option(
      "--request-timeout <seconds>",
      "longest request (default: 600)",
      countFlag("--request-timeout", 1),
    )
    .option(
      "--drain-timeout <seconds>",
      "for requests in flight at the end (default: 30)",
      countFlag("--drain-timeout", 0),
    )
    .addOption(
      new Option("--log-format <format>", "form of log lines (default: text)").choices(
        ["text", "json"] as const,
      ),
    )
    .addOption(
      new Option("--log-level <level>", "least serious log lines (default: info)")
        .choices(["debug", "info", "warning", "error"] as const),
    );
}

/** Parsed flags of `serve`. */
export type ServeFlags = ReturnType<ReturnType<typeof serveFlags>["opts"]>;

/** Options of the server that flags and environment ask for. */
export async function serveOptions(flags: ServeFlags): Promise<ServeOptions> {
  return {
    port: flags.port,
    host: flags.host,
    servedModelName: flags.servedModelName,
    apiKeys: await apiKeys(flags),
    insecure: flags.insecure,
    allowedOrigins: flags.corsOrigin,
    maxRequests: flags.maxRequests,
    maxBodyBytes: flags.maxBodyBytes,
    maxConnections: flags.maxConnections,
    requestTimeoutSeconds: flags.requestTimeout,
    drainSeconds: flags.drainTimeout,
  };
}

/** How log lines look. */
export function logOptions({ logFormat = "text", logLevel = "info" }: ServeFlags): LogOptions {
  const colors = Deno.stderr.isTerminal() && !Deno.noColor && Deno.env.get("TERM") !== "dumb";
  return { format: logFormat, level: logLevel, colors };
}

/** Keys of the flags, else of the file, else of MIXLINE_API_KEY, where commas separate them. */
async function apiKeys({ apiKey, apiKeyFile }: ServeFlags): Promise<string[]> {
  const inFile = apiKeyFile === undefined ? [] : (await readKeys(apiKeyFile)).split(/\r?\n/);
  const inEnvironment = (Deno.env.get("MIXLINE_API_KEY") ?? "").split(",");
  const flagKeys = [...(apiKey ?? []), ...inFile];
  const keys = flagKeys.length > 0 ? flagKeys : inEnvironment;
  return keys.map((key) => key.trim()).filter((key) => key !== "" && !key.startsWith("#"));
}

async function readKeys(file: string): Promise<string> {
  try {
    const text = await Deno.readTextFile(file);
    if (text.trim() !== "") return text;
  } catch (error) {
    throw new ConfigError("cli/api-keys", `Cannot read API keys "${file}": ${messageOf(error)}`);
  }
  throw new ConfigError(
    "cli/api-keys",
    `Cannot read API keys "${file}": expected one key a line, got an empty file`,
  );
}
