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
  const sign = value < 0 || Object.is(value, -0) ? 0x80 : 0;
  const magnitude = Math.min(Math.abs(value), E4M3_MAX);
  // Below 2^-6 the codes are spaced by 2^-9; above, by an eighth of the power of two.
  const exponent = Math.max(-6, Math.floor(Math.log2(magnitude === 0 ? 1e-30 : magnitude)));
  const quantum = 2 ** (exponent - 3);
  const steps = roundHalfEven(magnitude / quantum);
  // Steps run from 0 to 16; 16 carries into the next exponent, which the sum below gets right.
  return sign | Math.min(0x7e, ((exponent + 6) << 3) + steps);
}

/** Nearest E2M1 code, ties to the even code, saturating at ±6; NaN gives 0. */
export function encodeE2M1(value: number): number {
  const sign = value < 0 || Object.is(value, -0) ? 8 : 0;
  const magnitude = Math.abs(value);
  let code = 0;
  // Boundaries are midpoints; an odd lower neighbour gives a tie away to the even code above.
  for (let next = 1; next < 8; next++) {
    const midpoint = (E2M1_VALUES[next - 1] + E2M1_VALUES[next]) / 2;
    if (magnitude > midpoint || (magnitude === midpoint && next % 2 === 0)) code = next;
  }
  return sign | code;
}

/** Value of an E8M0 scale byte: 2^(byte - 127); 255 is NaN. */
export function decodeE8M0(byte: number): number {
  return byte === 255 ? NaN : 2 ** (byte - 127);
}

/** Scale byte of a power of two exponent, saturating at 2^-127 and 2^127. */
export function encodeE8M0(exponent: number): number {
  return Math.min(254, Math.max(0, exponent + 127));
}

/** Nearest integer, ties to even. */
export function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return rest < 0.5 ? floor : floor + 1;
  return floor % 2 === 0 ? floor : floor + 1;
}
