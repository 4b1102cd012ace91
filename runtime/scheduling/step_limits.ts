/**
 * Sizes of steps and caches from the settings of a deployment, the graph and the device.
 *
 * @module
 */

import {
  type CacheSpec,
  ConfigError,
  DeviceError,
  DTYPE_BYTES,
  type Graph,
} from "../../graph/mod.ts";
import type { DeviceProfile } from "../../kernels/mod.ts";
import type { CompileOptions } from "../executor.ts";
import { cacheBytes, pagesFor } from "./kv_cache.ts";

/** Sizes that a program was compiled for, and how its sequences are scheduled. */
export interface StepLimits {
  /** Tokens of one step. */
  readonly maxTokens: number;
  /** Rows of one step with logits. */
  readonly maxRows: number;
  /** Sequences that run at a time. */
  readonly maxSequences: number;
  /** Why there are fewer than the default number of them. */
  readonly sequencesReason?: string;
  /** Tokens of one sequence, prompt and answer together. */
  readonly maxSequenceTokens: number;
  /** Pages of each cache, and tokens of a page. */
  readonly pages: number;
  /** Tokens of a page. */
  readonly pageSize: number;
  /** Why there are so many pages. */
  readonly pagesReason?: string;
  /** True for a graph without caches: every step computes one sequence from its beginning. */
  readonly recompute?: boolean;
  /** Most new sequences that may wait; further ones are refused. Default any number. */
  readonly maxWaiting?: number;
  /** Sequences share the pages of equal beginnings; default true. */
  readonly reusePrefixes?: boolean;
}

/** Tokens of the longest sequence that has pages. */
export function longestSequence({ maxSequenceTokens, pages, pageSize }: StepLimits): number {
  return Math.min(maxSequenceTokens, pages * pageSize);
}

/** What a deployment asks for. */
export interface SizeSettings {
  /** Tokens of the longest sequence. */
  readonly maxSeqLen: number;
  /** Sequences at a time. */
  readonly maxBatchSize: number;
  /** Tokens of one step. */
  readonly maxNumTokens: number;
}

/** Bytes that the logits of one step may take: bounds rows, and with them memory and copies. */
const MOST_LOGITS_BYTES = 64 * 2 ** 20;

/**
 * Sequences of full length that always have pages, and bytes of caches up to which more do. Others
 * share what there is: few sequences are ever as long as they may be.
 */
const FULL_SEQUENCES = 8;
const ENOUGH_CACHE_BYTES = 2 ** 30;

/** Tokens of a page when the graph has no caches. */
const DEFAULT_PAGE_SIZE = 16;

/**
 * Limits of steps for a graph. Pages suffice for `maxBatchSize` sequences of `maxSeqLen` tokens where
 * that takes up to 1 GiB; otherwise for 8 such sequences, or as many as the device can bind. More
 * sequences can still run at a time, because pages are taken as sequences grow.
 *
 * @throws {DeviceError} when the device cannot hold one sequence.
 * @throws {ConfigError} for more sequences than a step can have logits of.
 */
export function stepLimits(
  graph: Graph,
  settings: SizeSettings,
  profile?: Pick<DeviceProfile, "maxBindingBytes" | "maxBufferBytes">,
): StepLimits {
  for (const [name, value] of Object.entries(settings)) {
    if (Number.isInteger(value) && value > 0) continue;
    throw new ConfigError(
      "config/step-size",
      `Cannot plan steps: expected ${name} as a whole number above 0, got ${value}`,
    );
  }
  const { maxSeqLen, maxBatchSize, maxNumTokens } = settings;
  checkBatch(graph, maxBatchSize, profile);
  const pageSize = graph.caches[0]?.pageSize ?? DEFAULT_PAGE_SIZE;
  const recompute = graph.caches.length === 0;
  const rows = mostRows(graph, profile);
  const gathers = graph.inputs.some(({ name }) => name === "logits_rows");
  const wanted = Math.max(recompute ? maxSeqLen : maxNumTokens, maxBatchSize);
  // Without gathered rows every token of a step has logits.
  const maxTokens = gathers ? wanted : Math.max(maxBatchSize, Math.min(wanted, rows));
  return {
    maxTokens,
    maxRows: Math.min(maxTokens, Math.max(maxBatchSize, rows)),
    maxSequences: maxBatchSize,
    maxSequenceTokens: recompute ? Math.min(maxSeqLen, maxTokens) : maxSeqLen,
    ...pagesOf(graph.caches, maxBatchSize, pagesFor(maxSeqLen, pageSize), profile),
    pageSize,
    recompute,
  };
}

/** The sizes of {@linkcode StepLimits} as `executor.compile` takes them. */
export function compileSizes(
  limits: StepLimits,
): Pick<
  CompileOptions,
  "maxTokens" | "maxRows" | "maxSequences" | "pages" | "maxPagesPerSequence"
> {
  const { maxTokens, maxRows, maxSequences, pages, pageSize, maxSequenceTokens } = limits;
  const maxPagesPerSequence = Math.min(pages, pagesFor(maxSequenceTokens, pageSize));
  return { maxTokens, maxRows, maxSequences, pages, maxPagesPerSequence };
}

/** Every sequence of a step has a row of logits, and a device binds all rows at once. */
function checkBatch(
  graph: Graph,
  maxBatchSize: number,
  profile?: Pick<DeviceProfile, "maxBindingBytes">,
): void {
  const most = Math.floor((profile?.maxBindingBytes ?? Infinity) / logitsBytes(graph));
  if (maxBatchSize <= most) return;
  throw new ConfigError(
    "config/step-size",
    `Cannot plan steps: expected max_batch_size of at most ${most} on this device, got ${maxBatchSize}`,
    { hint: `Lower max_batch_size to ${most} or less`, details: { maxBatchSize, most } },
  );
}

function mostRows(graph: Graph, profile?: Pick<DeviceProfile, "maxBindingBytes">): number {
  const most = Math.min(MOST_LOGITS_BYTES, profile?.maxBindingBytes ?? Infinity);
  return Math.max(1, Math.floor(most / logitsBytes(graph)));
}

/** Bytes of the logits of one token; 0 for a graph without. */
function logitsBytes(graph: Graph): number {
  const logits = graph.outputs.get("logits");
  return logits ? Number(logits.shape[logits.shape.length - 1]) * DTYPE_BYTES[logits.dtype] : 0;
}

function pagesOf(
  caches: readonly CacheSpec[],
  sequences: number,
  pagesEach: number,
  profile?: Pick<DeviceProfile, "maxBindingBytes" | "maxBufferBytes">,
): Pick<StepLimits, "pages" | "pagesReason"> {
  const pageBytes = caches.reduce(
    (sum, cache) => sum + cacheBytes(cache, 1, "keys") + cacheBytes(cache, 1, "values"),
    0,
  );
  const enough = pageBytes === 0 ? Infinity : Math.floor(ENOUGH_CACHE_BYTES / pageBytes);
  const full = Math.min(sequences, FULL_SEQUENCES) * pagesEach;
  const pages = Math.min(sequences * pagesEach, Math.max(full, enough));
  const pagesReason = pages === sequences * pagesEach
    ? `${sequences} sequences of full length`
    : pages === full
    ? `${FULL_SEQUENCES} sequences of full length, which ${sequences} shorter ones may share`
    : "1 GiB of caches, which sequences share";
  if (caches.length === 0) return { pages };
  if (!profile) return { pages, pagesReason };
  const limit = Math.min(profile.maxBindingBytes, profile.maxBufferBytes);
  const largestPart = (cache: CacheSpec) =>
    Math.max(cacheBytes(cache, 1, "keys"), cacheBytes(cache, 1, "values"));
  const largest = caches.reduce((a, b) => (largestPart(a) >= largestPart(b) ? a : b));
  const most = Math.floor(limit / largestPart(largest));
  if (most < pagesEach) {
    throw new DeviceError(
      "device/cache-too-large",
      `Cannot hold a sequence in cache "${largest.name}": expected at most ${limit} bytes, got ${
        largestPart(largest) * pagesEach
      }`,
      {
        hint: `Lower max_seq_len to ${
          most * largest.pageSize
        } or less, or the cache's dtype to f16`,
        details: { cache: largest.name, limit, pages: pagesEach },
      },
    );
  }
  return most < pages
    ? { pages: most, pagesReason: "what the device can bind" }
    : { pages, pagesReason };
}
