/**
 * Numbers and tables for people.
 *
 * @module
 */

export { formatBytes } from "../dsl/mod.ts";

/**
 * A duration in the unit that keeps three digits.
 *
 * @example
 * ```ts
 * import { formatDuration } from "./format.ts";
 * console.assert(formatDuration(0.41) === "0.41 ms" && formatDuration(83_000) === "1 min 23 s");
 * ```
 */
export function formatDuration(milliseconds: number): string {
  if (milliseconds < 1) return `${milliseconds.toFixed(2)} ms`;
  if (milliseconds < 999.5) return `${digits(milliseconds)} ms`;
  const seconds = milliseconds / 1000;
  if (seconds < 59.95) return `${digits(seconds)} s`;
  return `${Math.floor(Math.round(seconds) / 60)} min ${Math.round(seconds) % 60} s`;
}

/** A rate with about three digits, such as `1240` or `3.14`. */
export function formatRate(perSecond: number): string {
  return Number.isFinite(perSecond) ? digits(perSecond) : "-";
}

/**
 * A large number of things, such as parameters.
 *
 * @example
 * ```ts
 * import { formatCount } from "./format.ts";
 * console.assert(formatCount(30_532_122_624) === "30.5 B" && formatCount(96) === "96");
 * ```
 */
export function formatCount(amount: number): string {
  const units = ["", " k", " M", " B", " T"];
  let unit = 0;
  let rest = amount;
  while (rest >= 999.5 && unit < units.length - 1) {
    rest /= 1000;
    unit++;
  }
  return `${unit === 0 ? rest : rest.toFixed(rest < 99.95 ? 1 : 0)}${units[unit]}`;
}

/** `1 match`, `2 matches`. */
export function count(amount: number, one: string, many = `${one}s`): string {
  return `${amount} ${amount === 1 ? one : many}`;
}

/**
 * Rows with their columns aligned, numbers to the right; the first row may be a header.
 *
 * @example
 * ```ts
 * import { formatTable } from "./format.ts";
 * console.assert(formatTable([["a", "10"], ["bb", "9"]]) === "a   10\nbb   9");
 * ```
 */
export function formatTable(rows: readonly (readonly string[])[]): string {
  const columns = Math.max(0, ...rows.map((row) => row.length));
  const widths = Array.from(
    { length: columns },
    (_, column) => Math.max(...rows.map((row) => (row[column] ?? "").length)),
  );
  const isNumeric = widths.map((_, column) =>
    rows.slice(rows.length > 1 ? 1 : 0).every((row) => /^$|^[-\d.]/.test(row[column] ?? ""))
  );
  const line = (row: readonly string[]) =>
    row.map((cell, column) =>
      isNumeric[column] ? cell.padStart(widths[column]) : cell.padEnd(widths[column])
    ).join("  ").trimEnd();
  return rows.map(line).join("\n");
}

function digits(value: number): string {
  return value.toFixed(value < 9.995 ? 2 : value < 99.95 ? 1 : 0);
}
