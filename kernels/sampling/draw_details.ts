/**
 * Draws that need more than their logits: numbers added to some of them, tokens that may not be
 * drawn, log-probabilities. Two dispatches, one before and one after sampling, which only steps
 * with such draws run. `kernels/cpu/sample.ts` describes what they compute.
 *
 * Memory, as `state` bindings:
 *
 * | name | layout |
 * |---|---|
 * | `draw_details` | a header of 4 words a row (first pair, pairs, 1 with a mask, likeliest tokens + 1), then pairs of a token and an f32 that is added to its logit |
 * | `masks` | `[R, seenWords]` u32: bit `id % 32` of word `id / 32` for every token that may be drawn |
 * | `logprobs` | `[R, LOGPROB_WORDS]`: f32 of the token drawn, number of likeliest, pairs of a token and an f32 |
 *
 * @module
 */

import { type DrawDetails, MOST_LOGPROBS, type TokenLogprobs } from "../../graph/mod.ts";
import { constants, fragments, reads, writes } from "../access/access.ts";
import { LOWEST } from "../compose.ts";
import { composeDispatch } from "../dispatch.ts";
import type { Binding, Dispatch } from "../kernel.ts";
import adjustBody from "./adjust.wgsl" with { type: "text" };
import logprobsBody from "./logprobs.wgsl" with { type: "text" };
import reduce from "./reduce.wgsl" with { type: "text" };
import { seenWords } from "./sample.ts";

/** Words of one row of `logprobs`. */
export const LOGPROB_WORDS = 2 + 2 * MOST_LOGPROBS;

const HEADER_WORDS = 4;
const INVOCATIONS = 256;

/** The content of `draw_details` for a step whose rows are at most `maxRows`. */
export function encodeDetails(
  rows: readonly DrawDetails[],
  maxRows: number,
): Uint32Array<ArrayBuffer> {
  const pairs = rows.reduce((sum, { adjust }) => sum + (adjust?.ids.length ?? 0), 0);
  const words = new Uint32Array(maxRows * HEADER_WORDS + 2 * pairs);
  const floats = new Float32Array(words.buffer);
  let first = 0;
  for (const [row, { adjust, allowed, logprobs }] of rows.entries()) {
    const count = adjust?.ids.length ?? 0;
    const header = [first, count, allowed ? 1 : 0, logprobs === undefined ? 0 : logprobs + 1];
    words.set(header, row * HEADER_WORDS);
    for (let i = 0; adjust && i < count; i++) {
      const at = maxRows * HEADER_WORDS + 2 * (first + i);
      words[at] = adjust.ids[i];
      floats[at + 1] = adjust.values[i];
    }
    first += count;
  }
  return words;
}

/** The log-probabilities of a row, from its record in `logprobs`. */
export function decodeLogprobs(record: Uint32Array<ArrayBuffer>): TokenLogprobs {
  const floats = new Float32Array(record.buffer, record.byteOffset, record.length);
  const top = Array.from({ length: record[1] }, (_, i) => ({
    token: record[2 + 2 * i],
    logprob: floats[3 + 2 * i],
  }));
  return { logprob: floats[0], top };
}

/** The dispatches around sampling: `before` changes logits, `after` reports on them. */
export function lowerDrawDetails(
  { vocabulary, logits, maxRows }: {
    readonly vocabulary: number;
    /** [R, V] f32 */
    readonly logits: Binding["buffer"];
    readonly maxRows: number;
  },
): { readonly before: Dispatch; readonly after: Dispatch } {
  const state = (name: string): Binding["buffer"] => ({ kind: "state", name });
  const common = [
    constants({ INVOCATIONS, V: vocabulary, LOWEST, HEADER_WORDS }),
    reads("draw_details", "u32", state("draw_details")),
  ];
  const workgroups: Dispatch["workgroups"] = ({ R }) => [R, 1, 1];
  const before = composeDispatch({
    kernel: "sample_adjust",
    accesses: [
      ...common,
      constants({ SEEN_WORDS: seenWords(vocabulary), ENTRIES: maxRows * HEADER_WORDS }),
      writes("logits", "f32", logits),
      reads("masks", "u32", state("masks")),
    ],
    body: adjustBody,
    workgroups,
  });
  const after = composeDispatch({
    kernel: "sample_logprobs",
    accesses: [
      ...common,
      constants({ RECORD_WORDS: LOGPROB_WORDS }),
      reads("logits", "f32", logits),
      reads("history", "i32", state("history")),
      writes("logprobs", "u32", state("logprobs")),
      fragments(reduce),
    ],
    body: logprobsBody,
    workgroups,
  });
  return { before, after };
}
