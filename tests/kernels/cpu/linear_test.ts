import assert from "node:assert/strict";
import fc from "../../../deps/fast_check.ts";
import { MixlineError } from "../../../graph/mod.ts";
import { evaluate, f32, i32, numbersOf, random, rounded } from "../../support/host_tensors.ts";
import { relativeError, TOLERANCES } from "../../support/tolerances.ts";

const WEIGHT_TYPES = ["f32", "f16", "bf16"] as const;

/** x · wᵀ in plain loops. */
function product(x: ArrayLike<number>, w: ArrayLike<number>, k: number): number[] {
  const [m, n] = [x.length / k, w.length / k];
  return Array.from({ length: m * n }, (_, at) => {
    const [row, column] = [Math.floor(at / n), at % n];
    let sum = 0;
    for (let i = 0; i < k; i++) sum += x[row * k + i] * w[column * k + i];
    return sum;
  });
}

Deno.test("linear multiplies with weights of every plain type, of odd sizes, with and without bias", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 5 }),
      fc.integer({ min: 1, max: 9 }),
      fc.integer({ min: 1, max: 7 }),
      fc.constantFrom(...WEIGHT_TYPES),
      fc.boolean(),
      async (m, k, n, dtype, withBias) => {
        const [x, bias] = [random([m, k], 1), withBias ? random([n], 3) : undefined];
        const w = rounded(dtype, random([n, k], 2));
        const [asNumbers] = await evaluate("cast", { x: w }, { dtype: "f32" });
        const [got] = await evaluate("linear", { x, w, bias }, {});
        const expected = product(numbersOf(x), asNumbers, k)
          .map((value, i) => value + (bias ? numbersOf(bias)[i % n] : 0));
        assert.ok(relativeError(got, expected) < TOLERANCES.reordered);
      },
    ),
    { numRuns: 60 },
  );
});

Deno.test("linear keeps leading dimensions and sums exactly where f32 would not", async () => {
  const [got] = await evaluate(
    "linear",
    { x: f32([1, 1, 3], [1e8, 1, -1e8]), w: f32([1, 3], 1) },
    {},
  );
  assert.deepEqual([...got], [1]);
});

Deno.test("linear gives a token the same bits alone and among others", async () => {
  const [x, w] = [random([7, 33], 4), rounded("bf16", random([5, 33], 5))];
  const [together] = await evaluate("linear", { x, w }, {});
  for (let t = 0; t < 7; t++) {
    const row = f32([1, 33], numbersOf(x).subarray(t * 33, (t + 1) * 33));
    const [alone] = await evaluate("linear", { x: row, w }, {});
    assert.deepEqual([...alone], [...together.subarray(t * 5, (t + 1) * 5)]);
  }
});

Deno.test("fused_linear equals its parts", async () => {
  const [x, w, bias] = [random([3, 8], 1), rounded("f16", random([5, 8], 2)), random([5], 3)];
  const [norm, residual] = [random([8], 4), random([3, 5], 5)];
  const [normed] = await evaluate("rms_norm", { x, w: norm }, { eps: 1e-5 });
  const [plain] = await evaluate("linear", { x: f32([3, 8], normed), w, bias }, {});
  const [expected] = await evaluate("add", { a: f32([3, 5], plain), b: residual }, {});
  const inputs = { x, w, bias, norm_weight: norm, residual };
  const [got] = await evaluate("fused_linear", inputs, { normEps: 1e-5 });
  assert.ok(relativeError(got, expected) < TOLERANCES.reordered);
  const [bare] = await evaluate("fused_linear", { x, w }, {});
  assert.deepEqual(bare, (await evaluate("linear", { x, w }, {}))[0]);
});

Deno.test("rms_norm equals the eager formula and survives zeros and large values", async () => {
  const [x, w] = [random([4, 6], 1, 10), random([6], 2)];
  const [got] = await evaluate("rms_norm", { x, w }, { eps: 1e-6 });
  const expected = numbersOf(x).map((value, i) => {
    const row = numbersOf(x).subarray(i - i % 6, i - i % 6 + 6);
    const mean = row.reduce((sum, each) => sum + each * each, 0) / 6;
    return value / Math.sqrt(mean + 1e-6) * numbersOf(w)[i % 6];
  });
  assert.ok(relativeError(got, expected) < TOLERANCES.reordered);
  const [zero] = await evaluate("rms_norm", { x: f32([1, 6], 0), w }, { eps: 1e-6 });
  assert.deepEqual([...zero].map(Math.abs), [0, 0, 0, 0, 0, 0]);
  const [huge] = await evaluate("rms_norm", { x: f32([1, 6], 1e30), w: f32([6], 1) }, {
    eps: 1e-6,
  });
  assert.deepEqual([...huge], [1, 1, 1, 1, 1, 1]);
});

Deno.test("add_rms_norm gives the norm and the sum, and leaves its inputs alone", async () => {
  const [x, residual, w] = [random([2, 4], 1), random([2, 4], 2), random([4], 3)];
  const before = [...x.data];
  const [normed, sum] = await evaluate("add_rms_norm", { x, residual, w }, { eps: 1e-5 });
  const [expectedSum] = await evaluate("add", { a: x, b: residual }, {});
  const [expected] = await evaluate("rms_norm", { x: f32([2, 4], expectedSum), w }, { eps: 1e-5 });
  assert.deepEqual([sum, normed], [expectedSum, expected]);
  assert.deepEqual([...x.data], before);
});

Deno.test("matmul multiplies each batch", async () => {
  const [a, b] = [random([2, 3, 4], 1), random([2, 4, 5], 2)];
  const [got] = await evaluate("matmul", { a, b }, {});
  const [turned] = await evaluate("transpose", { x: b }, { dims: [1, 2] });
  const expected = [0, 1].flatMap((i) =>
    product(numbersOf(a).subarray(i * 12, (i + 1) * 12), turned.subarray(i * 20, (i + 1) * 20), 4)
  );
  assert.ok(relativeError(got, expected) < TOLERANCES.reordered);
});

Deno.test("gated_mlp equals its parts for each activation", async () => {
  const [x, residual] = [random([3, 4], 1), random([3, 4], 5)];
  const w = { w_gate: random([6, 4], 2), w_up: random([6, 4], 3), w_down: random([4, 6], 4) };
  for (const activation of ["silu", "gelu", "gelu_tanh"] as const) {
    const [gate] = await evaluate("linear", { x, w: w.w_gate }, {});
    const [activated] = await evaluate(activation, { x: f32([3, 6], gate) }, {});
    const [up] = await evaluate("linear", { x, w: w.w_up }, {});
    const [hidden] = await evaluate("mul", { a: f32([3, 6], activated), b: f32([3, 6], up) }, {});
    const [down] = await evaluate("linear", { x: f32([3, 6], hidden), w: w.w_down }, {});
    const [expected] = await evaluate("add", { a: f32([3, 4], down), b: residual }, {});
    const [got] = await evaluate("gated_mlp", { x, ...w, residual }, { activation });
    assert.ok(relativeError(got, expected) < TOLERANCES.reordered, activation);
  }
});

Deno.test("embedding reads rows of any plain type and names a token outside", async () => {
  const table = f32([3, 2], [0, 0.5, 1, 1.5, 2, 2.5]);
  for (const dtype of WEIGHT_TYPES) {
    const w = rounded(dtype, table);
    const [got] = await evaluate("embedding", { ids: i32([3], [2, 0, 2]), w }, {});
    assert.deepEqual([...got], [2, 2.5, 0, 0.5, 2, 2.5], dtype);
  }
  for (const id of [3, -1]) {
    await assert.rejects(evaluate("embedding", { ids: i32([1], [id]), w: table }, {}), (error) => {
      assert.ok(error instanceof MixlineError);
      assert.equal(error.code, "kernel/token-id");
      assert.match(error.message, new RegExp(`expected an id from 0 to 2, got ${id}$`));
      return true;
    });
  }
});
