/**
 * How the engine's process is started: this executable again, with only the permissions that an
 * engine needs.
 *
 * @module
 */

import { hostOf } from "../../models/mod.ts";
import type { EngineCommand } from "./engine_process.ts";

/** Permissions of an engine: reading models, the GPU's environment variables, downloads from the hub. */
const PERMISSIONS = [
  "--no-prompt",
  "--allow-read",
  "--allow-env",
  "--allow-sys=homedir",
];

/** Hosts of the public hub, and the one that HF_ENDPOINT names instead. */
function hubHosts(): string {
  const mirror = hostOf(Deno.env.get("HF_ENDPOINT") ?? "");
  return ["huggingface.co", "*.huggingface.co", "*.hf.co", ...(mirror ? [mirror] : [])].join(",");
}

/** The command for the executable that runs now. `cache` is the hub's folder, which it may write. */
export function engineCommand(cache: string | undefined): EngineCommand {
  const command = executable();
  const write = cache === undefined ? [] : [`--allow-write=${cache.replaceAll(",", ",,")}`];
  // A provider of WebGPU that is a native library needs it; an engine gets what its server has.
  const ffi = Deno.permissions.querySync({ name: "ffi" }).state === "granted"
    ? ["--allow-ffi"]
    : [];
  const entry = import.meta.resolve("./main.ts");
  const net = `--allow-net=${hubHosts()}`;
  return { command, args: ["run", "--quiet", ...PERMISSIONS, net, ...ffi, ...write, entry] };
}

/**
 * The executable that runs now, or the `deno` of the PATH, which is the one that
 * `--allow-run=deno` grants.
 */
function executable(): string {
  const path = Deno.execPath();
  return Deno.permissions.querySync({ name: "run", command: path }).state === "granted"
    ? path
    : "deno";
}
