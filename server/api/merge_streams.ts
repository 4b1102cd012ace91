/**
 * Several streams as one.
 *
 * @module
 */

/** What a stream gave: its next value, its end or its error. */
interface Given<Value> {
  readonly stream: AsyncIterator<Value, void>;
  /** Rejected where the stream failed. */
  readonly result: Promise<IteratorResult<Value, void>>;
}

/**
 * The values of several streams in the order in which they come; the first error of any ends all. The
 * cost of a value does not depend on the number of streams.
 *
 * @example
 * ```ts
 * import { mergeStreams } from "./merge_streams.ts";
 * async function* count(to: number) {
 *   for (let i = 1; i <= to; i++) yield i;
 * }
 * const all = await Array.fromAsync(mergeStreams([count(2), count(3)]));
 * console.assert(String(all.sort()) === "1,1,2,2,3");
 * ```
 */
export async function* mergeStreams<Value>(
  streams: readonly AsyncIterator<Value, void>[],
): AsyncGenerator<Value, void> {
  const given: Given<Value>[] = [];
  let more = Promise.withResolvers<void>();
  const ask = (stream: AsyncIterator<Value, void>) => {
    const result = stream.next();
    const settled = () => {
      given.push({ stream, result });
      more.resolve();
    };
    result.then(settled, settled);
  };
  streams.forEach(ask);
  for (let open = streams.length; open > 0;) {
    await more.promise;
    more = Promise.withResolvers();
    for (const { stream, result } of given.splice(0)) {
      const { done, value } = await result;
      if (done) open--;
      else {
        ask(stream);
        yield value;
      }
    }
  }
}
