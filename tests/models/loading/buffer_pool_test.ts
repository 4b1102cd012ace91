import assert from "node:assert/strict";
import { BufferPool } from "../../../models/loading/buffer_pool.ts";

Deno.test("BufferPool gives buffers up to its limit, and the same ones again", () => {
  const pool = new BufferPool(100, 40);
  const [a, b] = [pool.take(40), pool.take(8)];
  assert(a && b);
  assert.deepEqual([a.byteLength, b.byteLength], [40, 40]);
  assert.equal(pool.take(1), undefined);
  pool.give(a);
  assert.equal(pool.take(30), a);
  assert.equal(pool.mostBytes, 80);
});

Deno.test("BufferPool frees spare buffers for a larger one, and that one when it comes back", () => {
  const pool = new BufferPool(100, 40);
  const [a, b] = [pool.take(40), pool.take(40)];
  assert(a && b);
  pool.give(a);
  assert.equal(pool.take(70), undefined, "40 of 100 bytes are in use");
  assert.equal(a.detached, true, "but what is spare is freed");
  pool.give(b);
  const large = pool.take(300);
  assert.equal(large?.byteLength, 300, "with nothing else in use the limit is passed");
  assert.equal(pool.take(1), undefined);
  assert(large);
  pool.give(large);
  assert.equal(large.detached, true);
  assert.equal(pool.take(1)?.byteLength, 40);
  assert.equal(pool.mostBytes, 300);
});
