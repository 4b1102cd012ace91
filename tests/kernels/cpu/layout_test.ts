import assert from "node:assert/strict";
import fc from "../../../deps/fast_check.ts";
import { elementCount, MixlineError } from "../../../graph/mod.ts";
import { evaluate, f32, i32, random } from "../../support/host_tensors.ts";

const COUNT = f32([2, 3], [0, 1, 2, 3, 4, 5]);

Deno.test("transpose exchanges any two dimensions", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 2, maxLength: 4 }),
      fc.nat(),
      fc.nat(),
      async (shape, p, q) => {
        const [a, b] = [p % shape.length, q % shape.length];
        const x = random(shape, 3);
        const [once] = await evaluate("transpose", { x }, { dims: [a, b] });
        const turned = shape.with(a, shape[b]).with(b, shape[a]);
        const [twice] = await evaluate("transpose", { x: f32(turned, once) }, {
          dims: [b - shape.length, a - shape.length],
        });
        assert.deepEqual([...twice], [...x.data].map(Number));
        const stride = (size: readonly number[], at: number) => elementCount(size.slice(at + 1));
        const last = (dim: number) => shape[dim] - 1;
        // The end of dimension a lands at the end of dimension b.
        assert.equal(once[last(a) * stride(turned, b)], x.data[last(a) * stride(shape, a)]);
      },
    ),
    { numRuns: 60 },
  );
});

Deno.test("reshape and unsqueeze keep the elements", async () => {
  assert.deepEqual([...(await evaluate("reshape", { x: COUNT }, { shape: [3, 2] }))[0]], [
    0,
    1,
    2,
    3,
    4,
    5,
  ]);
  assert.deepEqual([...(await evaluate("unsqueeze", { x: COUNT }, { dim: -1 }))[0]], [
    0,
    1,
    2,
    3,
    4,
    5,
  ]);
});

Deno.test("expand repeats dimensions of size 1, also new ones", async () => {
  const [got] = await evaluate("expand", { x: f32([2, 1], [1, 2]) }, { shape: [2, 2, 3] });
  assert.deepEqual([...got], [1, 1, 1, 2, 2, 2, 1, 1, 1, 2, 2, 2]);
});

Deno.test("slice takes ranges with steps along any dimension", async () => {
  assert.deepEqual([...(await evaluate("slice", { x: COUNT }, { dim: 1, start: 1 }))[0]], [
    1,
    2,
    4,
    5,
  ]);
  assert.deepEqual([
    ...(await evaluate("slice", { x: COUNT }, { dim: -1, start: 0, end: 3, step: 2 }))[0],
  ], [0, 2, 3, 5]);
  assert.deepEqual([...(await evaluate("slice", { x: COUNT }, { dim: 0, start: 1, end: 99 }))[0]], [
    3,
    4,
    5,
  ]);
});

Deno.test("concat undoes slices", async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 2, max: 6 }), fc.nat(), fc.nat(2), async (size, at, dim) => {
      const shape = [3, 2, 4].with(dim, size);
      const x = random(shape, 5);
      const cut = 1 + at % (size - 1);
      const parts = await Promise.all([[0, cut], [cut, size]].map(async ([start, end]) => {
        const [part] = await evaluate("slice", { x }, { dim, start, end });
        return f32(shape.with(dim, end - start), part);
      }));
      const [got] = await evaluate("concat", { xs: parts }, { dim });
      assert.deepEqual([...got], [...x.data].map(Number));
    }),
    { numRuns: 40 },
  );
});

Deno.test("select drops a dimension", async () => {
  assert.deepEqual([...(await evaluate("select", { x: COUNT }, { dim: 1, index: 2 }))[0]], [2, 5]);
  assert.deepEqual([...(await evaluate("select", { x: COUNT }, { dim: 0, index: -1 }))[0]], [
    3,
    4,
    5,
  ]);
});

Deno.test("index picks rows, or elements by rows and columns", async () => {
  const rows = i32([3], [1, 0, 1]);
  assert.deepEqual([...(await evaluate("index", { x: COUNT, rows }, {}))[0]], [
    3,
    4,
    5,
    0,
    1,
    2,
    3,
    4,
    5,
  ]);
  const columns = i32([3], [2, 0, 0]);
  assert.deepEqual([...(await evaluate("index", { x: COUNT, rows, columns }, {}))[0]], [5, 0, 3]);
});

Deno.test("index refuses a row that is not there", async () => {
  await assert.rejects(evaluate("index", { x: COUNT, rows: i32([1], [2]) }, {}), (error) => {
    assert.ok(error instanceof MixlineError);
    assert.equal(error.code, "kernel/index");
    assert.match(error.message, /expected an index from 0 to 1, got 2/);
    assert.match(error.trail[0], /\(index\) in "test"/);
    return true;
  });
});

Deno.test("index_add adds repeated rows in order and leaves its input alone", async () => {
  const x = f32([2, 2], 1);
  const source = f32([3, 2], [1, 2, 10, 20, 100, 200]);
  const [got] = await evaluate("index_add", { x, rows: i32([3], [1, 0, 1]), source }, {});
  assert.deepEqual([...got], [11, 21, 102, 203]);
  assert.deepEqual([...x.data], [1, 1, 1, 1]);
});

Deno.test("ops on no rows give no rows", async () => {
  const none = i32([0], []);
  assert.equal((await evaluate("index", { x: COUNT, rows: none }, {}))[0].length, 0);
  const [kept] = await evaluate("index_add", { x: COUNT, rows: none, source: f32([0, 3], []) }, {});
  assert.deepEqual([...kept], [0, 1, 2, 3, 4, 5]);
  assert.equal((await evaluate("linear", { x: f32([0, 3], []), w: COUNT }, {}))[0].length, 0);
  assert.equal((await evaluate("silu", { x: f32([0, 3], []) }, {}))[0].length, 0);
  assert.equal(
    (await evaluate("mul", { a: f32([0, 3], []), b: f32([0, 1], []) }, {}))[0].length,
    0,
  );
});

Deno.test("one_hot ignores ids outside, and where finds the ones row by row", async () => {
  const [hot] = await evaluate("one_hot", { ids: i32([4], [2, -1, 0, 3]) }, { classes: 3 });
  assert.deepEqual([...hot], [0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0]);
  const [rows, columns] = await evaluate("where", { mask: i32([4, 3], hot) }, { symbol: "n" });
  assert.deepEqual([[...rows], [...columns]], [[0, 2], [2, 0]]);
  const [none] = await evaluate("where", { mask: i32([2, 2], [0, 0, 0, 0]) }, { symbol: "n" });
  assert.equal(none.length, 0);
});

Deno.test("topk sorts descending and gives ties to the smaller index", async () => {
  const x = f32([2, 5], [3, 1, 3, 2, 3, -1, -2, -1, -5, -1]);
  const [values, indices] = await evaluate("topk", { x }, { k: 3 });
  assert.deepEqual([...values], [3, 3, 3, -1, -1, -1]);
  assert.deepEqual([...indices], [0, 2, 4, 0, 2, 4]);
});

Deno.test("topk equals a stable sort", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.integer({ min: -3, max: 3 }), { minLength: 1, maxLength: 20 }),
      fc.nat(),
      async (row, n) => {
        const k = 1 + n % row.length;
        const [, indices] = await evaluate("topk", { x: f32([1, row.length], row) }, { k });
        const expected = [...row.keys()].sort((a, b) => row[b] - row[a] || a - b).slice(0, k);
        assert.deepEqual([...indices], expected);
      },
    ),
    { numRuns: 60 },
  );
});

Deno.test("repeat_kv repeats each head for its group", async () => {
  const [got] = await evaluate("repeat_kv", { x: f32([2, 1, 2], [1, 2, 3, 4]) }, { repeats: 2 });
  assert.deepEqual([...got], [1, 2, 1, 2, 3, 4, 3, 4]);
});

Deno.test("gather_rows and zeros_like", async () => {
  assert.deepEqual([...(await evaluate("gather_rows", { x: COUNT, rows: i32([1], [1]) }, {}))[0]], [
    3,
    4,
    5,
  ]);
  assert.deepEqual([...(await evaluate("zeros_like", { x: COUNT }, {}))[0]], [0, 0, 0, 0, 0, 0]);
  const [whole] = await evaluate("zeros_like", { x: i32([2], [1, 2]) }, {});
  assert.ok(whole instanceof Int32Array);
});
