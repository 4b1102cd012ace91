/**
 * Tuned tables as files: the user's folder first, then the ones that come with Mixline.
 *
 * @module
 */

import { basename, join } from "node:path";
import { ConfigError, messageOf } from "../graph/mod.ts";
import { parseTable, parseTunedFile, type TunedFiles, type TunedText } from "../kernels/mod.ts";
import { bundledTable, tableSpelling } from "./bundled_tables.ts";
import { writeOutputFile } from "./output_file.ts";

/** Environment variable that names the user's folder of tuned tables. */
export const TUNED_DIR_VARIABLE = "MIXLINE_TUNED_DIR";

/** The user's folder of tuned tables; undefined when none is named. */
export function userTunedFolder(): string | undefined {
  const permission = Deno.permissions.querySync({ name: "env", variable: TUNED_DIR_VARIABLE });
  return permission.state === "granted" ? Deno.env.get(TUNED_DIR_VARIABLE) || undefined : undefined;
}

/**
 * Tables of folders, the first folder that has a file wins, and those that come with Mixline after them.
 * Every file is read once.
 */
export class TunedFolders implements TunedFiles {
  readonly #known = new Map<string, TunedText | undefined>();

  constructor(
    readonly folders: readonly string[] = [userTunedFolder()].filter((folder) =>
      folder !== undefined
    ),
  ) {}

  read(fileName: string): TunedText | undefined {
    if (!this.#known.has(fileName)) this.#known.set(fileName, this.#find(fileName));
    return this.#known.get(fileName);
  }

  #find(fileName: string): TunedText | undefined {
    for (const folder of this.folders) {
      let path = join(folder, fileName);
      try {
        path = join(folder, nameIn(folder, fileName));
        return { path, text: Deno.readTextFileSync(path) };
      } catch (error) {
        if (error instanceof Deno.errors.NotFound) continue;
        throw new ConfigError(
          "config/tuned-file",
          `Cannot read tuned table "${path}": ${messageOf(error)}`,
          { hint: `Allow reading the folder, or unset ${TUNED_DIR_VARIABLE}`, details: { path } },
        );
      }
    }
    return bundledTable(fileName);
  }
}

/** The name of a table in a folder, the given one or else one that spells the GPU in another way. */
function nameIn(folder: string, fileName: string): string {
  const names = [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
  if (names.includes(fileName)) return fileName;
  const wanted = tableSpelling(fileName);
  return names.find((name) => tableSpelling(name) === wanted) ?? fileName;
}

/**
 * Adds the rows for one number of tokens to a table, as files spell them, the best first, and keeps the others.
 * The file is replaced in one step, so that it is never half written, even after an interruption.
 */
export function writeTunedRow(
  folder: string,
  fileName: string,
  tokens: number,
  found: readonly object[],
): string {
  const path = join(folder, fileName);
  const rows = { ...readRows(path), [tokens]: found };
  const ascending = Object.entries(rows).sort(([a], [b]) => Number(a) - Number(b));
  const lines = ascending.map(([key, row]) => `  ${JSON.stringify(key)}: ${JSON.stringify(row)}`);
  writeOutputFile(path, `{\n${lines.join(",\n")}\n}\n`);
  return path;
}

/** Numbers of tokens that a table has rows for; none when there is no table. */
export function tunedTokens(folder: string, fileName: string): readonly number[] {
  return Object.keys(readRows(join(folder, fileName))).map(Number);
}

/** Tables of experts begin with their number; the rows of others are read by their kernels alone. */
function checkTable(table: TunedText): void {
  if (basename(table.path).startsWith("E=")) parseTunedFile(table);
  else parseTable(table, (row) => ({ success: true, row }));
}

/** The rows of a table as they stand, after the check that every reader makes. */
function readRows(path: string): Record<string, unknown> {
  let text: string;
  try {
    text = Deno.readTextFileSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return {};
    throw error;
  }
  checkTable({ path, text });
  return JSON.parse(text);
}
