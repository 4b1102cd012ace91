/**
 * Tuned tables: JSON files that map numbers of tokens to measured sizes, named after what they were
 * measured for. This module knows how they are spelled, and which row serves a step; what a row
 * holds is the kernels' own.
 *
 * @module
 */

import type { z } from "../deps/zod.ts";
import { ConfigError, messageOf, type WeightFormat } from "../graph/mod.ts";
import type { LoweringContext, TunedText } from "./kernel.ts";

/** A row that was read, or what is wrong with it. */
export type RowResult<Row> =
  | { readonly success: true; readonly row: Row }
  | { readonly success: false; readonly error: z.ZodError };

/** A parsed file: rows by tokens, the best first. */
export type TunedTable<Row> = ReadonlyMap<number, readonly Row[]>;

/** What file names call a weight format; plain half precision has no name, as in vLLM's files. */
const FORMAT_NAMES: Readonly<Record<WeightFormat, string | undefined>> = {
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

/** A weight format in a file's name, or undefined where it is not named. */
export function formatName(format: WeightFormat): string | undefined {
  return FORMAT_NAMES[format];
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

/** Parsed tables; hosts give the same object for the same file, and a file is of one kernel. */
const PARSED = new WeakMap<TunedText, TunedTable<unknown>>();

/**
 * The table of a text that a host may give again and again, which is parsed once.
 *
 * @throws {ConfigError} as {@linkcode parseTable}.
 */
export function tableOf<Row>(
  text: TunedText,
  parse: (row: unknown) => RowResult<Row>,
): TunedTable<Row> {
  const table = PARSED.get(text) ?? parseTable(text, parse);
  PARSED.set(text, table);
  return table as TunedTable<Row>;
}

/**
 * Parses a file, each row by `parse`.
 *
 * @throws {ConfigError} `config/tuned-file`, which names path, key and reason.
 */
export function parseTable<Row>(
  { path, text }: TunedText,
  parse: (row: unknown) => RowResult<Row>,
): TunedTable<Row> {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw tunedError(path, "JSON", messageOf(error));
  }
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    throw tunedError(path, "an object from numbers of tokens to configurations", typeof json);
  }
  const rows = new Map<number, readonly Row[]>();
  for (const [key, value] of Object.entries(json)) {
    if (key === "triton_version") continue;
    if (!/^[1-9]\d*$/.test(key)) throw tunedError(path, "a number of tokens as key", `"${key}"`);
    const list = Array.isArray(value) ? value : [value];
    rows.set(Number(key), list.map((row) => rowOf(path, key, parse(row))));
  }
  if (rows.size === 0) throw tunedError(path, "at least one configuration", "none");
  return rows;
}

function rowOf<Row>(path: string, key: string, result: RowResult<Row>): Row {
  if (result.success) return result.row;
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

/** Where a kernel's sizes may have been measured. */
export interface SizesQuery<Row> {
  readonly file: string;
  readonly schema: z.ZodType<Row>;
  readonly tokens: number;
  /** Why the device cannot run a row, or undefined when it can. */
  readonly refuse: (row: Row) => string | undefined;
}

/** The row of a kernel's table for a step, and where it stands; undefined where nothing was measured. */
export function tunedSizes<Row>(
  { tuned, note }: Pick<LoweringContext, "tuned" | "note">,
  { file, schema, tokens, refuse }: SizesQuery<Row>,
): { readonly row: Row; readonly source: string } | undefined {
  const text = tuned?.read(file);
  if (!text) return undefined;
  const rows = tableOf(text, (row): RowResult<Row> => {
    const { success, data, error } = schema.safeParse(row);
    return success ? { success, row: data } : { success, error };
  });
  const key = nearestKey([...rows.keys()], tokens);
  for (const row of key === undefined ? [] : rows.get(key) ?? []) {
    const reason = refuse(row);
    if (reason === undefined) return { row, source: `row ${key} of ${text.path}` };
    note(`row ${key} of ${text.path} left out: ${reason}`, "notice");
  }
  return undefined;
}
