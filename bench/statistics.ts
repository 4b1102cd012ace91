/**
 * Summaries of repeated measurements: median and spread.
 *
 * @module
 */

/** Repeated measurements in one line. */
export interface Summary {
  readonly n: number;
  readonly median: number;
  readonly lowest: number;
  readonly highest: number;
}

/** The summary of at least one number. */
export function summarize(numbers: readonly number[]): Summary {
  const sorted = numbers.toSorted((a, b) => a - b);
  const middle = sorted.length / 2;
  return {
    n: sorted.length,
    median: (sorted[Math.ceil(middle) - 1] + sorted[Math.floor(middle)]) / 2,
    lowest: sorted[0],
    highest: sorted[sorted.length - 1],
  };
}

/** `3.41 (2.9 .. 5.2, n = 5)` */
export function formatRatio({ median, lowest, highest, n }: Summary): string {
  return `${median.toFixed(2)} (${lowest.toFixed(2)} .. ${highest.toFixed(2)}, n = ${n})`;
}

/** A time with three figures and a unit that fits. */
export function formatSeconds(seconds: number): string {
  if (seconds >= 1) return `${seconds.toPrecision(3)} s`;
  if (seconds >= 1e-3) return `${(seconds * 1e3).toPrecision(3)} ms`;
  return `${(seconds * 1e6).toPrecision(3)} µs`;
}

/** A rate with three figures: `3.13 TB/s` for 3.13e12 and `B/s`. */
export function formatRate(perSecond: number, unit: string): string {
  const [size, prefix] = [[1e12, "T"], [1e9, "G"]].find(([size]) => perSecond >= Number(size)) ??
    [1e6, "M"];
  return `${(perSecond / Number(size)).toPrecision(3)} ${prefix}${unit}`;
}

/** Bytes with three figures: `13.8 GB`. */
export function formatBytes(bytes: number): string {
  const [size, unit] = [[1e12, "TB"], [1e9, "GB"], [1e6, "MB"]]
    .find(([size]) => bytes >= Number(size)) ?? [1e3, "kB"];
  return `${(bytes / Number(size)).toPrecision(3)} ${unit}`;
}

/** A number of things, whole from 100 on: `1,270`, `86.4`. */
export function formatRound(value: number): string {
  return value.toLocaleString("en", { maximumFractionDigits: value >= 100 ? 0 : 1 });
}
