import assert from "node:assert/strict";
import fc from "../../../../deps/fast_check.ts";
import {
  type Lifetime,
  planBuffers,
  poolIndices,
  poolSizes,
} from "../../../../runtime/webgpu/plan/buffer_plan.ts";

const lifetimes = fc.array(
  fc.record({
    first: fc.integer({ min: -1, max: 30 }),
    length: fc.integer({ min: 0, max: 12 }),
    bytes: fc.integer({ min: 1, max: 5 }).map((power) => 16 * 4 ** power),
  }),
  { minLength: 1, maxLength: 60 },
).map((all) =>
  all.map(({ first, length, bytes }, i): Lifetime => ({
    key: `v${i}`,
    bytes,
    first,
    last: first + length,
  }))
);

const overlap = (a: Lifetime, b: Lifetime) => a.first <= b.last && b.first <= a.last;

Deno.test("planBuffers() never gives two live values one buffer, and every value room", () => {
  fc.assert(fc.property(lifetimes, (values) => {
    const { sizes, bufferOf } = planBuffers(values);
    for (const [i, a] of values.entries()) {
      assert((sizes[bufferOf.get(a.key) ?? -1] ?? 0) >= a.bytes);
      for (const b of values.slice(i + 1)) {
        if (overlap(a, b)) assert.notEqual(bufferOf.get(a.key), bufferOf.get(b.key));
      }
    }
  }));
});

Deno.test("planBuffers() takes as many buffers as values are alive at once", () => {
  fc.assert(fc.property(lifetimes, (values) => {
    const alive = values.map(({ first }) =>
      values.filter((each) => each.first <= first && first <= each.last).length
    );
    assert.equal(planBuffers(values).sizes.length, Math.max(...alive));
  }));
});

Deno.test("planBuffers() runs a chain of any length in two buffers", () => {
  const chain = Array.from({ length: 100 }, (_, i) => ({
    key: `h${i}`,
    bytes: 64,
    first: i,
    last: i + 1,
  }));
  assert.deepEqual(planBuffers(chain).sizes, [64, 64]);
});

Deno.test("poolSizes() holds every plan in places of its own", () => {
  fc.assert(fc.property(fc.array(lifetimes, { minLength: 1, maxLength: 4 }), (lists) => {
    const plans = lists.map(planBuffers);
    const pool = poolSizes(plans);
    for (const plan of plans) {
      const places = poolIndices(plan);
      assert.equal(new Set(places).size, plan.sizes.length);
      for (const [buffer, bytes] of plan.sizes.entries()) assert(pool[places[buffer]] >= bytes);
    }
    assert.equal(pool.length, Math.max(...plans.map((plan) => plan.sizes.length)));
  }));
});
