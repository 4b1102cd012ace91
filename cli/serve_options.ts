/**
 * What a server's flags say, as it takes them.
 *
 * @module
 */

import { ConfigError, messageOf } from "../graph/mod.ts";
import type { LogOptions, ServeOptions } from "../server/mod.ts";
import type { ServeFlags } from "./serve_flags.ts";

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
    const got = error instanceof Deno.errors.NotFound
      ? "none"
      : error instanceof Deno.errors.IsADirectory
      ? "a folder"
      : `"${messageOf(error)}"`;
    throw new ConfigError(
      "cli/api-keys",
      `Cannot read API keys "${file}": expected a file, got ${got}`,
      { hint: "Give a file with one key a line; openssl rand -hex 24 makes a key", cause: error },
    );
  }
  throw new ConfigError(
    "cli/api-keys",
    `Cannot read API keys "${file}": expected one key a line, got an empty file`,
  );
}
