/**
 * How kernels read rows of f32 activations.
 *
 * @module
 */

import { instantiate, type ShaderBuffer } from "../compose.ts";
import type { Access } from "./access.ts";
import chunk from "./chunk.wgsl" with { type: "text" };
import rowsRagged from "./rows_ragged.wgsl" with { type: "text" };
import rowsVec4 from "./rows_vec4.wgsl" with { type: "text" };

/**
 * Rows of f32 activations as `name_chunk(row, chunk) -> Chunk`, zero behind the end of a row.
 * `name_at` is not given: index the buffer, which is an `array<vec4<f32>>` when the columns are a
 * multiple of 8 and an `array<f32>` otherwise.
 */
export function rowsAccess(
  name: string,
  columns: number,
  binding: Pick<ShaderBuffer, "buffer" | "range">,
): Access {
  const aligned = columns % 8 === 0;
  const type = aligned ? "array<vec4<f32>>" : "array<f32>";
  return {
    buffers: [{ ...binding, name, type, access: "read" }],
    fragments: [chunk, instantiate(aligned ? rowsVec4 : rowsRagged, { NAME: name })],
    constants: { [`${name}_COLUMNS`]: columns },
  };
}
