import assert from "node:assert/strict";
import { NO_PREFIX } from "../../../runtime/scheduling/page_pool.ts";
import { Places } from "../../../runtime/scheduling/places.ts";

function open(): Places {
  return new Places({
    ...{ maxTokens: 8, maxRows: 4, maxSequences: 3, maxSequenceTokens: 64, pages: 4, pageSize: 8 },
  });
}

Deno.test("take() gives all places or none, and forgets no page for none", () => {
  const places = open();
  const { pool } = places;
  const page = pool.take() ?? -1;
  pool.remember(page, NO_PREFIX, "1");
  pool.release([page]);
  assert.equal(places.take(2, 32), undefined);
  assert.equal(places.take(4, 8), undefined);
  assert.deepEqual([pool.free, pool.remembered], [4, 1]);
  const taken = places.take(2, 16) ?? [];
  assert.deepEqual(taken.map(({ slot, pages }) => [slot, pages.length]), [[0, 2], [1, 2]]);
  assert.equal(pool.free, 0);
  for (const place of taken) places.release(place);
  assert.equal(pool.free, 4);
});
