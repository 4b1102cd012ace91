/**
 * Random data of a MoE layer to be timed: values, weights, choices of experts.
 *
 * @module
 */

import {
  bindShape,
  type DType,
  DTYPE_BYTES,
  elementCount,
  invariant,
  isPacked,
  PACKED_LAYOUTS,
  packedShape,
  tensorBytes,
  type Value,
  type WeightFormat,
} from "../../../graph/mod.ts";
import type { DeviceMoeSpec, MoeValues } from "../../../kernels/mod.ts";

/** Values of a layer, as a graph would have them. */
export function layerValues(spec: DeviceMoeSpec, tokens: number): MoeValues {
  let id = 0;
  const value = (name: string, dtype: DType, shape: readonly number[], kind: Value["kind"]) =>
    ({ id: id++, name, kind, dtype, shape }) as Value;
  const { hidden, intermediate, experts, topK } = spec;
  const rows = intermediate * (spec.mlp === "gated" ? 2 : 1);
  const weight = (name: string, rowCount: number, columns: number, matrixRows: number) => {
    if (!isPacked(spec.format)) {
      return [value(name, plainDtype(spec.format), [experts, rowCount, columns], "weight")];
    }
    const layout = PACKED_LAYOUTS[spec.format];
    const shape = packedShape(spec.format, matrixRows, columns, spec.block);
    const matrices = (experts * rowCount) / matrixRows;
    const payload = [experts, rowCount, shape.payload[1]];
    return [
      value(name, layout.payloadDtype, payload, "weight"),
      value(`${name}_scale`, layout.scaleDtype, [matrices, ...shape.scale], "weight"),
      ...(layout.secondScale ? [value(`${name}_scale_2`, "f32", [matrices], "weight")] : []),
    ];
  };
  const [wUp, ...wUpScales] = weight("w_up", rows, hidden, intermediate);
  const [wDown, ...wDownScales] = weight("w_down", hidden, intermediate, hidden);
  return {
    x: value("x", "f32", [tokens, hidden], "input"),
    selectedExperts: value("selected_experts", "i32", [tokens, topK], "input"),
    routingWeights: value("routing_weights", "f32", [tokens, topK], "input"),
    wUp,
    wDown,
    wUpScales,
    wDownScales,
    ...(spec.biasUp && { bUp: value("b_up", "f32", [experts, rows], "weight") }),
    ...(spec.biasDown && { bDown: value("b_down", "f32", [experts, hidden], "weight") }),
    ...(spec.residual && { residual: value("residual", "f32", [tokens, hidden], "input") }),
    output: value("output", "f32", [tokens, hidden], "node"),
  };
}

function plainDtype(format: WeightFormat): DType {
  invariant(format === "f32" || format === "f16" || format === "bf16", `${format} is packed`);
  return format;
}

/** Bytes of a value without symbols in its shape. */
export function staticBytes({ dtype, shape }: Value): number {
  return tensorBytes({ dtype, shape: bindShape(shape, {}) });
}

/** Up to 16 MiB of plausible data for a weight or its scales: magnitudes near 0.02, no NaN. */
export function weightChunk(
  value: Value,
  spec: DeviceMoeSpec,
  random: () => number,
): Uint8Array<ArrayBuffer> {
  const elements = Math.min(elementCount(value.shape as number[]), (16 << 20) / 4);
  const bytes = Math.ceil((elements * DTYPE_BYTES[value.dtype]) / 4) * 4;
  const chunk = new Uint8Array(bytes);
  if (value.dtype === "f32") {
    const scale = value.name.includes("scale");
    const numbers = new Float32Array(chunk.buffer);
    for (let i = 0; i < numbers.length; i++) numbers[i] = scale ? 0.002 : (random() - 0.5) * 0.08;
    return chunk;
  }
  if (value.name.endsWith("_scale")) return chunk.fill(spec.format === "mxfp4" ? 121 : 0x38);
  const words = new Uint32Array(chunk.buffer);
  for (let i = 0; i < words.length; i++) {
    const bits = Math.floor(random() * 2 ** 32) >>> 0;
    // Halves: a sign and small exponents; FP8: no NaN codes; nibbles and int8: every code is a number.
    if (value.dtype === "bf16") words[i] = (bits & 0x807f807f) | 0x3c003c00;
    else if (value.dtype === "f16") words[i] = (bits & 0x83ff83ff) | 0x24002400;
    else if (value.dtype === "f8_e4m3") words[i] = bits & 0xbfbfbfbf;
    else words[i] = bits;
  }
  return chunk;
}

/** `topK` different experts per token with weights that add up to 1, and the number of experts in use. */
export function randomRouting(spec: DeviceMoeSpec, tokens: number, random: () => number) {
  const { experts, topK } = spec;
  const ids = new Int32Array(tokens * topK);
  const factors = new Float32Array(tokens * topK);
  const order = Array.from({ length: experts }, (_, expert) => expert);
  const used = new Set<number>();
  for (let token = 0; token < tokens; token++) {
    let sum = 0;
    for (let slot = 0; slot < topK; slot++) {
      const pick = slot + Math.floor(random() * (experts - slot));
      [order[slot], order[pick]] = [order[pick], order[slot]];
      ids[token * topK + slot] = order[slot];
      used.add(order[slot]);
      sum += factors[token * topK + slot] = 0.1 + random();
    }
    for (let slot = 0; slot < topK; slot++) factors[token * topK + slot] /= sum;
  }
  return { ids, factors, experts: used.size };
}

/** A small generator of numbers in [0, 1), the same on every machine (mulberry32). */
export function randomSource(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
