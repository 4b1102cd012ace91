/**
 * How far a result is from the one that it should be.
 *
 * @module
 */

/** The largest difference as a share of the largest number of `expected`; Infinity where one is NaN. */
export function relativeDifference(got: ArrayLike<number>, expected: ArrayLike<number>): number {
  let [largest, worst] = [0, 0];
  // By index: results of thousands of tokens have ten million numbers.
  for (let i = 0; i < expected.length; i++) {
    const distance = Math.abs(got[i] - expected[i]);
    if (Number.isNaN(distance)) return Infinity;
    largest = Math.max(largest, Math.abs(expected[i]));
    worst = Math.max(worst, distance);
  }
  return worst === 0 ? 0 : worst / largest;
}
