import assert from "node:assert/strict";
import { evaluate, f32, i32, numbersOf, random } from "../../support/host_tensors.ts";
import { relativeError, TOLERANCES } from "../../support/tolerances.ts";

const POSITIONS = i32([5], [0, 1, 2, 3, 4]);

Deno.test("attention_mask looks at positions, not at rows, and keeps to the window", async () => {
  const rows = (flat: ArrayLike<number>) =>
    Array.from(flat, (value) => (value === 0 ? 1 : 0)).join("");
  const [causal] = await evaluate("attention_mask", { positions: i32([3], [2, 0, 1]) }, {});
  assert.equal(rows(causal), "111" + "010" + "011");
  const [window] = await evaluate("attention_mask", { positions: i32([4], [0, 1, 2, 3]) }, {
    window: 2,
  });
  assert.equal(rows(window), "1000" + "1100" + "0110" + "0011");
});

Deno.test("rope turns pairs by position times frequency, in both layouts", async () => {
  const x = f32([1, 1, 4], [1, 2, 3, 4]);
  const inputs = { x, positions: i32([1], [3]), inv_freq: f32([2], [1, 0.1]) };
  const turn = (u: number, v: number, angle: number) => [
    u * Math.cos(angle) - v * Math.sin(angle),
    v * Math.cos(angle) + u * Math.sin(angle),
  ];
  const attrs = { rotaryDim: 4, attentionScaling: 1 };
  const [half] = await evaluate("rope", inputs, { ...attrs, layout: "half" });
  const [[a, c], [b, d]] = [turn(1, 3, 3), turn(2, 4, 0.3)];
  assert.ok(relativeError(half, [a, b, c, d]) < TOLERANCES.reordered);
  const [interleaved] = await evaluate("rope", inputs, { ...attrs, layout: "interleaved" });
  const expected = [...turn(1, 2, 3), ...turn(3, 4, 0.3)];
  assert.ok(relativeError(interleaved, expected) < TOLERANCES.reordered);
});

Deno.test("rope passes the elements after rotaryDim and scales only those it turns", async () => {
  const x = f32([1, 1, 4], [1, 2, 3, 4]);
  const inputs = { x, positions: i32([1], [0]), inv_freq: f32([1], [1]) };
  for (const layout of ["half", "interleaved"] as const) {
    const [got] = await evaluate("rope", inputs, { layout, rotaryDim: 2, attentionScaling: 1.5 });
    assert.deepEqual([...got], [1.5, 3, 3, 4]);
  }
});

Deno.test("attention equals mask, softmax and matmul, also grouped and windowed", async () => {
  for (const window of [undefined, 2]) {
    const [q, k, v] = [random([4, 5, 6], 1), random([2, 5, 6], 2), random([2, 5, 6], 3)];
    const [got] = await evaluate("attention", { q, k, v, positions: POSITIONS }, {
      scale: 0.4,
      window,
    });
    const wide = async (x: typeof k) =>
      f32([4, 5, 6], (await evaluate("repeat_kv", { x }, { repeats: 2 }))[0]);
    const [turned] = await evaluate("transpose", { x: await wide(k) }, { dims: [1, 2] });
    const [scores] = await evaluate("matmul", { a: q, b: f32([4, 6, 5], turned) }, {});
    const [scaled] = await evaluate("mul", { a: f32([4, 5, 5], scores), b: f32([], [0.4]) }, {});
    const [mask] = await evaluate("attention_mask", { positions: POSITIONS }, { window });
    const [masked] = await evaluate("add", { a: f32([4, 5, 5], scaled), b: f32([5, 5], mask) }, {});
    const [weights] = await evaluate("softmax", { x: f32([4, 5, 5], masked) }, { dim: -1 });
    const [expected] = await evaluate(
      "matmul",
      { a: f32([4, 5, 5], weights), b: await wide(v) },
      {},
    );
    assert.ok(relativeError(got, expected) < TOLERANCES.reordered, `window ${window}`);
  }
});

Deno.test("attention sinks take weight and give none", async () => {
  const [q, k, v] = [random([2, 5, 4], 1), random([2, 5, 4], 2), random([2, 5, 4], 3)];
  const inputs = { q, k, v, positions: POSITIONS };
  const [without] = await evaluate("attention", inputs, { scale: 1 });
  const [faint] = await evaluate("attention", { ...inputs, sinks: f32([2], -1e30) }, { scale: 1 });
  assert.deepEqual(faint, without);
  const [strong] = await evaluate("attention", { ...inputs, sinks: f32([2], [1e4, -1e30]) }, {
    scale: 1,
  });
  assert.ok([...strong.subarray(0, 20)].every((value) => value === 0));
  assert.deepEqual(strong.subarray(20), without.subarray(20));
  // The first token sees itself alone: e^s / (e^s + e^sink) of its value is left.
  const [some] = await evaluate("attention", { ...inputs, sinks: f32([2], 0.5) }, { scale: 1 });
  const score = [0, 1, 2, 3].reduce((sum, i) => sum + numbersOf(q)[i] * numbersOf(k)[i], 0);
  const share = Math.exp(score) / (Math.exp(score) + Math.exp(0.5));
  const expected = numbersOf(v).slice(0, 4).map((value) => share * value);
  assert.ok(relativeError(some.subarray(0, 4), expected) < TOLERANCES.reordered);
});

Deno.test("attention of one token is its value, however extreme the score", async () => {
  const [q, k] = [f32([1, 1, 2], 1e18), f32([1, 1, 2], 1e18)];
  const [got] = await evaluate("attention", {
    q,
    k,
    v: f32([1, 1, 2], [3, -4]),
    positions: i32([1], [0]),
  }, { scale: 1 });
  assert.deepEqual([...got], [3, -4]);
});
