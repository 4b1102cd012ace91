import assert from "node:assert/strict";
import {
  concat,
  type DType,
  f32ToBf16,
  reshape,
  stack,
  tensor,
  transpose,
  type Weight,
} from "../../../graph/mod.ts";
import { evaluateWeights } from "../../../models/loading/evaluate_weights.ts";
import {
  largestMagnitude,
  leavesWithin,
  measureLeaves,
  weightLeaves,
} from "../../../models/loading/largest_numbers.ts";

Deno.test("largestMagnitude() takes the magnitude in every type, at any place in memory", () => {
  const numbers = [0, -3, 2.5, -70144, 1e-30, 4];
  const f32 = new Uint8Array(Float32Array.from(numbers).buffer);
  assert.equal(largestMagnitude("f32", f32), 70144);
  const bf16 = new Uint8Array(Uint16Array.from(numbers, f32ToBf16).buffer);
  for (
    const [from, to, expected] of [[0, 12, 70144], [2, 12, 70144], [0, 6, 3], [8, 12, 4], [2, 4, 3]]
  ) {
    assert.equal(largestMagnitude("bf16", bf16.subarray(from, to)), expected, `${from} to ${to}`);
  }
  assert.equal(largestMagnitude("f8_e4m3", Uint8Array.of(0x38, 0xf8, 0)), 256);
  assert.equal(largestMagnitude("u8", Uint8Array.of(3, 200, 130)), 200);
  const types: readonly DType[] = ["f16", "i8"];
  for (const dtype of types) assert.equal(largestMagnitude(dtype, f32), 0, dtype);
});

Deno.test("weightLeaves() are the matrices that a weight joins, in the order of its bytes", () => {
  const [a, b, c] = ["a", "b", "c"].map((name) => tensor(name, "f32", [2, 3]));
  const names = (weight: Weight) =>
    weightLeaves(weight).map(({ weight: { kind }, first, elements }) =>
      `${kind} ${first} ${elements}`
    );
  assert.deepEqual(names(stack([concat([a, b]), concat([c, a])])), [
    "tensor 0 6",
    "tensor 6 6",
    "tensor 12 6",
    "tensor 18 6",
  ]);
  assert.deepEqual(names(reshape(stack([a, b]), [4, 3])), ["tensor 0 6", "tensor 6 6"]);
  assert.deepEqual(names(concat([a, b], 1)), ["concat 0 12"]);
  assert.deepEqual(names(transpose(a, 0, 1)), ["transpose 0 6"]);
});

Deno.test("measureLeaves() tells the leaves that a range of bytes holds some of", () => {
  const leaves = weightLeaves(stack(["a", "b", "c"].map((name) => tensor(name, "f32", [4]))));
  const bytes = new Uint8Array(Float32Array.of(9, 1, -2, 3, 4, -5).buffer);
  const expected = [{ leaf: 0, largest: 9 }, { leaf: 1, largest: 4 }, { leaf: 2, largest: 5 }];
  assert.deepEqual(measureLeaves({ firstLeaf: 0, leaves }, "f32", 3 * 4, bytes), expected);
  const within = leavesWithin(leaves, [5, 9], 4);
  assert.deepEqual(measureLeaves(within, "f32", 0, bytes.subarray(4)), [
    { leaf: 1, largest: 4 },
    { leaf: 2, largest: 5 },
  ]);
});

Deno.test("evaluateWeights() measures the weights it is asked to, in jobs of any size", async () => {
  const values = Float32Array.from({ length: 64 }, (_, i) => i - 40);
  const source = {
    read: (_: string, at: number, length: number) =>
      Promise.resolve(new Uint8Array(values.buffer, at, length)),
  };
  const weights = [
    tensor("a", "f32", [8, 8]),
    stack(["b", "c"].map((name) => tensor(name, "f32", [64]))),
  ];
  for (const jobBytes of [40, 2 ** 20]) {
    const found: number[][] = [[], []];
    for await (
      const ranges of evaluateWeights(weights, source, { jobBytes, measured: new Set([1]) })
    ) {
      for (const { weight, largest = [] } of ranges) {
        for (const each of largest) {
          found[weight][each.leaf] = Math.max(found[weight][each.leaf] ?? 0, each.largest);
        }
      }
    }
    assert.deepEqual(found, [[], [40, 40]], `${jobBytes} bytes a job`);
  }
});
