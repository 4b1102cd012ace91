import assert from "node:assert/strict";
import { mergeStreams } from "../../server/api/merge_streams.ts";
import { cpuTimer } from "../support/cpu_time.ts";

/** A stream whose values are given from outside. */
function source() {
  const { readable, writable } = new TransformStream<string, string>();
  const writer = writable.getWriter();
  return {
    stream: readable[Symbol.asyncIterator](),
    give: (text: string) => writer.write(text),
    end: () => writer.close(),
    fail: (error: Error) => void writer.abort(error).catch(() => {}),
  };
}

Deno.test("mergeStreams() gives values as they come, until every stream has ended", async () => {
  const [a, b] = [source(), source()];
  const merged = mergeStreams([a.stream, b.stream]);
  for (const [each, text] of [[b, "b1"], [b, "b2"], [a, "a1"]] as const) {
    void each.give(text);
    assert.deepEqual(await merged.next(), { done: false, value: text });
  }
  void b.end();
  void a.give("a2");
  assert.deepEqual(await merged.next(), { done: false, value: "a2" });
  void a.end();
  assert.deepEqual(await merged.next(), { done: true, value: undefined });
  assert.deepEqual(await Array.fromAsync(mergeStreams([])), []);
});

Deno.test("mergeStreams() ends with the first error, and leaves none unhandled", async () => {
  const [a, b, c] = [source(), source(), source()];
  const merged = mergeStreams([a.stream, b.stream, c.stream]);
  void a.give("a1");
  assert.equal((await merged.next()).value, "a1");
  b.fail(new Error("first"));
  await assert.rejects(merged.next(), /first/);
  c.fail(new Error("second"));
  assert.deepEqual(await merged.next(), { done: true, value: undefined });
});

Deno.test("mergeStreams() costs no more for streams that have nothing to give yet", async () => {
  async function* count(to: number) {
    for (let i = 0; i < to; i++) yield await Promise.resolve(i);
  }
  const time = async (idle: number) => {
    const waiting = Array.from({ length: idle }, () => source());
    const merged = mergeStreams<unknown>([count(20_000), ...waiting.map(({ stream }) => stream)]);
    const elapsed = cpuTimer();
    for (let i = 0; i < 20_000; i++) await merged.next();
    const milliseconds = elapsed();
    await merged.return();
    return milliseconds;
  };
  await time(1);
  const [one, many] = [await time(1), await time(1000)];
  assert.ok(many < 10 * one, `${many} ms with 1,000 streams, ${one} ms with one`);
});
