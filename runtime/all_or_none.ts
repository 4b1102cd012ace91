/**
 * Several things at once that are of use only together.
 *
 * @module
 */

/**
 * Runs all of them to their end. The first error stops the others through their signal and is thrown
 * when they have ended, so that none of them touches what the caller frees afterwards.
 *
 * @example
 * ```ts
 * import { allOrNone } from "./all_or_none.ts";
 * let stopped = false;
 * const wait = async (signal: AbortSignal) => {
 *   while (!signal.aborted) await new Promise((resolve) => setTimeout(resolve, 1));
 *   stopped = true;
 * };
 * const error = await allOrNone(undefined, [wait, () => Promise.reject("no")]).catch((e) => e);
 * console.assert(error === "no" && stopped);
 * ```
 */
export async function allOrNone(
  signal: AbortSignal | undefined,
  works: readonly ((signal: AbortSignal) => Promise<void>)[],
): Promise<void> {
  const stop = new AbortController();
  const both = signal ? AbortSignal.any([signal, stop.signal]) : stop.signal;
  let first: { readonly error: unknown } | undefined;
  await Promise.all(works.map(async (work) => {
    try {
      await work(both);
    } catch (error) {
      first ??= { error };
      stop.abort();
    }
  }));
  if (first) throw first.error;
}
