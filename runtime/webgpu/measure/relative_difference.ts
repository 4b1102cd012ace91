/**
 * How far a result is from the one that it should be.
 *
 * @module
 */

/** The largest difference as a share of the largest number of `expected`; Infinity where one is NaN. */
export function relativeDifference(got: Float32Array, expected: Float32Array): number {
  let [largest, worst] = [0, 0];
  for (const [i, number] of expected.entries()) {
    largest = Math.max(largest, Math.abs(number));
    const distance = Math.abs(got[i] - number);
    worst = Number.isNaN(distance) ? Infinity : Math.max(worst, distance);
  }
  return worst / largest;
}
