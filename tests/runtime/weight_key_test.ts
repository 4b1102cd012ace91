import assert from "node:assert/strict";
import {
  affineScales,
  cast,
  concat,
  constant,
  grouped,
  reciprocal,
  scaled,
  shifted,
  slice,
  stack,
  tensor,
  transpose,
  unpack,
  type Weight,
} from "../../graph/mod.ts";
import { weightKey } from "../../runtime/weight_key.ts";

/** Expressions over the same tensors of which no two give the same bytes. */
function different(): Weight[] {
  const [a, b] = [tensor("a", "f32", [8, 8]), tensor("b", "f32", [8, 8])];
  const words = tensor("words", "i32", [8, 1]);
  const packing = { bits: 4, along: 1, transposed: false } as const;
  const codes = tensor("codes", "u8", [8, 8]);
  const [scale, zero] = [tensor("scale", "f32", [8, 2]), tensor("zero", "u8", [8, 2])];
  const groups = constant(Int32Array.of(0, 0, 0, 0, 1, 1, 1, 1));
  return [
    ...[a, b, cast(a, "bf16"), transpose(a, 0, 1), reciprocal(a)],
    ...[slice(a, 0, 0, 4), slice(a, 0, 4, 8), slice(a, 1, 0, 4)],
    ...[stack([a, b]), stack([b, a]), concat([a, b]), concat([a, b], 1)],
    ...[scaled(a, 2), scaled(a, 3), shifted(a, 2), shifted(a, 3)],
    ...[unpack(words, packing, [8, 8]), unpack(words, packing, [8, 8], { add: 1 })],
    ...[unpack(words, packing, [8, 8], { mask: 15 })],
    ...[unpack(words, { ...packing, order: [0, 2, 4, 6, 1, 3, 5, 7] }, [8, 8])],
    ...[affineScales(scale, zero), affineScales(scale, zero, 1)],
    ...[grouped(codes, scale, 8, groups), grouped(codes, scale, 7, groups)],
    ...[grouped(codes, scale, zero, groups)],
  ];
}

Deno.test("weightKey() is the same for equal expressions alone", () => {
  const keys = different().map(weightKey);
  assert.equal(new Set(keys).size, keys.length, keys.join("\n"));
  assert.deepEqual(different().map(weightKey), keys);
});
