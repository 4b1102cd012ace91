/**
 * Tuned tables: measured configurations in JSON files that are named after what they were measured
 * for, in the manner of vLLM and TensorRT-LLM AutoDeploy. A file maps numbers of tokens to
 * configurations; a list has the best one first and others for backends that cannot run it.
 *
 * This module knows names, contents and the choice of a row. Reading is the host's.
 *
 * @module
 */

import type { TunedText } from "../../kernel.ts";
import { formatName, nearestKey, parseTable, tableOf, type TunedTable } from "../../tuned_table.ts";
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

/**
 * Name of the file for a layer on a device:
 * `E=64,N=1024,device_name=NVIDIA_H100_80GB_HBM3[,dtype=fp8_w8a16][,block_shape=[128,128]][,operands=f16|auto].json`.
 */
export function tunedFileName(
  spec: Pick<
    MoeSpec,
    "experts" | "intermediate" | "format" | "block" | "activationQuant" | "operands"
  >,
  deviceKey: string,
): string {
  const plain = formatName(spec.format);
  const dtype = spec.activationQuant === "none" ? plain : plain?.replace(/a16$/, "a8");
  const parts = [`E=${spec.experts}`, `N=${spec.intermediate}`, `device_name=${deviceKey}`];
  if (dtype) parts.push(`dtype=${dtype}`);
  if (spec.block) parts.push(`block_shape=[${spec.block.join(",")}]`);
  if (spec.operands !== "f32") parts.push(`operands=${spec.operands}`);
  return `${parts.join(",")}.json`;
}

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
    const rows = tableOf(table, parseTunedRow);
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

/** Parses a tuned file; raises a {@linkcode ConfigError} that names path, key and reason. */
export function parseTunedFile(text: TunedText): TunedTable<MoeConfig> {
  return parseTable(text, parseTunedRow);
}
