/**
 * Tuned tables: measured configurations in JSON files that are named after what they were measured
 * for, in the manner of vLLM and TensorRT-LLM AutoDeploy. A file maps numbers of tokens to
 * configurations; a list has the best one first and others for backends that cannot run it.
 *
 * This module knows names, contents and the choice of a row. Reading is the host's.
 *
 * @module
 */

import { ConfigError, messageOf, type WeightFormat } from "../../graph/mod.ts";
import { z } from "zod";
import type { TunedText } from "../kernel.ts";
import {
  type GemmTile,
  type MoeAlgorithm,
  type MoeConfig,
  refuseConfig,
  type Staging,
  STAGINGS,
} from "./config.ts";
import type { MoeNote } from "./backend.ts";
import type { DeviceMoeSpec, MoeSpec } from "./spec.ts";

const positive = z.int().positive();

const GEMM_FIELDS = {
  BLOCK_SIZE_N: positive,
  BLOCK_SIZE_K: positive,
  GROUP_SIZE_M: positive,
  THREAD_M: positive.optional(),
  THREAD_N: positive.optional(),
  LANES: positive.optional(),
  STAGING: z.enum(STAGINGS).optional(),
};

/** vLLM's fields, our thread tile, and a tile of its own for the down projection. */
const gemmRow = z.strictObject({
  ALGORITHM: z.enum(["grouped", "permuted"]).default("grouped"),
  BLOCK_SIZE_M: positive,
  ...GEMM_FIELDS,
  DOWN: z.strictObject(GEMM_FIELDS).optional(),
  /** 32 invocations each; chooses the thread tile where none is given. */
  num_warps: positive.optional(),
  /** Triton's; read and ignored, as WGSL has no asynchronous copies. */
  num_stages: positive.optional(),
});

const slotRow = z.strictObject({
  ALGORITHM: z.literal("slots"),
  LANES: positive,
  UP: z.strictObject({ VALUES: positive, UNROLL: positive, GROUPS: positive }),
  DOWN: z.strictObject({ VALUES: positive, UNROLL: positive, GROUPS: positive }),
});

const expertRow = z.strictObject({
  ALGORITHM: z.literal("experts"),
  LANES: positive,
  COLUMNS: positive,
  UP: z.strictObject({ VALUES: positive }),
  DOWN: z.strictObject({ VALUES: positive, GROUPS: positive }),
});

const ROWS = { grouped: gemmRow, permuted: gemmRow, slots: slotRow, experts: expertRow };

/** One configuration as a file spells it. */
export type TunedRow = z.input<typeof gemmRow> | z.infer<typeof slotRow | typeof expertRow>;

/** The configuration that a file has for a layer. */
export interface TunedChoice {
  readonly config: MoeConfig;
  readonly path: string;
  /** Tokens that the row was measured with. */
  readonly key: number;
}

/** A parsed file: configurations by tokens, best first. */
type TunedFile = ReadonlyMap<number, readonly MoeConfig[]>;

/** What files call a weight format; plain half precision has no name, as in vLLM's files. */
const DTYPES: Readonly<Record<WeightFormat, string | undefined>> = {
  f32: "f32",
  f16: undefined,
  bf16: undefined,
  fp8_e4m3: "fp8_w8a16",
  fp8_block: "fp8_w8a16",
  mxfp4: "mxfp4_w4a16",
  nvfp4: "nvfp4_w4a16",
  int8: "int8_w8a16",
  int4: "int4_w4a16",
};

/**
 * Name of the file for a layer on a device:
 * `E=64,N=1024,device_name=NVIDIA_H100_80GB_HBM3[,dtype=fp8_w8a16][,block_shape=[128,128]][,operands=f16].json`.
 */
export function tunedFileName(
  spec: Pick<
    MoeSpec,
    "experts" | "intermediate" | "format" | "block" | "activationQuant" | "operands"
  >,
  deviceKey: string,
): string {
  const plain = DTYPES[spec.format];
  const dtype = spec.activationQuant === "none" ? plain : plain?.replace(/a16$/, "a8");
  const parts = [`E=${spec.experts}`, `N=${spec.intermediate}`, `device_name=${deviceKey}`];
  if (dtype) parts.push(`dtype=${dtype}`);
  if (spec.block) parts.push(`block_shape=[${spec.block.join(",")}]`);
  if (spec.operands !== "f32") parts.push(`operands=${spec.operands}`);
  return `${parts.join(",")}.json`;
}

/** Parsed tables; hosts give the same object for the same file. */
const PARSED = new WeakMap<TunedText, TunedFile>();

/**
 * The row of a layer's tuned table: the nearest within a factor of two of the largest step, ties to
 * the smaller, whose algorithm is one of those given. Tables that are malformed raise a
 * {@linkcode ConfigError} with their path; rows that the device cannot run are left out with a note.
 */
export function findTuned(
  spec: DeviceMoeSpec,
  algorithms: readonly MoeAlgorithm[],
  note: MoeNote,
): TunedChoice | undefined {
  const name = tunedFileName(spec, spec.profile.key);
  const found = spec.tuned?.read(name);
  if (!found) {
    note(`no tuned table ${name}, taking the heuristic; "deno task tune" measures one`, "notice");
    return undefined;
  }
  const rows = PARSED.get(found) ?? parseTunedFile(found);
  PARSED.set(found, rows);
  const key = nearestKey([...rows.keys()], spec.tokens.max);
  if (key === undefined) {
    note(`${found.path} has no row within a factor of two of ${spec.tokens.max} tokens`);
    return undefined;
  }
  for (const config of rows.get(key) ?? []) {
    if (!algorithms.includes(config.algorithm)) continue;
    const reason = refuseConfig(config, spec);
    if (reason === undefined) return { config, path: found.path, key };
    note(`row ${key} of ${found.path} left out: ${reason}`, "notice");
  }
  return undefined;
}

/** The key nearest to `tokens` in ratio, within a factor of two; ties to the smaller. */
export function nearestKey(keys: readonly number[], tokens: number): number | undefined {
  const distance = (key: number) => Math.max(key / tokens, tokens / key);
  let best: number | undefined;
  for (const key of keys.toSorted((a, b) => a - b)) {
    if (distance(key) <= 2 && (best === undefined || distance(key) < distance(best))) best = key;
  }
  return best;
}

/** Parses a tuned file; raises a {@linkcode ConfigError} that names path, key and reason. */
export function parseTunedFile({ path, text }: TunedText): TunedFile {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw tunedError(path, "JSON", messageOf(error));
  }
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    throw tunedError(path, "an object from numbers of tokens to configurations", typeof json);
  }
  const rows = new Map<number, readonly MoeConfig[]>();
  for (const [key, value] of Object.entries(json)) {
    if (key === "triton_version") continue;
    if (!/^[1-9]\d*$/.test(key)) throw tunedError(path, "a number of tokens as key", `"${key}"`);
    const list = Array.isArray(value) ? value : [value];
    rows.set(Number(key), list.map((row) => parseRow(path, key, row)));
  }
  if (rows.size === 0) throw tunedError(path, "at least one configuration", "none");
  return rows;
}

function parseRow(path: string, key: string, row: unknown): MoeConfig {
  const named = z.object({ ALGORITHM: z.enum(["grouped", "permuted", "slots", "experts"]) })
    .partial().safeParse(row);
  if (!named.success) throw rowError(path, key, named.error);
  const result = ROWS[named.data.ALGORITHM ?? "grouped"].safeParse(row);
  if (!result.success) throw rowError(path, key, result.error);
  const { data } = result;
  switch (data.ALGORITHM) {
    case "slots":
      return {
        algorithm: "slots",
        lanes: data.LANES,
        up: { values: data.UP.VALUES, unroll: data.UP.UNROLL, groups: data.UP.GROUPS },
        down: { values: data.DOWN.VALUES, unroll: data.DOWN.UNROLL, groups: data.DOWN.GROUPS },
      };
    case "experts":
      return {
        algorithm: "experts",
        lanes: data.LANES,
        columns: data.COLUMNS,
        up: { values: data.UP.VALUES },
        down: { values: data.DOWN.VALUES, groups: data.DOWN.GROUPS },
      };
    default: {
      const threads = 32 * (data.num_warps ?? 8);
      const blockM = data.BLOCK_SIZE_M;
      return {
        algorithm: data.ALGORITHM,
        blockM,
        up: gemmTile(blockM, data, threads),
        down: gemmTile(blockM, data.DOWN ?? data, threads),
      };
    }
  }
}

/** A configuration as files spell it: what {@linkcode parseTunedFile} reads back. */
export function tunedRow(config: MoeConfig): TunedRow {
  switch (config.algorithm) {
    case "slots": {
      const spell = (
        { values, unroll, groups }: { values: number; unroll: number; groups: number },
      ) => ({
        VALUES: values,
        UNROLL: unroll,
        GROUPS: groups,
      });
      return {
        ALGORITHM: "slots",
        LANES: config.lanes,
        UP: spell(config.up),
        DOWN: spell(config.down),
      };
    }
    case "experts":
      return {
        ALGORITHM: "experts",
        LANES: config.lanes,
        COLUMNS: config.columns,
        UP: { VALUES: config.up.values },
        DOWN: { VALUES: config.down.values, GROUPS: config.down.groups },
      };
    default:
      return {
        ALGORITHM: config.algorithm,
        BLOCK_SIZE_M: config.blockM,
        ...spellTile(config.up),
        DOWN: spellTile(config.down),
      };
  }
}

function spellTile({ blockN, blockK, groupM, threadM, threadN, lanes, staging }: GemmTile) {
  return {
    BLOCK_SIZE_N: blockN,
    BLOCK_SIZE_K: blockK,
    GROUP_SIZE_M: groupM,
    THREAD_M: threadM,
    THREAD_N: threadN,
    ...(lanes === 1 ? {} : { LANES: lanes }),
    ...(staging === "both" ? {} : { STAGING: staging }),
  };
}

interface TileFields {
  readonly BLOCK_SIZE_N: number;
  readonly BLOCK_SIZE_K: number;
  readonly GROUP_SIZE_M: number;
  readonly THREAD_M?: number | undefined;
  readonly THREAD_N?: number | undefined;
  readonly LANES?: number | undefined;
  readonly STAGING?: Staging | undefined;
}

/** A tile; sums of an invocation that are not given are as square as the threads allow. */
function gemmTile(blockM: number, fields: TileFields, threads: number): GemmTile {
  const { BLOCK_SIZE_N: blockN, BLOCK_SIZE_K: blockK, GROUP_SIZE_M: groupM } = fields;
  const sums = Math.max(1, blockM * blockN / threads);
  const threadM = fields.THREAD_M ??
    Math.min(blockM, 2 ** Math.floor(Math.log2(Math.sqrt(sums))));
  const threadN = fields.THREAD_N ?? Math.min(blockN, Math.max(2, Math.round(sums / threadM)));
  const { LANES: lanes = 1, STAGING: staging = "both" } = fields;
  return { blockN, blockK, groupM, threadM, threadN, lanes, staging };
}

function rowError(path: string, key: string, error: z.ZodError): ConfigError {
  const [issue] = error.issues;
  const place = [key, ...issue.path].join(".");
  return tunedError(path, `a configuration at "${place}"`, issue.message);
}

function tunedError(path: string, expected: string, got: string): ConfigError {
  return new ConfigError(
    "config/tuned-file",
    `Cannot read tuned table "${path}": expected ${expected}, got ${got}`,
    { hint: 'Delete the file, or make it again with "deno task tune"', details: { path } },
  );
}
