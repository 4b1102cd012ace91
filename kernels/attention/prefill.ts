/**
 * Attention of many tokens in tiles of queries, over whatever holds their keys and values: the paged
 * cache, or a part of a context that was made of latents.
 *
 * @module
 */

import type { Value } from "../../graph/mod.ts";
import { type Access, constants, fragments, joinAccess, reads, writes } from "../access/access.ts";
import { f32Literal, LOWEST, type ShaderConstants } from "../compose.ts";
import { composeDispatch } from "../dispatch.ts";
import type { DeviceProfile, Dispatch, Scratch, StepSizes } from "../kernel.ts";
import prefillBody from "./prefill.wgsl" with { type: "text" };
import tileRun from "./tile_run.wgsl" with { type: "text" };

/** What tiles of queries attend to. */
export interface TileProblem {
  readonly heads: number;
  readonly kvHeads: number;
  /** Elements of a query and key head, and of a value head. */
  readonly headDim: number;
  readonly valueDim: number;
  readonly scale: number;
  /**
   * Positions and sequences of the step; `cache_row`, `first_seen`, `in_long_run` and `span_of`; rows of
   * `keys` and `values`.
   */
  readonly source: Access;
  /** `shares_of` and `put_result`: what becomes of the sums of a query. */
  readonly results: Access;
  /** Queries `[T, heads · headDim]` after norm and RoPE. */
  readonly ready: Scratch;
  readonly y: Value;
  readonly profile: DeviceProfile;
  /** Whether a step has keys here. */
  runs(sizes: StepSizes): boolean;
}

/** Sizes of `attention_prefill`. */
const TILE_QUERIES = 64;
const TILE_KEYS = 32;
const INVOCATIONS = 128;
/** Results of 64 dimensions that an invocation's registers hold; wider heads take several workgroups. */
const MAX_SLICES = 4;
/** Workgroup memory that tiles of 32 dimensions take. */
const DEEP_TILE_BYTES = 23 << 10;

/** The widest values whose results a single workgroup has. */
export const WIDEST_VALUES = 64 * MAX_SLICES;

/** Constants of tiles, whatever their size. */
export function tileConstants(problem: TileProblem): ShaderConstants {
  const { heads, kvHeads, headDim, valueDim, scale } = problem;
  return {
    HEADS: heads,
    GROUP: heads / kvHeads,
    D: headDim,
    V: valueDim,
    SCALE: f32Literal(scale, "a scale of attention"),
    LOWEST,
    CHUNKS: headDim / 8,
    VALUE_CHUNKS: valueDim / 8,
  };
}

/** Where the shader writes: the tokens' results. */
export function tileResults({ y, results }: TileProblem): Access {
  return joinAccess(results, writes("y", "vec4<f32>", y));
}

/** Tiles of queries with operands in f32. */
export function prefillDispatch(problem: TileProblem): Dispatch {
  const { heads, headDim, valueDim, source, ready, profile } = problem;
  const all = Math.ceil(valueDim / 64);
  const parts = Math.ceil(all / MAX_SLICES);
  // A CPU takes seconds to compile what is written out for a GPU; small devices lack the memory.
  const depth = profile.software || profile.maxWorkgroupStorageBytes < DEEP_TILE_BYTES ? 8 : 32;
  return composeDispatch({
    kernel: "attention_prefill",
    accesses: [
      source,
      constants({
        ...tileConstants(problem),
        DEPTH: depth,
        LOADS_Q: Math.ceil((TILE_QUERIES * depth) / 8 / INVOCATIONS),
        LOADS_K: Math.ceil((TILE_KEYS * depth) / 8 / INVOCATIONS),
        DEPTHS: Math.ceil(headDim / depth),
        QUERIES: TILE_QUERIES,
        KEYS: TILE_KEYS,
        INVOCATIONS,
        SLICES: Math.ceil(all / parts),
      }),
      reads("ready", "vec4<f32>", ready),
      fragments(tileRun),
      tileResults(problem),
    ],
    body: prefillBody,
    workgroups: (sizes) =>
      problem.runs(sizes) ? [Math.ceil(sizes.T / TILE_QUERIES), heads, parts] : [0, 0, 0],
  });
}
