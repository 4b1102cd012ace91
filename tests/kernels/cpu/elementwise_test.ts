import assert from "node:assert/strict";
import fc from "../../../deps/fast_check.ts";
import { broadcastShapes, elementCount } from "../../../graph/mod.ts";
import { erfc, gelu, geluTanh, silu, swigluOai } from "../../../kernels/cpu/activation.ts";
import { evaluate, f32, i32, random, rounded } from "../../support/host_tensors.ts";

function close(got: ArrayLike<number>, expected: ArrayLike<number>, tolerance = 1e-6): void {
  assert.equal(got.length, expected.length);
  for (let i = 0; i < got.length; i++) {
    if (Object.is(Math.fround(expected[i]), got[i]) || expected[i] === got[i]) continue;
    const difference = Math.abs(got[i] - expected[i]);
    const allowed = tolerance * Math.max(1, Math.abs(expected[i]));
    assert.ok(difference <= allowed, `element ${i}: ${got[i]} instead of ${expected[i]}`);
  }
}

Deno.test("erfc() agrees with tables to twelve digits", () => {
  const table = [
    [0, 1],
    [0.5, 0.4795001221869535],
    [1, 0.15729920705028513],
    [2, 0.004677734981047266],
    [2.999, 2.2230168599834058e-5],
    [3, 2.209049699858544e-5],
    [4, 1.541725790028002e-8],
    [6, 2.1519736712498913e-17],
    [-1, 1.8427007929497148],
    [30, 0],
    [-30, 2],
  ];
  for (const [x, value] of table) {
    assert.ok(Math.abs(erfc(x) - value) <= 1e-12 * Math.max(value, 1e-300), `erfc(${x})`);
  }
  assert.ok(Number.isNaN(erfc(NaN)));
});

Deno.test("activations match torch's float64 values", () => {
  close([gelu(1), gelu(-1), gelu(3)], [0.8413447460685429, -0.15865525393145707, 2.99595030590511]);
  close([geluTanh(1), geluTanh(-1)], [0.8411919906082768, -0.15880800939172324]);
  close([silu(1), silu(-2)], [0.7310585786300049, -0.23840584404423515]);
});

Deno.test("activations stay finite for extreme values", () => {
  for (const f of [gelu, geluTanh, silu]) {
    assert.equal(f(1e30), 1e30);
    assert.equal(Math.abs(f(-1e30)), 0);
    assert.equal(Math.abs(f(0)), 0);
  }
});

Deno.test("swigluOai() clamps the gate from above and the up part on both sides", () => {
  const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));
  close([swigluOai(100, 100, {})], [8 * 7 * sigmoid(1.702 * 7)]);
  close([swigluOai(-3, -100, {})], [-6 * -3 * sigmoid(1.702 * -3)]);
  close([swigluOai(1, 0.5, { alpha: 2, limit: 0.75 })], [1.5 * 0.75 * sigmoid(1.5)]);
});

Deno.test("binary ops broadcast by numpy's rule", async () => {
  const [sum] = await evaluate("add", {
    a: f32([2, 1, 3], [0, 1, 2, 3, 4, 5]),
    b: f32([2, 1], [10, 20]),
  }, {});
  assert.deepEqual([...sum], [10, 11, 12, 20, 21, 22, 13, 14, 15, 23, 24, 25]);
  const [difference] = await evaluate("sub", { a: f32([], [1]), b: f32([3], [1, 2, 3]) }, {});
  assert.deepEqual([...difference], [0, -1, -2]);
});

Deno.test("mul on any shapes that broadcast equals the elementwise product", async () => {
  const dims = fc.array(
    fc.record({ size: fc.integer({ min: 1, max: 4 }), a: fc.boolean(), b: fc.boolean() }),
    { maxLength: 4 },
  );
  await fc.assert(
    fc.asyncProperty(dims, fc.nat(3), async (all, dropped) => {
      const shapeA = all.map(({ size, a }) => (a ? size : 1));
      const shapeB = all.map(({ size, b }) => (b ? size : 1)).slice(dropped);
      const shape = (broadcastShapes(shapeA, shapeB) ?? []).map(Number);
      const [a, b] = [random(shapeA, 1), random(shapeB, 2)];
      const [got] = await evaluate("mul", { a, b }, {});
      const expected = Array.from({ length: elementCount(shape) }, (_, flat) => {
        const index = indexOf(flat, shape);
        return Math.fround(elementAt(a, index) * elementAt(b, index));
      });
      assert.deepEqual([...got], expected);
    }),
    { numRuns: 60 },
  );
});

function indexOf(flat: number, shape: readonly number[]): number[] {
  const index: number[] = [];
  for (const size of shape.toReversed()) {
    index.unshift(flat % size);
    flat = Math.floor(flat / size);
  }
  return index;
}

function elementAt(tensor: ReturnType<typeof random>, index: readonly number[]): number {
  const own = index.slice(index.length - tensor.shape.length);
  const flat = tensor.shape.reduce((at, size, i) => at * size + (size === 1 ? 0 : own[i]), 0);
  return Number(tensor.data[flat]);
}

Deno.test("unary ops give the values of their formulas", async () => {
  const x = f32([5], [-2, -0.5, 0.25, 1, 4]);
  const formulas = {
    neg: (v: number) => -v,
    cos: Math.cos,
    sin: Math.sin,
    relu: (v: number) => Math.max(v, 0),
    sigmoid: (v: number) => 1 / (1 + Math.exp(-v)),
    silu,
    gelu,
    gelu_tanh: geluTanh,
    softplus: (v: number) => Math.log(1 + Math.exp(v)),
  };
  for (const [op, f] of Object.entries(formulas)) {
    const [got] = await evaluate(op as keyof typeof formulas, { x }, {});
    close(got, [-2, -0.5, 0.25, 1, 4].map(f));
  }
  const [roots] = await evaluate("rsqrt", { x: f32([2], [4, 0.25]) }, {});
  assert.deepEqual([...roots], [0.5, 2]);
  const [squares] = await evaluate("pow", { x }, { exponent: 2 });
  assert.deepEqual([...squares], [4, 0.25, 0.0625, 1, 16]);
  const [clamped] = await evaluate("clamp", { x }, { min: -1, max: 0.5 });
  assert.deepEqual([...clamped], [-1, -0.5, 0.25, 0.5, 0.5]);
  const [below] = await evaluate("clamp", { x }, { max: 0 });
  assert.deepEqual([...below], [-2, -0.5, 0, 0, 0]);
});

Deno.test("mean and sum fold one dimension, and are exact where f32 sums are not", async () => {
  const x = f32([2, 3], [1, 2, 3, 4, 5, 6]);
  assert.deepEqual([...(await evaluate("mean", { x }, { dim: -1, keepdim: true }))[0]], [2, 5]);
  assert.deepEqual([...(await evaluate("sum", { x }, { dim: 0, keepdim: false }))[0]], [5, 7, 9]);
  const ones = f32([1, 4097], 1);
  (ones.data as Float32Array)[0] = 2 ** 24;
  const [sum] = await evaluate("sum", { x: ones }, { dim: 1, keepdim: false });
  assert.equal(sum[0], 2 ** 24 + 4096);
});

Deno.test("softmax is shifted by the maximum, masks with -inf and works along any dimension", async () => {
  const [row] = await evaluate("softmax", { x: f32([1, 4], [1e4, 1e4 + 1, -1e30, -Infinity]) }, {
    dim: -1,
  });
  const e = Math.exp(-1);
  close(row, [e / (1 + e), 1 / (1 + e), 0, 0]);
  const [column] = await evaluate("softmax", { x: f32([2, 2], [0, 5, 0, 5]) }, { dim: 0 });
  close(column, [0.5, 0.5, 0.5, 0.5]);
});

Deno.test("softmax of infinite-free rows sums to one", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.float({ noNaN: true, noDefaultInfinity: true, min: -500, max: 500 }), {
        minLength: 1,
        maxLength: 40,
      }),
      async (values) => {
        const [got] = await evaluate("softmax", { x: f32([values.length], values) }, { dim: 0 });
        assert.ok(Math.abs([...got].reduce((a, b) => a + b, 0) - 1) < 1e-5);
      },
    ),
    { numRuns: 50 },
  );
});

Deno.test("cast rounds to nearest even and back without loss", async () => {
  const values = [1, 1 + 2 ** -8, 1 + 3 * 2 ** -8, -65504, 0.1];
  for (const dtype of ["f16", "bf16"] as const) {
    const narrow = rounded(dtype, f32([5], values));
    const [got] = await evaluate("cast", { x: narrow }, { dtype: "f32" });
    close(got, values, dtype === "f16" ? 2 ** -11 : 2 ** -8);
  }
  const [bf16] = await evaluate("cast", { x: rounded("bf16", f32([3], values.slice(0, 3))) }, {
    dtype: "f32",
  });
  assert.deepEqual([...bf16], [1, 1, 1 + 2 ** -6]);
  const [numbers] = await evaluate("cast", { x: i32([3], [-1, 0, 7]) }, { dtype: "f32" });
  assert.deepEqual([...numbers], [-1, 0, 7]);
  const [whole] = await evaluate("cast", { x: f32([2], [2.9, -2.9]) }, { dtype: "i32" });
  assert.deepEqual([...whole], [2, -2]);
});
