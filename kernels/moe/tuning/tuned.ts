/**
 * Tuned tables: measured configurations in JSON files that are named after what they were measured
 * for, in the manner of vLLM and TensorRT-LLM AutoDeploy. A file maps numbers of tokens to
 * configurations; a list has the best one first and others for backends that cannot run it.
 *
 * This module knows names, contents and the choice of a row. Reading is the host's.
 *
 * @module
 */

import { ConfigError, messageOf, type WeightFormat } from "../../../graph/mod.ts";
import type { TunedText } from "../../kernel.ts";
import { type MoeAlgorithm, type MoeConfig, refuseConfig } from "../algorithms/config.ts";
import type { MoeNote } from "../backend.ts";
import type { DeviceMoeSpec, MoeSpec } from "../spec.ts";
import { prefersMatrices } from "./heuristic.ts";
import { parseTunedRow } from "./tuned_row.ts";

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
  int8_affine: "int8_affine_w8a16",
  int4_affine: "int4_affine_w4a16",
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
  const tables = tablesOf(spec);
  if (tables.length === 0) {
    const name = tunedFileName(spec, spec.profile.key);
    note(`no tuned table ${name}, taking the heuristic; "deno task tune" measures one`, "notice");
    return undefined;
  }
  for (const table of tables) {
    const { path } = table;
    const rows = PARSED.get(table) ?? parseTunedFile(table);
    PARSED.set(table, rows);
    const key = nearestKey([...rows.keys()], spec.tokens.max);
    if (key === undefined) {
      note(`${path} has no row within a factor of two of ${spec.tokens.max} tokens`);
      continue;
    }
    for (const config of rows.get(key) ?? []) {
      if (!algorithms.includes(config.algorithm)) continue;
      const reason = refuseConfig(config, spec);
      if (reason === undefined) return { config, path, key };
      note(`row ${key} of ${path} left out: ${reason}`, "notice");
    }
  }
  return undefined;
}

/**
 * The tables of a layer: its own, and for `auto` that of f32 where rows are too few for matrices, as
 * `auto` computes as f32 does there.
 */
function tablesOf(spec: DeviceMoeSpec): readonly TunedText[] {
  const { profile: { key }, tuned, operands } = spec;
  const own = tuned?.read(tunedFileName(spec, key));
  const full = operands === "auto" && !prefersMatrices(spec)
    ? tuned?.read(tunedFileName({ ...spec, operands: "f32" }, key))
    : undefined;
  return [own, full].filter((table) => table !== undefined);
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
  const result = parseTunedRow(row);
  if (result.success) return result.config;
  const [issue] = result.error.issues;
  const place = [key, ...issue.path].join(".");
  throw tunedError(path, `a configuration at "${place}"`, issue.message);
}

function tunedError(path: string, expected: string, got: string): ConfigError {
  return new ConfigError(
    "config/tuned-file",
    `Cannot read tuned table "${path}": expected ${expected}, got ${got}`,
    { hint: 'Delete the file, or make it again with "deno task tune"', details: { path } },
  );
}
