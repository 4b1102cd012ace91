/**
 * Small floating-point formats: FP8 E4M3, FP4 E2M1 and the scale byte E8M0.
 * Values: OCP 8-bit Floating Point Specification 1.0 (E4M3, the `fn` kind) and OCP Microscaling
 * Formats Specification 1.0 (E2M1, E8M0).
 *
 * @module
 */

/** Largest magnitude of E4M3. */
export const E4M3_MAX = 448;

/** Largest magnitude of E2M1. */
export const E2M1_MAX = 6;

/** The 256 values of E4M3: no infinities; 0x7f and 0xff are NaN. */
export const E4M3_VALUES: Float32Array<ArrayBuffer> = Float32Array.from(
  { length: 256 },
  (_, code) => {
    const [exponent, mantissa] = [(code >> 3) & 15, code & 7];
    if (exponent === 15 && mantissa === 7) return NaN;
    const magnitude = exponent === 0
      ? mantissa * 2 ** -9
      : (1 + mantissa / 8) * 2 ** (exponent - 7);
    return code & 128 ? -magnitude : magnitude;
  },
);

/** The 16 values of E2M1; bit 3 is the sign. */
export const E2M1_VALUES: Float32Array<ArrayBuffer> = Float32Array.of(
  ...[0, 0.5, 1, 1.5, 2, 3, 4, 6],
  ...[-0, -0.5, -1, -1.5, -2, -3, -4, -6],
);

/**
 * Nearest E4M3 code, ties to even, saturating at ±448; NaN gives 0x7f.
 *
 * @example
 * ```ts
 * import { E4M3_VALUES, encodeE4M3 } from "./codes.ts";
 * console.assert(E4M3_VALUES[encodeE4M3(1000)] === 448);
 * console.assert(E4M3_VALUES[encodeE4M3(17)] === 16); // halfway between 16 and 18
 * ```
 */
export function encodeE4M3(value: number): number {
  if (Number.isNaN(value)) return 0x7f;
  DOUBLE[0] = value;
  const sign = (WORDS[1] >>> 24) & 0x80;
  const magnitude = Math.min(Math.abs(value), E4M3_MAX);
  // Below 2^-6 the codes are spaced by 2^-9; above, by an eighth of the power of two.
  const exponent = Math.max(0, ((WORDS[1] >>> 20) & 0x7ff) - 1023 + 6);
  const steps = roundSmall(magnitude * (exponent < 15 ? QUANTA[exponent] : QUANTA[14]));
  // Steps run from 0 to 16; 16 carries into the next exponent, which the sum below gets right.
  return sign | Math.min(0x7e, (Math.min(exponent, 14) << 3) + steps);
}

/** A double and its bits, the low word first. */
const DOUBLE = new Float64Array(1);
const WORDS = new Uint32Array(DOUBLE.buffer);

/** How often the distance of two codes goes into 1, for each exponent of E4M3 from 2^-6 on. */
const QUANTA = Float64Array.from({ length: 15 }, (_, exponent) => 2 ** (9 - exponent));

/** Nearest E2M1 code, ties to the even code, saturating at ±6; NaN gives 0. */
export function encodeE2M1(value: number): number {
  const sign = value < 0 || (value === 0 && 1 / value < 0) ? 8 : 0;
  const magnitude = Math.abs(value);
  const quarters = Math.min(magnitude * 4, 21);
  const whole = quarters | 0;
  return sign | E2M1_CODES[2 * whole + (quarters > whole ? 1 : 0)];
}

/**
 * Codes of n quarters, and of a little more. The boundaries, midpoints of neighbours, are whole
 * quarters; each belongs to the even code of both.
 */
const E2M1_CODES = Uint8Array.from({ length: 44 }, (_, at) => {
  const magnitude = ((at >> 1) + (at & 1) / 2) / 4;
  let code = 0;
  for (let next = 1; next < 8; next++) {
    const midpoint = (E2M1_VALUES[next - 1] + E2M1_VALUES[next]) / 2;
    if (magnitude > midpoint || (magnitude === midpoint && next % 2 === 0)) code = next;
  }
  return code;
});

/** Value of an E8M0 scale byte: 2^(byte - 127); 255 is NaN. */
export function decodeE8M0(byte: number): number {
  return byte === 255 ? NaN : 2 ** (byte - 127);
}

/** Scale byte of a power of two exponent, saturating at 2^-127 and 2^127. */
export function encodeE8M0(exponent: number): number {
  return Math.min(254, Math.max(0, exponent + 127));
}

/**
 * Nearest integer of a number below 2^51 in magnitude, ties to even: what such a number loses when it
 * is added to 1.5 · 2^52 is all that is behind its point.
 */
export function roundSmall(value: number): number {
  return (value + 6755399441055744) - 6755399441055744;
}
