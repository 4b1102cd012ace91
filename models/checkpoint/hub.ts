/**
 * Models of the Hugging Face Hub, downloaded once into the cache that its other clients use.
 *
 * @module
 */

import { basename, dirname, join } from "node:path";
import {
  getHFHubCachePath,
  HubApiError,
  type ListFileEntry,
  listFiles,
  modelInfo,
} from "../../deps/hub.ts";
import { z } from "../../deps/zod.ts";
import { CheckpointError, ConfigError } from "../../graph/mod.ts";
import { downloadBlob, type HubAccess } from "./hub_blob.ts";
import { hubError, missingFile, stopped } from "./hub_errors.ts";
import { isFile } from "./json_file.ts";

/** How far a download is. */
export interface DownloadProgress {
  readonly file: string;
  readonly bytes: number;
  readonly totalBytes: number;
}

/** Options of {@linkcode downloadModel}. */
export interface DownloadOptions {
  /** Branch, tag or commit; default `main`. */
  readonly revision?: string;
  /** Default: the cache of the hub's clients (`HF_HUB_CACHE`, `HF_HOME`, or the user's cache). */
  readonly cacheDir?: string;
  /** Default: the public hub, or `HF_ENDPOINT`. */
  readonly hubUrl?: string;
  /** For private and gated models; default `HF_TOKEN`. */
  readonly accessToken?: string;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: DownloadProgress) => void;
}

/** Files of a model besides its weights. */
const SMALL_FILES = [
  "config.json",
  "generation_config.json",
  "hf_quant_config.json",
  "tokenizer.json",
  "tokenizer_config.json",
  "chat_template.jinja",
];
const WEIGHTS = "model.safetensors";
const INDEX = "model.safetensors.index.json";

/** Time for the hub's first answer. */
const ANSWER_MS = 15_000;

/** True for texts such as `Qwen/Qwen3-30B-A3B`; a folder may have such a path too. */
export function isHubId(text: string): boolean {
  return /^[A-Za-z0-9][\w.-]*\/[A-Za-z0-9][\w.-]*$/.test(text);
}

/** The folder of a model in a cache of the hub's clients. */
export function hubFolder(id: string, cache: string): string {
  return join(cache, `models--${id.replace("/", "--")}`);
}

/**
 * Downloads what Mixline needs of a model and returns its folder. What the cache holds is not
 * downloaded again, an interrupted download goes on where it stopped, and without a connection a
 * complete cache is enough. Throws a CheckpointError: `checkpoint/offline`, `checkpoint/hub-missing`,
 * `checkpoint/hub-refused` (gated), `checkpoint/download`, `checkpoint/cache` (a disk that is full).
 */
export async function downloadModel(id: string, options: DownloadOptions = {}): Promise<string> {
  const revision = options.revision ?? "main";
  const storage = hubFolder(id, options.cacheDir ?? getHFHubCachePath());
  const access = accessOf(options);
  let commit: string;
  let entries: Map<string, ListFileEntry>;
  try {
    commit = (await modelInfo({ ...access, name: id, revision, additionalFields: ["sha"] })).sha;
    entries = new Map();
    for await (const entry of listFiles({ ...access, repo: id, revision: commit })) {
      entries.set(entry.path, entry);
    }
  } catch (cause) {
    const cached = await cachedSnapshot(storage, revision);
    if (cached !== undefined && !(cause instanceof HubApiError)) return cached;
    throw options.signal?.aborted ? stopped(id, cause) : hubError(id, cause);
  }
  const snapshot = join(storage, "snapshots", commit);
  await downloadSnapshot({ id, storage, snapshot, commit, entries, access, options });
  await writeReference(storage, revision, commit);
  return snapshot;
}

interface SnapshotTask {
  readonly id: string;
  readonly storage: string;
  readonly snapshot: string;
  readonly commit: string;
  readonly entries: ReadonlyMap<string, ListFileEntry>;
  readonly access: HubAccess;
  readonly options: DownloadOptions;
}

async function downloadSnapshot(task: SnapshotTask): Promise<void> {
  const { id, storage, snapshot, commit, entries, access, options } = task;
  const small = [...SMALL_FILES, INDEX].filter((name) => entries.has(name));
  const fetchFile = async (name: string, done: number, totalBytes: number) => {
    const entry = entries.get(name);
    if (!entry) throw missingFile(id, name);
    try {
      await downloadBlob({
        repo: id,
        revision: commit,
        entry,
        storage,
        link: join(snapshot, name),
        access,
        signal: options.signal,
        onBytes: (bytes) => options.onProgress?.({ file: name, bytes: done + bytes, totalBytes }),
      });
    } catch (cause) {
      if (cause instanceof CheckpointError) throw cause;
      throw options.signal?.aborted ? stopped(id, cause) : hubError(id, cause, name);
    }
    return done + entry.size;
  };
  const sizeOf = (names: readonly string[]) =>
    names.reduce((sum, name) => sum + (entries.get(name)?.size ?? 0), 0);
  for (const name of small) await fetchFile(name, 0, sizeOf([name]));
  const weights = entries.has(INDEX) ? await shardNames(join(snapshot, INDEX)) : [WEIGHTS];
  const totalBytes = sizeOf(weights);
  let done = 0;
  for (const name of weights) done = await fetchFile(name, done, totalBytes);
}

const indexSchema = z.looseObject({ weight_map: z.record(z.string(), z.string()) });

async function shardNames(path: string): Promise<string[]> {
  const { weight_map } = indexSchema.parse(JSON.parse(await Deno.readTextFile(path)));
  const names = [...new Set(Object.values(weight_map))];
  return names.filter((name) => name === basename(name)).sort();
}

function accessOf(options: DownloadOptions): HubAccess {
  const accessToken = options.accessToken ?? Deno.env.get("HF_TOKEN");
  return {
    hubUrl: options.hubUrl ?? endpoint(),
    ...(accessToken && { accessToken }),
    fetch: async (input, init) => {
      const waiting = new AbortController();
      const timer = setTimeout(
        () => waiting.abort(new Error(`no answer within ${ANSWER_MS / 1000} s`)),
        ANSWER_MS,
      );
      const signals = [waiting.signal, options.signal, init?.signal].filter((each) => !!each);
      try {
        return await fetch(input, { ...init, signal: AbortSignal.any(signals) });
      } finally {
        clearTimeout(timer);
      }
    },
  };
}

/** The hub that a variable names; undefined for the public one. */
function endpoint(): string | undefined {
  const url = Deno.env.get("HF_ENDPOINT") || undefined;
  if (url === undefined || /^https?:$/.test(URL.parse(url)?.protocol ?? "")) return url;
  throw new ConfigError(
    "checkpoint/hub",
    `Cannot read variable "HF_ENDPOINT": expected the address of a hub, got "${url}"`,
    { hint: "Write it with https:// or http://", details: { variable: "HF_ENDPOINT", value: url } },
  );
}

/** The folder of a revision that an earlier run downloaded whole. */
async function cachedSnapshot(storage: string, revision: string): Promise<string | undefined> {
  const reference = join(storage, "refs", revision);
  const commit = await isFile(reference) ? (await Deno.readTextFile(reference)).trim() : revision;
  const snapshot = join(storage, "snapshots", commit);
  if (!await isFile(join(snapshot, "config.json"))) return undefined;
  const index = join(snapshot, INDEX);
  const weights = await isFile(index) ? await shardNames(index) : [WEIGHTS];
  for (const name of weights) if (!await isFile(join(snapshot, name))) return undefined;
  return snapshot;
}

async function writeReference(storage: string, revision: string, commit: string): Promise<void> {
  if (revision === commit) return;
  const path = join(storage, "refs", revision);
  await Deno.mkdir(dirname(path), { recursive: true });
  await Deno.writeTextFile(path, commit);
}
