/**
 * Flags of a server. Nothing of the server is imported here, not even types: Deno downloads their libraries as well.
 *
 * @module
 */

import { Option } from "../deps/commander.ts";
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
