/**
 * How kernels read weights. A weight is a matrix of rows in the checkpoint's own format, bound as
 * `array<vec4<u32>>`; this module picks the WGSL fragments that turn it into f32. Whatever the
 * format, a kernel sees the same names, here for a weight bound as `w`:
 *
 * | name | meaning |
 * |---|---|
 * | `w_COLUMNS` | elements of a row |
 * | `w_CHUNKS` | chunks of 8 elements in a word |
 * | `w_WORDS` | words of a row, the last one possibly not full |
 * | `w_Word` | what an invocation loads at a time (16 bytes where the format allows), scale included |
 * | `w_fetch(row, word) -> w_Word` | loads |
 * | `w_unpack(word, chunk) -> Chunk` | the elements of one chunk, in f32 |
 * | `w_dot(word, chunk, x: Chunk) -> f32` | their dot product with `x`; scales multiply once, at its end |
 *
 * Elements behind the end of a row read as 0, so `x` need only be finite there (the `rows_*`
 * fragments give 0 as well). `row` counts from the start of the weight even when only a part of it
 * is bound.
 *
 * @module
 */

import { DTYPE_BYTES, elementCount, invariant, type WeightFormat } from "../../graph/mod.ts";
import { instantiate, type ShaderBuffer } from "../compose.ts";
import type { WordOrder } from "../kernel.ts";
import {
  type Access,
  constants,
  type FormatAccess,
  fragments,
  joinAccess,
  type WeightSpec,
} from "./access.ts";
import atBf16 from "./at_bf16.wgsl" with { type: "text" };
import atF16 from "./at_f16.wgsl" with { type: "text" };
import atF32 from "./at_f32.wgsl" with { type: "text" };
import chunk from "./chunk.wgsl" with { type: "text" };
import loadBf16 from "./load_bf16.wgsl" with { type: "text" };
import loadF16 from "./load_f16.wgsl" with { type: "text" };
import loadF32 from "./load_f32.wgsl" with { type: "text" };
import loadRagged from "./load_ragged.wgsl" with { type: "text" };
import { canOrder, codeOrder } from "./order.ts";
import { PACKED_ACCESS } from "./packed.ts";
import placeInterleaved from "./place_interleaved.wgsl" with { type: "text" };
import placePlain from "./place_plain.wgsl" with { type: "text" };

const FORMATS: Readonly<Record<WeightFormat, FormatAccess>> = {
  ...PACKED_ACCESS,
  f32: { rowBytes: (columns) => columns * 4, wordChunks: 1, load: [loadF32], at: [atF32] },
  f16: { rowBytes: (columns) => columns * 2, wordChunks: 1, load: [loadF16], at: [atF16] },
  bf16: { rowBytes: (columns) => columns * 2, wordChunks: 1, load: [loadBf16], at: [atBf16] },
};

/** Formats that {@linkcode weightAccess} reads. */
export function readableFormats(): readonly WeightFormat[] {
  return Object.keys(FORMATS) as WeightFormat[];
}

/** Bytes of one row's payload in a format. */
export function weightRowBytes(format: WeightFormat, columns: number): number {
  return FORMATS[format].rowBytes(columns);
}

/** Bytes of all scales of a weight. */
export function scaleBytes({ scales = [] }: WeightSpec): number {
  return scales.reduce(
    (sum, { dtype, shape }) => sum + DTYPE_BYTES[dtype] * elementCount(shape.map(Number)),
    0,
  );
}

/** Chunks of 8 elements in one word of a format, at most. */
export function wordChunks(format: WeightFormat): number {
  return FORMATS[format].wordChunks;
}

/** The fragments, constants and buffers for a weight that the shader calls `name`. */
export function weightAccess(name: string, spec: WeightSpec): Access {
  const format = FORMATS[spec.format];
  const scales = format.scales?.(name, spec);
  const words = wordsOf(format, spec);
  const { codes, scale } = words.orders ?? {};
  const payload = payloadBuffer(name, spec, format, words.type);
  const ordered = scale && { order: scale };
  return {
    buffers: [
      { ...payload, ...(codes && { order: codes }) },
      ...(scales?.buffers ?? []).map((each, i) => i === 0 ? { ...each, ...ordered } : each),
    ],
    fragments: [chunk, ...words.load.map((text) => instantiate(text, { NAME: name }))],
    constants: {
      [`${name}_COLUMNS`]: spec.columns,
      [`${name}_CHUNKS`]: words.wordChunks,
      [`${name}_WORDS`]: Math.ceil(spec.columns / (8 * words.wordChunks)),
      [`${name}_FIRST_ROW`]: spec.part?.firstRow ?? 0,
      ...(codes && {
        [`${name}_INTERLEAVED`]: codes.columns,
        [`${name}_SCALE_ROWS_TOGETHER`]: scale?.rows ?? 1,
      }),
      ...scales?.constants,
    },
  };
}

/**
 * `name_place(word, chunk)`: which chunk of a row that is, and so which chunk of x it meets. For kernels
 * whose weights may be interleaved.
 */
export function placeAccess(name: string, spec: WeightSpec): Access {
  return placeText(name, wordsOf(FORMATS[spec.format], spec).orders !== undefined);
}

/**
 * `name_place(word, chunk)` for who reads rows in the order of a weight without reading the weight, with
 * the constants for it.
 */
export function placeOf(name: string, spec?: WeightSpec): Access {
  const all = spec ? weightAccess("w", spec).constants : {};
  const isInterleaved = all.w_INTERLEAVED !== undefined;
  const known = isInterleaved
    ? ["CHUNKS", "WORDS", "INTERLEAVED"].map((each) => [`${name}_${each}`, all[`w_${each}`]])
    : [[`${name}_CHUNKS`, 1]];
  return joinAccess(constants(Object.fromEntries(known)), placeText(name, isInterleaved));
}

function placeText(name: string, isInterleaved: boolean): Access {
  return fragments(instantiate(isInterleaved ? placeInterleaved : placePlain, { NAME: name }));
}

/** What an invocation loads at a time, and how. */
interface Words {
  readonly wordChunks: number;
  readonly type: string;
  readonly load: readonly string[];
  readonly orders?: { readonly codes: WordOrder; readonly scale?: WordOrder };
}

/** Words of 16 bytes. */
const WIDE = "array<vec4<u32>>";

/** The widest words that the sizes allow, in the order that is wanted, or chunks. */
function wordsOf(format: FormatAccess, spec: WeightSpec): Words {
  const { chunkWords, wordChunks, load, at, wholeWords, wholeChunks } = format;
  const interleaved = spec.interleaved && planInterleaving(format, spec);
  if (interleaved) return interleaved;
  if (spec.chunkWords && chunkWords && spec.columns % 8 === 0 && (wholeChunks?.(spec) ?? true)) {
    return { wordChunks: 1, ...chunkWords };
  }
  if ((wholeWords?.(spec) ?? true) && spec.columns % (8 * wordChunks) === 0) {
    return { wordChunks, type: WIDE, load };
  }
  return { wordChunks: 1, type: WIDE, load: [...at, loadRagged] };
}

/** Interleaved words, where the format and the sizes allow them. */
function planInterleaving(format: FormatAccess, spec: WeightSpec): Words | undefined {
  const found = format.interleaved?.(spec);
  if (!found) return undefined;
  const { wordChunks } = format;
  const { load, scaleOrder: scale, arranged } = found;
  const codes = codeOrder(spec.columns / (8 * wordChunks), wordChunks, arranged);
  const rows = elementCount(spec.payload.shape.slice(0, -1).map(Number));
  if (!canOrder(codes, rows) || (scale && !canOrder(scale, rows))) return undefined;
  return {
    ...{ wordChunks, type: WIDE, load: [...load, placeInterleaved] },
    orders: { codes, ...(scale && { scale }) },
  };
}

function payloadBuffer(
  name: string,
  spec: WeightSpec,
  format: FormatAccess,
  type: string,
): ShaderBuffer {
  const buffer = { name, type, access: "read", buffer: spec.payload } as const;
  if (!spec.part) return buffer;
  const rowBytes = format.rowBytes(spec.columns);
  const range = { offset: spec.part.firstRow * rowBytes, bytes: spec.part.rows * rowBytes };
  invariant(range.offset % 256 === 0, `part of "${spec.payload.name}" starts at ${range.offset}`);
  return { ...buffer, range };
}
