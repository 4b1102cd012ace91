/** Weights of integer checkpoints: any range of any expression, and what is taken for granted. */

import assert from "node:assert/strict";
import fc from "../../../deps/fast_check.ts";
import {
  affineScales,
  cast,
  checked,
  CheckpointError,
  constant,
  DTYPE_BYTES,
  elementCount,
  grouped,
  type IntegerPacking,
  packedWords,
  reciprocal,
  reinterpret,
  scaled,
  tensor,
  unpack,
  type Weight,
} from "../../../graph/mod.ts";
import { loadWeight, streamWeight } from "../../../models/mod.ts";
import { Random } from "../../support/dialect_model.ts";
import { memorySource } from "../../support/host_tensors.ts";

const random = new Random(3);

/** Random words for a matrix of codes, under the name `w`. */
function wordsOf(packing: IntegerPacking, rows: number, columns: number) {
  const shape = packedWords(packing, rows, columns);
  const data = Int32Array.from(
    { length: elementCount(shape) },
    () => random.below(2 ** 16) << 16 | random.below(2 ** 16),
  );
  const source = memorySource(new Map([["w", { dtype: "i32" as const, shape, data }]]));
  return { words: tensor("w", "i32", shape), data, shape, source };
}

/** Code of an element by the definition of a packing. */
function codeOf(
  { data, shape }: { data: Int32Array; shape: readonly number[] },
  { bits, along, order, transposed }: IntegerPacking,
  row: number,
  column: number,
): number {
  const [i, j] = transposed ? [column, row] : [row, column];
  const count = 32 / bits;
  const at = along === 0 ? i : j;
  const place = at % count;
  const slot = order ? order.indexOf(place) : place;
  const [line, word] = along === 0 ? [Math.floor(i / count), j] : [i, Math.floor(j / count)];
  return data[line * shape[1] + word] >>> (bits * slot) & (2 ** bits - 1);
}

const PACKINGS: readonly IntegerPacking[] = [
  { bits: 4, along: 1, transposed: false },
  { bits: 8, along: 1, transposed: false },
  { bits: 4, along: 0, transposed: true },
  { bits: 8, along: 0, transposed: true },
  { bits: 4, along: 0, transposed: false },
  { bits: 4, along: 1, transposed: true, order: [0, 2, 4, 6, 1, 3, 5, 7] },
];

Deno.test("unpack() finds every code of every packing, words that are not full too", async () => {
  for (const packing of PACKINGS) {
    for (const [rows, columns] of [[8, 16], [40, 24], [5, 6], [3, 22], [1, 2]]) {
      const { words, source, ...stored } = wordsOf(packing, rows, columns);
      const { data } = await loadWeight(unpack(words, packing, [rows, columns]), source);
      const expected = Array.from(
        { length: rows * columns },
        (_, i) => codeOf(stored, packing, Math.floor(i / columns), i % columns),
      );
      assert.deepEqual([...data].map(Number), expected, JSON.stringify(packing));
      const nibbles = unpack(words, packing, [rows, columns], { codesPerByte: 2 });
      if (packing.bits === 8) {
        const signed = unpack(words, packing, [rows, columns], { add: -128, dtype: "i8" });
        assert.deepEqual(
          [...(await loadWeight(signed, source)).data].map(Number),
          expected.map((code) => code - 128),
        );
        continue;
      }
      const bytes = (await loadWeight(nibbles, source)).data;
      assert.deepEqual(
        [...bytes].map(Number).flatMap((byte) => [byte & 15, byte >> 4]),
        expected,
      );
      const shifted = unpack(words, packing, [rows, columns], { add: 1, mask: 15 });
      assert.deepEqual(
        [...(await loadWeight(shifted, source)).data].map(Number),
        expected.map((code) => (code + 1) % 16),
      );
    }
  }
});

/** Expressions over the same words, by name. */
function expressions() {
  const packing = PACKINGS[2];
  const [rows, columns] = [6, 24];
  const { words, source } = wordsOf(packing, rows, columns);
  const codes = unpack(words, packing, [rows, columns]);
  const scale = constant(Float32Array.from({ length: rows * 3 }, (_, i) => 0.25 + i / 8), [
    rows,
    3,
  ]);
  const zero = unpack(words, packing, [rows, 3 * 8], { mask: 15 });
  const zeros = reinterpret(zero, "u8", [rows * 8, 3]);
  const groups = constant(Int32Array.from({ length: columns }, (_, i) => (7 * i) % 3));
  const list: Readonly<Record<string, Weight>> = {
    codes,
    nibbles: unpack(words, packing, [rows, columns], { codesPerByte: 2 }),
    signed: unpack(words, packing, [rows, columns], { add: -8, dtype: "i8" }),
    pairs: affineScales(
      constant(Float32Array.from({ length: rows * 8 * 3 }, (_, i) => 1 + i), [rows * 8, 3]),
      zeros,
      8,
    ),
    scattered: grouped(codes, scale, 8, groups),
    bytes: reinterpret(words, "u8", [elementCount(words.shape) * 4]),
    inverse: reciprocal(scale),
    scaled: scaled(cast(scale, "f16"), 3),
  };
  return { list, source };
}

Deno.test("expressions of integers give the same numbers in chunks of any size", async () => {
  const { list, source } = expressions();
  for (const [name, weight] of Object.entries(list)) {
    const whole = await loadWeight(weight, source);
    const bytes = new Uint8Array(whole.data.buffer, whole.data.byteOffset, whole.data.byteLength);
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 80 }), async (chunkBytes) => {
        const size = chunkBytes * DTYPE_BYTES[weight.dtype];
        const got: number[] = [];
        for await (const chunk of streamWeight(weight, source, { chunkBytes: size })) {
          for (const byte of chunk.bytes) got.push(byte);
        }
        assert.deepEqual(got, [...bytes], name);
      }),
      { numRuns: 12 },
    );
  }
});

Deno.test("grouped() and affineScales() compute (code - zero) · scale", async () => {
  const { list, source } = expressions();
  const codes = (await loadWeight(list.codes, source)).data;
  const scattered = (await loadWeight(list.scattered, source)).data;
  for (let i = 0; i < codes.length; i++) {
    const [row, column] = [Math.floor(i / 24), i % 24];
    const scale = 0.25 + (row * 3 + (7 * column) % 3) / 8;
    assert.equal(scattered[i], (Number(codes[i]) - 8) * scale);
  }
  const zero = constant(Int32Array.of(3, 5), [2, 1]);
  const pairs = affineScales(constant(Float32Array.of(2, 0.5), [2, 1]), zero, 8);
  assert.deepEqual((await loadWeight(pairs, source)).data, Float32Array.of(2, 10, 0.5, 1.5));
});

Deno.test("checked() reads on when the integers are as expected, and names what is not", async () => {
  const of = constant(Float32Array.of(1, 2));
  const message = { what: "the group", source: "desc_act: false", hint: "Set desc_act to true" };
  const groups = (data: number[]) => {
    const shape = [data.length];
    const stored = { dtype: "i32" as const, shape, data: Int32Array.from(data) };
    return {
      source: memorySource(new Map([["g_idx", stored]])),
      weight: checked(of, {
        against: tensor("g_idx", "i32", shape),
        expected: { first: 0, step: 2 },
        message,
      }),
    };
  };
  const right = groups([0, 0, 1, 1, 2]);
  assert.deepEqual((await loadWeight(right.weight, right.source)).data, Float32Array.of(1, 2));
  const wrong = groups([0, 0, 2, 1, 2]);
  await assert.rejects(loadWeight(wrong.weight, wrong.source), (error: unknown) => {
    assert.ok(error instanceof CheckpointError);
    assert.equal(
      error.message,
      'Cannot load tensor "g_idx": expected the group 1 at place 2, as desc_act: false says, got 2',
    );
    assert.equal(error.hint, "Set desc_act to true");
    return true;
  });
  const outside = grouped(
    unpack(constant(Int32Array.of(0), [1, 1]), PACKINGS[0], [1, 8]),
    constant(Float32Array.of(1), [1, 1]),
    8,
    constant(Int32Array.of(0, 0, 0, 4, 0, 0, 0, 0)),
  );
  await assert.rejects(
    loadWeight(outside, right.source),
    /expected a group from 0 to 0 for column 3, got 4/,
  );
});
