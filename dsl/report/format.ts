/**
 * Numbers as people read them.
 *
 * @module
 */

/**
 * Bytes in decimal units, as disks and checkpoints are sold.
 *
 * @example
 * ```ts
 * import { formatBytes } from "./format.ts";
 * console.assert(formatBytes(14_891_120) === "14.9 MB" && formatBytes(512) === "512 B");
 * ```
 */
export function formatBytes(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  let amount = bytes;
  while (amount >= 999.5 && unit < units.length - 1) {
    amount /= 1000;
    unit++;
  }
  return `${unit === 0 ? amount : amount.toFixed(amount < 99.95 ? 1 : 0)} ${units[unit]}`;
}

/** The time of a dispatch in µs, or in ms from 1 ms on. */
export function formatDispatchTime(seconds: number): string {
  return seconds < 1e-3 ? `${(seconds * 1e6).toFixed(1)} µs` : `${(seconds * 1e3).toFixed(2)} ms`;
}

/** Part of a whole in percent. */
export function formatShare(part: number, whole: number): string {
  return whole > 0 ? `${(100 * part / whole).toFixed(1)} %` : "";
}

/** A number of things, by the word for one of them. */
export function formatCount(number: number, thing: string): string {
  const things = /(s|sh|ch|x)$/.test(thing) ? `${thing}es` : `${thing}s`;
  return `${number} ${number === 1 ? thing : things}`;
}
