import assert from "node:assert/strict";
import {
  dependsOnWhole,
  f32ToBf16,
  type PackedFormat,
  type PackedMatrix,
  quantizeMatrix,
  type ScaleBlock,
} from "../../../graph/mod.ts";
import { largestOfPairs, quantizeBf16 } from "../../../models/formats/quantize_bf16.ts";
import { randomNumbers } from "../../support/op_case.ts";

const COLUMNS = 96;

/** Integers below 2^24. */
function randomIntegers(count: number, seed: number): number[] {
  const next = randomNumbers(seed);
  return Array.from({ length: count }, () => Math.floor(Math.abs(next()) * 2 ** 24));
}

/** Rows of bf16, and the same numbers in f32. */
function rowsOf(codes: Uint16Array<ArrayBuffer>) {
  const words = Uint32Array.from(codes, (code) => code << 16);
  const values = new Float32Array(words.buffer);
  const rows = codes.length / COLUMNS;
  return { rows, values, matrix: { pairs: new Uint32Array(codes.buffer), rows, columns: COLUMNS } };
}

/**
 * Blocks of 32 whose largest magnitude is one of these, and otherwise numbers of any smaller one, and
 * numbers halfway between codes where a step is a number of bf16.
 */
function hardCodes(largest: readonly number[]): Uint16Array<ArrayBuffer> {
  const random = randomIntegers(largest.length * 32, 5);
  const codes = new Uint16Array(largest.length * 32);
  for (const [block, amax] of largest.entries()) {
    const most = f32ToBf16(amax);
    for (let i = 0; i < 32; i++) {
      const at = block * 32 + i;
      const sign = (random[at] >> 4) & 0x8000;
      const halfway = f32ToBf16((i - 0.5) * amax / (i % 2 === 0 ? 7 : 127));
      codes[at] = sign |
        (i === 0 ? most : i < 20 ? Math.min(halfway, most) : random[at] % (most + 1));
    }
  }
  return codes;
}

const POWERS = [-133, -127, -126, -120, -100, -99, -60, -14, 0, 1, 40, 119, 120];
const LARGEST = POWERS.flatMap((power) =>
  [1, 1.0078125, 1.5, 7 / 4, 127 / 64, 127 / 96].map((factor) => factor * 2 ** power)
);
function isSame(a: PackedMatrix, b: PackedMatrix): boolean {
  return a.payload.every((code, i) => code === b.payload[i]) &&
    a.scale.length === b.scale.length && a.scale.every((number, i) => number === b.scale[i]);
}

const CASES: readonly (readonly [PackedFormat, ScaleBlock | undefined])[] = [
  ["int4", undefined],
  ["int4", [1, 48]],
  ["int4", [1, 40]],
  ["int8", undefined],
  ["int8", [1, 64]],
  ["mxfp4", undefined],
  ["fp8_e4m3", undefined],
  ["fp8_e4m3", [4096, 4096]],
];

Deno.test("quantizeBf16() gives the bits of quantizeMatrix()", () => {
  const ordinary = Uint16Array.from(randomIntegers(96 * 64, 1), (word) => 0x3c00 + word % 0x300);
  ordinary.set([0, 0x8000], 100);
  for (const [format, block] of CASES) {
    // MXFP4's step below 2^-121 is left to the plain way.
    const tiny = format === "mxfp4" ? 2 ** -120 : 0;
    const hard = hardCodes([...LARGEST, 0, -0, 3.3895e38, 5].filter((x) => x === 0 || x > tiny));
    for (const codes of [ordinary, hard.slice(0, hard.length - hard.length % COLUMNS)]) {
      const { rows, values, matrix } = rowsOf(codes);
      const whole = dependsOnWhole(format, rows, COLUMNS, block);
      const options = whole ? { amax: largestOfPairs(matrix.pairs) } : {};
      const expected = quantizeMatrix(format, values, rows, COLUMNS, block);
      const first = quantizeBf16(format, matrix, block, options);
      assert(first, format);
      assert(isSame(first, expected), `${format} ${block}`);
      const again = quantizeBf16(format, matrix, block, { ...options, reuse: first });
      assert(again && isSame(again, expected), `${format} ${block}, in the same memory`);
      assert.equal(again.payload, first.payload);
    }
  }
});

Deno.test("quantizeBf16() leaves to others what it is not for", () => {
  const { matrix } = rowsOf(hardCodes(LARGEST.slice(0, 60)));
  assert.equal(quantizeBf16("fp8_block", matrix), undefined);
  assert.equal(quantizeBf16("nvfp4", matrix), undefined);
  assert.equal(quantizeBf16("int4", matrix, [2, 32]), undefined);
  assert.equal(quantizeBf16("int8", matrix, [1, 3]), undefined);
  assert.equal(quantizeBf16("mxfp4", matrix), undefined, "subnormal steps");
  assert.equal(quantizeBf16("fp8_e4m3", matrix), undefined, "no largest magnitude");
  const { matrix: infinite } = rowsOf(new Uint16Array(COLUMNS).fill(0x7f80));
  for (const format of ["int4", "int8", "mxfp4"] as const) {
    assert.equal(quantizeBf16(format, infinite), undefined, format);
  }
});
