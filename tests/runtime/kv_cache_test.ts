import assert from "node:assert/strict";
import fc from "fast-check";
import { BlockTables, cacheBytes, PagePool } from "../../runtime/kv_cache.ts";

Deno.test("PagePool never gives a page to two holders, and gets every page back", () => {
  fc.assert(fc.property(
    fc.integer({ min: 1, max: 20 }),
    fc.array(fc.integer({ min: -5, max: 8 }), { maxLength: 40 }),
    (pages, steps) => {
      const pool = new PagePool(pages);
      const held: (readonly number[])[] = [];
      for (const step of steps) {
        if (step >= 0) {
          const free = pool.free;
          const taken = pool.take(step);
          assert.equal(taken === undefined, step > free);
          if (taken) held.push(taken);
        } else if (held.length > 0) {
          pool.release(held.splice(-step % held.length, 1)[0]);
        }
        const all = held.flat();
        assert.equal(new Set(all).size, all.length);
        assert.equal(pool.free, pages - all.length);
        assert(all.every((page) => page >= 0 && page < pages));
      }
    },
  ));
});

Deno.test("PagePool.release() refuses pages that nobody has", () => {
  const pool = new PagePool(2);
  const pages = pool.take(1) ?? [];
  pool.release(pages);
  assert.throws(() => pool.release(pages), /page 0 was released without being taken/);
});

Deno.test("BlockTables keeps rows in place and pads with page 0", () => {
  const tables = new BlockTables(3);
  assert.equal(tables.add([4, 5]), 0);
  assert.equal(tables.add([1, 2, 3]), 1);
  assert.deepEqual({ ...tables.table, data: [...tables.table.data] }, {
    data: [4, 5, 0, 1, 2, 3],
    sequences: 2,
    pages: 3,
  });
  tables.remove(0);
  assert.deepEqual([...tables.table.data], [0, 0, 0, 1, 2, 3]);
  assert.equal(tables.add([9]), 0);
  assert.equal(tables.add([8]), 2);
  assert.equal(tables.add([7]), undefined);
  assert.equal(tables.table, tables.table);
});

Deno.test("cacheBytes() counts keys of every head", () => {
  const cache = { name: "c", kvHeads: 2, headDim: 64, dtype: "f16", pageSize: 16 } as const;
  assert.equal(cacheBytes(cache, 10), 10 * 2 * 16 * 64 * 2);
});
