/**
 * How kernels read the packed formats: codes are unpacked in registers, scales multiply in f32, and
 * nothing is ever expanded in memory. Layouts are those of `graph/formats/packed.ts`; the exact
 * unpacking tricks are explained in the fragments.
 *
 * @module
 */

import { KernelError, PACKED_LAYOUTS, type PackedFormat, type Value } from "../../graph/mod.ts";
import type { ShaderBuffer, ShaderConstants } from "../compose.ts";
import type { FormatAccess, InterleavedAccess, WeightSpec } from "./access.ts";
import { interleavedAccess } from "./interleaved.ts";
import at4bit from "./at_4bit.wgsl" with { type: "text" };
import at4bitAffine from "./at_4bit_affine.wgsl" with { type: "text" };
import atFp8 from "./at_fp8.wgsl" with { type: "text" };
import atInt8 from "./at_int8.wgsl" with { type: "text" };
import atInt8Affine from "./at_int8_affine.wgsl" with { type: "text" };
import chunk4bit from "./chunk_4bit.wgsl" with { type: "text" };
import chunkFp8 from "./chunk_fp8.wgsl" with { type: "text" };
import chunkInt8 from "./chunk_int8.wgsl" with { type: "text" };
import codesFp4 from "./codes_fp4.wgsl" with { type: "text" };
import codesInt4 from "./codes_int4.wgsl" with { type: "text" };
import codesUint4 from "./codes_uint4.wgsl" with { type: "text" };
import load4bit from "./load_4bit.wgsl" with { type: "text" };
import load4bitAffine from "./load_4bit_affine.wgsl" with { type: "text" };
import loadFp8 from "./load_fp8.wgsl" with { type: "text" };
import loadInt8 from "./load_int8.wgsl" with { type: "text" };
import loadInt8Affine from "./load_int8_affine.wgsl" with { type: "text" };
import { WORDS_TOGETHER } from "./order.ts";
import scaleAffine from "./scale_affine.wgsl" with { type: "text" };
import scaleE4m3 from "./scale_e4m3.wgsl" with { type: "text" };
import scaleE8m0 from "./scale_e8m0.wgsl" with { type: "text" };
import scaleGrid from "./scale_grid.wgsl" with { type: "text" };

/** Access to every packed format. */
export const PACKED_ACCESS: Readonly<Record<PackedFormat, FormatAccess>> = {
  fp8_e4m3: byteFormat("fp8_e4m3", scaleGrid, loadFp8, atFp8, chunkFp8),
  fp8_block: byteFormat("fp8_block", scaleGrid, loadFp8, atFp8, chunkFp8),
  int8: byteFormat("int8", scaleGrid, loadInt8, atInt8, chunkInt8),
  int4: nibbleFormat("int4", [codesInt4, scaleGrid]),
  mxfp4: nibbleFormat("mxfp4", [codesFp4, scaleE8m0]),
  nvfp4: nibbleFormat("nvfp4", [codesFp4, scaleE4m3]),
  int8_affine: byteFormat("int8_affine", scaleAffine, loadInt8Affine, atInt8Affine),
  int4_affine: nibbleFormat("int4_affine", [codesUint4, scaleAffine], load4bitAffine, at4bitAffine),
};

function byteFormat(
  format: PackedFormat,
  scale: string,
  load: string,
  at: string,
  chunk?: string,
): FormatAccess {
  return {
    rowBytes: (columns) => columns,
    wordChunks: 2,
    load: [scale, load],
    at: [scale, at],
    ...(chunk && { chunkWords: { type: "array<vec2<u32>>", load: [scale, chunk] } }),
    wholeChunks: (spec) => blockOf(format, spec)[1] % 8 === 0,
    wholeWords: (spec) => blockOf(format, spec)[1] % 16 === 0,
    interleaved: (spec) => interleavedRows(format, spec, 16),
    scales: (name, spec) => scales(format, name, spec),
  };
}

function nibbleFormat(
  format: PackedFormat,
  shared: readonly string[],
  load = load4bit,
  at = at4bit,
): FormatAccess {
  const wordScales = format === "nvfp4" ? 2 : 1;
  return {
    rowBytes: (columns) => columns / 2,
    wordChunks: 4,
    load: [...shared, load],
    at: [...shared, at],
    ...(load === load4bit && { chunkWords: { type: "array<u32>", load: [...shared, chunk4bit] } }),
    wholeChunks: (spec) => blockOf(format, spec)[1] % 8 === 0,
    wholeWords: (spec) => blockOf(format, spec)[1] % (32 / wordScales) === 0,
    interleaved: (spec) => interleavedRows(format, spec, 32),
    scales(name, spec) {
      const { buffers, constants } = scales(format, name, spec);
      return { buffers, constants: { ...constants, [`${name}_WORD_SCALES`]: wordScales } };
    },
  };
}

/** Interleaved rows of whole words. */
function interleavedRows(
  format: PackedFormat,
  spec: WeightSpec,
  wordElements: number,
): InterleavedAccess | undefined {
  const words = spec.columns / wordElements;
  if (!Number.isInteger(words) || words < WORDS_TOGETHER) return undefined;
  return interleavedAccess(format, { words, block: blockOf(format, spec) });
}

/** Rows and columns of a block; 0 in a layout stands for the whole matrix. */
function blockOf(format: PackedFormat, spec: WeightSpec): readonly [number, number] {
  const [rows, columns] = spec.block ?? PACKED_LAYOUTS[format].defaultBlock;
  return [rows || matrixRows(spec), columns || spec.columns];
}

function matrixRows(spec: WeightSpec): number {
  return spec.matrixRows ??
    spec.payload.shape.slice(0, -1).reduce<number>((rows, dim) => rows * Number(dim), 1);
}

function scales(
  format: PackedFormat,
  name: string,
  spec: WeightSpec,
): { buffers: ShaderBuffer[]; constants: ShaderConstants } {
  const [blockRows, blockColumns] = blockOf(format, spec);
  const layout = PACKED_LAYOUTS[format];
  const [scale, second] = spec.scales ?? [];
  if (!scale || (layout.secondScale && !second)) {
    throw new KernelError(
      "kernel/scales",
      `Cannot read weight "${spec.payload.name}" of format "${format}": expected ${
        layout.secondScale ? 2 : 1
      } scale tensors, got ${spec.scales?.length ?? 0}`,
    );
  }
  const bind = (suffix: string, type: string, buffer: Value): ShaderBuffer => ({
    name: `${name}_${suffix}`,
    type,
    access: "read",
    buffer,
  });
  const element = layout.hasOffsets ? "vec2<f32>" : layout.scaleDtype === "f32" ? "f32" : "u32";
  const buffers = [bind("scale", `array<${element}>`, scale)];
  if (second && layout.secondScale) buffers.push(bind("scale_2", "array<f32>", second));
  return {
    buffers,
    constants: {
      [`${name}_MATRIX_ROWS`]: matrixRows(spec),
      [`${name}_BLOCK_ROWS`]: blockRows,
      [`${name}_BLOCK_COLUMNS`]: blockColumns,
      [`${name}_SCALE_ROWS`]: Math.ceil(matrixRows(spec) / blockRows),
      [`${name}_SCALE_COLUMNS`]: Math.ceil(spec.columns / blockColumns),
    },
  };
}
