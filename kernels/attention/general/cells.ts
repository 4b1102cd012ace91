/**
 * Caches as single numbers, for kernels whose rows are no multiples of vectors.
 *
 * @module
 */

import type { CacheDtype } from "../../../graph/mod.ts";
import type { Access } from "../../access/access.ts";
import { instantiate } from "../../compose.ts";
import type { CacheBuffer } from "../../kernel.ts";
import e4m3 from "./cells_e4m3.wgsl" with { type: "text" };
import e4m3Store from "./cells_e4m3_store.wgsl" with { type: "text" };
import f16 from "./cells_f16.wgsl" with { type: "text" };
import f16Store from "./cells_f16_store.wgsl" with { type: "text" };
import f32 from "./cells_f32.wgsl" with { type: "text" };
import f32Store from "./cells_f32_store.wgsl" with { type: "text" };

const CELLS = {
  f32: { type: "array<f32>", pack: 1, load: f32, store: f32Store },
  f16: { type: "array<u32>", pack: 2, load: f16, store: f16Store },
  f8_e4m3: { type: "array<u32>", pack: 4, load: e4m3, store: e4m3Store },
} as const;

/** Numbers that share a word; a row has to be a multiple of it. */
export function packOf(format: CacheDtype): number {
  return CELLS[format].pack;
}

/** `{part}_cell(i)` and, to write, `{part}_store(word, values)`. */
export function cellAccess(
  cache: string,
  parts: readonly CacheBuffer["part"][],
  format: CacheDtype,
  access: "read" | "read_write",
): Access {
  const { type, pack, load, store } = CELLS[format];
  const texts = access === "read" ? [load] : [load, store];
  return {
    buffers: parts.map((part) => ({
      name: part,
      type,
      access,
      buffer: { kind: "cache", cache, part },
    })),
    fragments: parts.flatMap((NAME) => texts.map((text) => instantiate(text, { NAME }))),
    constants: { PACK: pack },
  };
}
