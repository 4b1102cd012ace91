/**
 * Permissions of Deno: what a command needs is asked for before it begins, in one sentence with flags
 * and reasons; and the flags of the task `deploy`, for processes started here.
 *
 * @module
 */

import config from "../deno.json" with { type: "json" };
import { ConfigError, grantHint, permissionHint, permissionWord } from "../graph/mod.ts";
import { hubNeeds, isHubId, type PermissionNeed } from "../models/mod.ts";
import { statOf } from "../runtime/mod.ts";
import { taskPermissions } from "./task_permissions.ts";

/** Version of the package. */
export const VERSION: string = config.version;

/** What a command is about to do, such as "it starts the engine's process", and the permission for it. */
export type Need = PermissionNeed;

/**
 * Asks for what is not granted yet: Deno asks people at a terminal, everywhere else this is an error.
 *
 * @throws {ConfigError} `cli/permission`, which names every flag that is missing, and why.
 */
export function requirePermissions(command: string, needs: readonly Need[]): void {
  const missing = needs.filter(({ permission }) =>
    Deno.permissions.requestSync(permission).state !== "granted"
  );
  if (missing.length === 0) return;
  const flags = missing.map(({ permission, flag }) => flag ?? flagOf(permission));
  throw new ConfigError(
    "cli/permission",
    `Cannot start "${command}": expected ${
      missing.map(({ why }, i) => `${flags[i]} (${why})`).join(" and ")
    }, got ${missing.length === 1 ? "no such permission" : "none of these permissions"}`,
    {
      hint: `Add ${flags.join(" ")} to the flags of deno, or --allow-all`,
      details: { command, flags },
    },
  );
}

/** What opening a model takes: its folder, or the hub and its cache. */
export function modelNeeds(model: string | null): readonly Need[] {
  if (model === null) return [];
  const read = { permission: { name: "read", path: model }, why: "the model is there" } as const;
  if (!isHubId(model)) return [read];
  // A folder of that name wins, where it may be looked at.
  const isReadable = Deno.permissions.querySync(read.permission).state === "granted";
  return isReadable && statOf(model) ? [] : hubNeeds(model);
}

/** What starting Deno again takes: this executable by its path, or the `deno` of the PATH. */
export function processNeed(why: string): Need {
  const byName = { name: "run", command: "deno" } as const;
  if (isGranted(byName) || !isGranted({ name: "read" })) return { permission: byName, why };
  const byPath = { name: "run", command: Deno.execPath() } as const;
  return { permission: isGranted(byPath) ? byPath : byName, why };
}

function isGranted(permission: Deno.PermissionDescriptor): boolean {
  return Deno.permissions.querySync(permission).state === "granted";
}

/** What to do about a refusal that nobody asked for before; undefined for every other failure. */
export function refusalHint(error: unknown): string | undefined {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    const hint = permissionHint(cause);
    // One variable at a time would be many runs: the task's list has them all.
    if (hint?.startsWith("Add --allow-env")) return grantHint("env", ENVIRONMENT);
    if (hint !== undefined) return hint;
  }
  return undefined;
}

/** The `--allow-…` flags of the task, `$HOME` filled in; without a home folder it stays out. */
export function deployPermissions(): string[] {
  const home = Deno.env.get("HOME");
  const flags = taskPermissions("deploy").map((word) =>
    home === undefined
      ? word.replace(/\$HOME\/[^,]*,/, "")
      : word.replace("$HOME", home.replaceAll(",", ",,"))
  );
  return [...flags, ...importPermission()];
}

/** What a script needs that imports Mixline from the web, where this code came from there. */
export function importPermission(): string[] {
  const { protocol, host } = new URL(import.meta.url);
  return protocol === "file:" ? [] : [`--allow-import=${host}`];
}

/** Variables that the task may read. */
const ENVIRONMENT = taskPermissions("deploy").find((word) => word.startsWith("--allow-env="))
  ?.replace("--allow-env=", "");

function flagOf(permission: Deno.PermissionDescriptor): string {
  switch (permission.name) {
    case "read":
    case "write":
      return permissionWord(permission.name, permission.path?.toString());
    case "net":
      return permissionWord("net", permission.host);
    case "run":
      return permissionWord("run", permission.command?.toString());
    case "sys":
      return permissionWord("sys", permission.kind);
    case "env":
      return permissionWord("env", permission.variable);
    default:
      return permissionWord(permission.name);
  }
}
