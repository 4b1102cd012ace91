/**
 * How the kernels that go slot by slot get at the rows they multiply. Where an invocation reads 16
 * bytes of 4-bit codes, its neighbours' elements are 32 further on, and reading them row by row costs
 * a GPU more than the weights do: x then goes through workgroup memory, and activated products lie
 * in the order in which they will be read.
 *
 * @module
 */

import { type Access, constants, joinAccess } from "../../access/access.ts";
import chunk from "../../access/chunk.wgsl" with { type: "text" };
import { rowsAccess } from "../../access/rows.ts";
import type { Scratch } from "../../kernel.ts";
import type { DeviceMoeSpec } from "../spec.ts";
import actRows from "./act_rows.wgsl" with { type: "text" };
import actWords from "./act_words.wgsl" with { type: "text" };
import actWordsRead from "./act_words_read.wgsl" with { type: "text" };
import { type Layer, layerScratch } from "./layer.ts";
import xMemory from "./x_memory.wgsl" with { type: "text" };
import xWorkgroup from "./x_workgroup.wgsl" with { type: "text" };

/** Elements of a wide word of 4-bit codes, and words that neighbours read at the same time. */
const WORD = 32;

/** Rows of the second product, and where the first one puts them. */
export interface ProductRows {
  /** `act_place`. */
  readonly put: Access;
  /** `act_chunk`. */
  readonly act: Access;
  readonly scratch: Scratch;
}

/** Rows of both products. */
export interface SlotRows extends ProductRows {
  /** `x_stage` and `x_near`. */
  readonly x: Access;
}

/** The rows of a layer; `chunks` of a word of its up and its down weights. */
export function slotRows(
  { spec }: Layer,
  chunks: { readonly up: number; readonly down: number },
): SlotRows {
  const plain = spec.profile.software || spec.activationQuant !== "none";
  const staged = !plain && chunks.up * 8 === WORD &&
    spec.hidden * 4.5 <= spec.profile.maxWorkgroupStorageBytes / 2;
  const ordered = !plain && chunks.down * 8 === WORD;
  return {
    x: fragment(staged ? xWorkgroup : xMemory),
    ...(ordered ? orderedProducts(spec) : productRows(spec)),
  };
}

/** Activated products row by row, `[tokens · slots, intermediate]`. */
export function productRows(spec: DeviceMoeSpec): ProductRows {
  const { tokens, topK, intermediate } = spec;
  const scratch = layerScratch("moe_act", tokens.max * topK * intermediate);
  return {
    put: fragment(actRows),
    act: rowsAccess("act", intermediate, { buffer: scratch }),
    scratch,
  };
}

function orderedProducts({ tokens, topK, intermediate }: DeviceMoeSpec): ProductRows {
  const words = Math.ceil(intermediate / WORD / WORD) * WORD;
  const scratch = layerScratch("moe_act", tokens.max * topK * words * WORD);
  const order = constants({ ACT_WORDS: words });
  const buffer = {
    name: "act",
    type: "array<vec4<f32>>",
    access: "read",
    buffer: scratch,
  } as const;
  return {
    put: joinAccess(order, fragment(actWords)),
    act: joinAccess(order, {
      buffers: [buffer],
      fragments: [chunk, actWordsRead],
      constants: {},
    }),
    scratch,
  };
}

function fragment(text: string): Access {
  return { buffers: [], fragments: [text], constants: {} };
}
