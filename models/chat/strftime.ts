/**
 * Python's `datetime.now().strftime(..)`, in English, as templates expect of `strftime_now`.
 *
 * @module
 */

const MONTHS =
  "January February March April May June July August September October November December"
    .split(" ");
const DAYS = "Sunday Monday Tuesday Wednesday Thursday Friday Saturday".split(" ");

/**
 * A date in the words of a format: %Y, %m, %d, .. (https://docs.python.org/3/library/datetime.html).
 * Codes that are not known stay as they are.
 *
 * @example
 * ```ts
 * import { strftime } from "./strftime.ts";
 * console.assert(strftime(new Date(2025, 0, 5), "%d %b %Y, %-d %B") === "05 Jan 2025, 5 January");
 * ```
 */
export function strftime(date: Date, format: string): string {
  return format.replaceAll(/%(-?)([A-Za-z%])/g, (whole, bare: string, code: string) => {
    const text = part(date, code);
    if (text === undefined) return whole;
    return bare ? text.replace(/^0+(?=\d)/, "") : text;
  });
}

function part(date: Date, code: string): string | undefined {
  const two = (value: number) => String(value).padStart(2, "0");
  const hours = date.getHours();
  switch (code) {
    case "Y":
      return String(date.getFullYear()).padStart(4, "0");
    case "y":
      return two(date.getFullYear() % 100);
    case "m":
      return two(date.getMonth() + 1);
    case "B":
      return MONTHS[date.getMonth()];
    case "b":
      return MONTHS[date.getMonth()].slice(0, 3);
    case "d":
      return two(date.getDate());
    case "A":
      return DAYS[date.getDay()];
    case "a":
      return DAYS[date.getDay()].slice(0, 3);
    case "w":
      return String(date.getDay());
    case "H":
      return two(hours);
    case "I":
      return two(hours % 12 || 12);
    case "p":
      return hours < 12 ? "AM" : "PM";
    case "M":
      return two(date.getMinutes());
    case "S":
      return two(date.getSeconds());
    case "f":
      return String(date.getMilliseconds() * 1000).padStart(6, "0");
    case "j":
      return String(dayOfYear(date)).padStart(3, "0");
    case "z":
    case "Z":
      return ""; // datetime.now() has no time zone
    case "%":
      return "%";
  }
}

function dayOfYear(date: Date): number {
  const start = Date.UTC(date.getFullYear(), 0, 1);
  return (Date.UTC(date.getFullYear(), date.getMonth(), date.getDate()) - start) / 86_400_000 + 1;
}
