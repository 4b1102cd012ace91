import assert from "node:assert/strict";
import { BlockTables, cacheBytes, pagesFor } from "../../../runtime/scheduling/kv_cache.ts";

Deno.test("BlockTables keeps rows in place and pads with page 0", () => {
  const tables = new BlockTables(3);
  const slots = [[4, 2], [7], [1, 3, 5]].map((pages) => tables.add(pages));
  assert.deepEqual(slots, [0, 1, 2]);
  assert.equal(tables.add([9]), undefined);
  assert.deepEqual(tables.upTo(3), {
    data: Int32Array.of(4, 2, 0, 7, 0, 0, 1, 3, 5),
    sequences: 3,
    pages: 3,
  });
  tables.remove(0);
  assert.deepEqual([...tables.upTo(3).data], [0, 0, 0, 7, 0, 0, 1, 3, 5]);
  tables.remove(2);
  assert.deepEqual(tables.upTo(1), { data: Int32Array.of(0, 7), sequences: 2, pages: 1 });
  assert.equal(tables.add([8]), 0);
});

Deno.test("BlockTables gives the same table until something changes", () => {
  const tables = new BlockTables(2);
  tables.add([1]);
  const table = tables.upTo(1);
  assert.equal(tables.upTo(1), table);
  assert.notEqual(tables.upTo(2), table);
  tables.add([2]);
  assert.notEqual(tables.upTo(1), table);
});

Deno.test("pagesFor() and cacheBytes() count whole pages", () => {
  assert.deepEqual([0, 1, 16, 17].map((tokens) => pagesFor(tokens, 16)), [0, 1, 1, 2]);
  const cache = { name: "kv", kvHeads: 2, headDim: 8, dtype: "f16", pageSize: 16 } as const;
  assert.equal(cacheBytes(cache, 3, "keys"), 3 * 2 * 16 * 8 * 2);
});
