/**
 * Anything as a short text, for errors about it.
 *
 * @module
 */

/** Letters of a value that a message quotes. */
const MOST_LETTERS = 60;

/**
 * A value as a short text; never throws, whatever the value is.
 *
 * @example
 * ```ts
 * import { showValue } from "./show_value.ts";
 * console.assert(showValue(1n) === "1n" && showValue("a") === '"a"' && showValue(null) === "null");
 * ```
 */
export function showValue(value: unknown): string {
  const text = textOf(value);
  return text.length <= MOST_LETTERS ? text : `${text.slice(0, MOST_LETTERS)}…`;
}

function textOf(value: unknown): string {
  switch (typeof value) {
    case "string":
      return JSON.stringify(value.slice(0, MOST_LETTERS + 1));
    case "bigint":
      return `${value}n`;
    case "function":
      return "a function";
    case "object":
      return objectText(value);
    default:
      return String(value);
  }
}

function objectText(value: object | null): string {
  if (value === null) return "null";
  if (ArrayBuffer.isView(value)) return Object.prototype.toString.call(value).slice(8, -1);
  try {
    const text = JSON.stringify(value);
    if (
      text !== undefined && (text !== "{}" || Object.getPrototypeOf(value) === Object.prototype)
    ) {
      return text;
    }
  } catch {
    // Circles, and BigInts within.
  }
  return Object.prototype.toString.call(value).slice(1, -1);
}
