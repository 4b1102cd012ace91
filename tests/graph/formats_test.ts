import assert from "node:assert/strict";
import fc from "../../deps/fast_check.ts";
import {
  dequantizeMatrix,
  E2M1_VALUES,
  E4M3_VALUES,
  encodeE2M1,
  encodeE4M3,
  PACKED_FORMATS,
  packedShape,
  quantizeMatrix,
} from "../../graph/mod.ts";

/** The nearest of a list of values by search, ties to the even code: another way to the same answer. */
function nearestCode(
  values: readonly (readonly [code: number, value: number])[],
  x: number,
): number {
  let best = values[0];
  for (const each of values) {
    const [distance, bestDistance] = [Math.abs(each[1] - x), Math.abs(best[1] - x)];
    if (distance < bestDistance || (distance === bestDistance && each[0] % 2 === 0)) best = each;
  }
  return best[0];
}

const e4m3Codes = [...E4M3_VALUES.entries()].filter(([code]) => code < 0x7f);
const e2m1Codes = [...E2M1_VALUES.entries()].slice(0, 8);

Deno.test("encodeE4M3() gives back every code of E4M3", () => {
  for (const [code, value] of E4M3_VALUES.entries()) {
    assert.equal(encodeE4M3(value), Number.isNaN(value) ? 0x7f : code);
  }
});

Deno.test("encodeE4M3() rounds to the nearest value, ties to even, and saturates", () => {
  fc.assert(fc.property(fc.double({ min: 0, max: 1000, noNaN: true }), (x) => {
    assert.equal(encodeE4M3(x), nearestCode(e4m3Codes, Math.min(x, 448)));
    assert.equal(encodeE4M3(-x), nearestCode(e4m3Codes, Math.min(x, 448)) | 0x80);
  }));
  for (let i = 0; i + 1 < e4m3Codes.length; i++) {
    const middle = (e4m3Codes[i][1] + e4m3Codes[i + 1][1]) / 2;
    assert.equal(encodeE4M3(middle) % 2, 0, `tie at ${middle}`);
  }
});

Deno.test("encodeE2M1() gives back every code and rounds ties to even", () => {
  for (const [code, value] of E2M1_VALUES.entries()) assert.equal(encodeE2M1(value), code);
  for (
    const [x, expected] of [
      [0.25, 0],
      [0.75, 1],
      [1.25, 1],
      [1.75, 2],
      [2.5, 2],
      [3.5, 4],
      [5, 4],
      [99, 6],
    ]
  ) {
    assert.equal(E2M1_VALUES[encodeE2M1(x)], expected, `at ${x}`);
  }
  fc.assert(fc.property(fc.double({ min: 0, max: 8, noNaN: true }), (x) => {
    assert.equal(encodeE2M1(x), nearestCode(e2m1Codes, x));
  }));
});

Deno.test("quantizeMatrix() keeps each value within half a step of its block", () => {
  const sizes = fc.record({
    rows: fc.integer({ min: 1, max: 9 }),
    pairs: fc.integer({ min: 1, max: 40 }),
    format: fc.constantFrom(...PACKED_FORMATS),
    seed: fc.integer(),
  });
  fc.assert(
    fc.property(sizes, ({ rows, pairs, format, seed }) => {
      const columns = 2 * pairs;
      let state = seed;
      const values = Float32Array.from({ length: rows * columns }, () => {
        state = (Math.imul(state, 1664525) + 1013904223) | 0;
        return state / 2 ** 31;
      });
      const block = format === "fp8_block" ? [4, 24] as const : undefined;
      const packed = quantizeMatrix(format, values, rows, columns, block);
      const back = dequantizeMatrix(format, packed, rows, columns, block);
      // Largest rounding error relative to the block's amax: half the widest gap of the codes, plus
      // what the rounded scale of a 4-bit format may cut off at the top.
      const bound = {
        fp8_e4m3: 1 / 28,
        fp8_block: 1 / 28,
        mxfp4: 0.25,
        nvfp4: 0.2,
        int8: 0.51 / 127,
        int4: 0.51 / 7,
        int8_affine: 1.02 / 255,
        int4_affine: 1.02 / 15,
      };
      for (let i = 0; i < values.length; i++) {
        assert.ok(
          Math.abs(values[i] - back[i]) <= bound[format] + 1e-6,
          `${format} ${values[i]} -> ${back[i]}`,
        );
      }
    }),
    { numRuns: 200 },
  );
});

Deno.test("quantizeMatrix() keeps zeros, denormals and large values finite", () => {
  for (const format of PACKED_FORMATS) {
    for (const fill of [0, 1e-40, 1e-8, 65504, 3e38]) {
      const values = new Float32Array(64).fill(fill);
      const back = dequantizeMatrix(format, quantizeMatrix(format, values, 2, 32), 2, 32);
      for (const value of back) {
        assert.ok(Number.isFinite(value), `${format} of ${fill} gives ${value}`);
        if (fill === 0) assert.equal(value, 0);
      }
    }
  }
});

Deno.test("packedShape() counts partial blocks and refuses odd rows of nibbles", () => {
  assert.deepEqual(packedShape("fp8_block", 200, 130).scale, [2, 2]);
  assert.deepEqual(packedShape("fp8_e4m3", 200, 130).scale, [1, 1]);
  assert.deepEqual(packedShape("mxfp4", 3, 64).payload, [3, 32]);
  assert.throws(() => packedShape("int4", 3, 33), /even number of columns, got 33/);
});
