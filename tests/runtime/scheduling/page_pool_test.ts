import assert from "node:assert/strict";
import fc from "../../../deps/fast_check.ts";
import { NO_PREFIX, PagePool } from "../../../runtime/scheduling/page_pool.ts";

Deno.test("PagePool gives every page once, and gives it again when all users are gone", () => {
  const actions = fc.array(
    fc.record({
      take: fc.nat(4),
      remember: fc.boolean(),
      share: fc.boolean(),
      release: fc.nat(4),
    }),
    { maxLength: 60 },
  );
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 12 }), actions, (pages, list) => {
      const pool = new PagePool(pages);
      const held: number[][] = [];
      let name = 0;
      for (const { take, remember, share, release } of list) {
        const taken: number[] = [];
        for (let i = 0; i < take; i++) {
          const free = pool.free;
          const page = pool.take();
          assert.equal(page === undefined, free === 0);
          if (page === undefined) break;
          assert(!held.flat().includes(page) && !taken.includes(page), `page ${page} twice`);
          taken.push(page);
          if (remember) pool.remember(page, NO_PREFIX, String(name++));
        }
        held.push(taken);
        const known = share ? pool.find(NO_PREFIX, String(name - 1)) : undefined;
        if (known) {
          pool.share(known);
          held.push([known.page]);
        }
        const [back] = held.splice(release, 1);
        if (back) pool.release(back);
        assert.equal(pool.used, new Set(held.flat()).size);
        assert(pool.remembered <= pages);
      }
      for (const each of held) pool.release(each);
      assert.equal(pool.free, pages);
      const all = Array.from({ length: pages }, () => pool.take());
      assert.deepEqual(all.toSorted((a, b) => Number(a) - Number(b)), [...Array(pages).keys()]);
    }),
  );
});

Deno.test("PagePool tells pages apart by everything in front of them", () => {
  const pool = new PagePool(4);
  const [a, b, c] = [pool.take() ?? -1, pool.take() ?? -1, pool.take() ?? -1];
  const first = pool.remember(a, NO_PREFIX, "1,2");
  const other = pool.remember(b, NO_PREFIX, "3,4");
  pool.remember(c, first, "5,6");
  assert.equal(pool.find(first, "5,6")?.page, c);
  assert.equal(pool.find(other, "5,6"), undefined);
  assert.equal(pool.find(NO_PREFIX, "5,6"), undefined);
});

Deno.test("PagePool forgets the pages that were unused longest, ends before beginnings", () => {
  const pool = new PagePool(3);
  const pages = [pool.take() ?? -1, pool.take() ?? -1];
  const first = pool.remember(pages[0], NO_PREFIX, "1");
  pool.remember(pages[1], first, "2");
  pool.release(pages);
  const empty = pool.take();
  assert(!pages.includes(empty ?? -1), "an empty page is taken before a remembered one");
  assert.equal(pool.take(), pages[1]);
  assert.equal(pool.find(first, "2"), undefined);
  assert.equal(pool.find(NO_PREFIX, "1")?.page, pages[0]);
});

Deno.test("PagePool shares the page that was remembered first", () => {
  const pool = new PagePool(2);
  const [a, b] = [pool.take() ?? -1, pool.take() ?? -1];
  assert.equal(pool.remember(a, NO_PREFIX, "1"), pool.remember(b, NO_PREFIX, "1"));
  assert.equal(pool.find(NO_PREFIX, "1")?.page, a);
  pool.release([a]);
  pool.release([b]);
  assert.deepEqual([pool.free, pool.remembered], [2, 1]);
});

Deno.test("PagePool refuses pages that were not taken", () => {
  const pool = new PagePool(2);
  const page = pool.take() ?? -1;
  pool.release([page]);
  assert.throws(() => pool.release([page]), /released without being taken/);
});
