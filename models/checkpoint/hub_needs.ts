/**
 * What a download from the hub is allowed to be, before it begins.
 *
 * @module
 */

import { join } from "node:path";
import { getHFHubCachePath } from "../../deps/hub.ts";
import { hubFolder } from "./hub.ts";

/** A permission, and a clause that says what for. */
export interface PermissionNeed {
  readonly permission: Deno.PermissionDescriptor;
  readonly why: string;
  /** The flag to name, where that is another one than the permission's own. */
  readonly flag?: string;
}

/** Host of the public hub, and one of those that it sends clients to for weights. */
const HUB = "huggingface.co";
const HUB_FILES = "cas-bridge.xethub.hf.co";

/** Permissions for a model of the hub; a model that was downloaded once needs no network. */
export function hubNeeds(id: string): readonly PermissionNeed[] {
  const home = Deno.env.get("HF_HUB_CACHE") ?? Deno.env.get("HUGGINGFACE_HUB_CACHE") ??
    Deno.env.get("HF_HOME");
  const sys: PermissionNeed = {
    permission: { name: "sys", kind: "homedir" },
    why: "the hub's cache is in the home folder",
  };
  const mayAsk = Deno.permissions.querySync(sys.permission).state === "granted";
  if (home === undefined && !mayAsk) return [sys, ...networkNeeds()];
  const cache = getHFHubCachePath();
  const isCached = isFolder(join(hubFolder(id, cache), "snapshots"));
  return [
    { permission: { name: "read", path: cache }, why: "models of the hub are kept there" },
    ...(isCached ? [] : [
      {
        permission: { name: "write", path: cache },
        why: "the model is downloaded to it",
      } as const,
      ...networkNeeds(),
    ]),
  ];
}

function networkNeeds(): readonly PermissionNeed[] {
  const endpoint = Deno.env.get("HF_ENDPOINT");
  if (endpoint) {
    const host = hostOf(endpoint);
    const why = "HF_ENDPOINT names it as the hub";
    return host ? [{ permission: { name: "net", host }, why }] : [];
  }
  return [
    { permission: { name: "net", host: HUB }, why: "the model is downloaded from it" },
    {
      permission: { name: "net", host: HUB_FILES },
      why: "weights are there",
      flag: "--allow-net=*.hf.co",
    },
  ];
}

/** Host and port of a URL; none of a text that is no URL, which the download itself refuses. */
export function hostOf(url: string): string | undefined {
  return URL.parse(url)?.host;
}

function isFolder(path: string): boolean {
  try {
    return Deno.statSync(path).isDirectory;
  } catch {
    return false;
  }
}
