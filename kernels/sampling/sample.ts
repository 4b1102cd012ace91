/**
 * Sampling on the device: one dispatch after the logits. Not an op of the graph; the runtime adds
 * it to a step that wants tokens. `kernels/cpu/sample.ts` describes the algorithm.
 *
 * Memory beside the graph's own values, as `state` bindings:
 *
 * | name | layout |
 * |---|---|
 * | `draws` | `[R]` records of {@linkcode DRAW_WORDS} words, see {@linkcode encodeDraw} |
 * | `seen` | `[slots, seenWords]` u32: bit `id % 32` of word `id / 32` for every token seen |
 * | `history` | `[steps, R]` i32: the tokens of step `counter`; -1 where the logits were not finite |
 * | `counter` | `[1]` u32: counts up at the end of each step |
 *
 * @module
 */

import type { Sampling } from "../../graph/mod.ts";
import { type Access, constants, fragments, reads, writes } from "../access/access.ts";
import { STEP } from "../access/extent.ts";
import { LOWEST } from "../compose.ts";
import { composeDispatch } from "../dispatch.ts";
import type { Binding, Dispatch, LoweringContext } from "../kernel.ts";
import { ticketPartials } from "../reduce/partials.ts";
import candidates from "./candidates.wgsl" with { type: "text" };
import decide from "./decide.wgsl" with { type: "text" };
import decideBody from "./decide_dispatch.wgsl" with { type: "text" };
import reduce from "./reduce.wgsl" with { type: "text" };
import rowText from "./row.wgsl" with { type: "text" };
import sampleBody from "./sample.wgsl" with { type: "text" };
import scan from "./scan.wgsl" with { type: "text" };

/** Words of one row's record in `draws`. */
export const DRAW_WORDS = 8;

const INVOCATIONS = 256;
/** Logits that an invocation holds in registers, at most. */
const MOST_PER = 16;
/** Candidates that the last workgroup of a row sorts, at most. */
const MOST_CANDIDATES = 2048;
const RECORD_WORDS = 8;

/** How one row is drawn. */
export interface Draw extends Sampling {
  /** Row of `seen`. */
  readonly slot: number;
  /** The token becomes the next one of its row, one position later. */
  readonly advance: boolean;
}

/** The words of a row's record. */
export function encodeDraw(draw: Draw): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array(DRAW_WORDS);
  const floats = new Float32Array(words.buffer);
  floats[0] = draw.temperature;
  words[1] = draw.topK;
  floats[2] = draw.topP;
  floats[3] = draw.minP;
  floats[4] = draw.repetitionPenalty;
  words[5] = draw.seed;
  words[6] = draw.slot;
  words[7] = draw.advance ? 1 : 0;
  return words;
}

/** Words of one slot of `seen`. */
export function seenWords(vocabulary: number): number {
  return Math.ceil(vocabulary / 32);
}

/** Bytes of the state that sampling needs. */
export function samplingStateBytes(
  sizes: { vocabulary: number; slots: number; maxRows: number; maxSteps: number },
): Readonly<Record<"draws" | "seen" | "history" | "counter", number>> {
  return {
    draws: sizes.maxRows * DRAW_WORDS * 4,
    seen: sizes.slots * seenWords(sizes.vocabulary) * 4,
    history: sizes.maxSteps * sizes.maxRows * 4,
    counter: 4,
  };
}

/** What sampling reads and writes besides its state. */
export interface SamplingProblem {
  readonly vocabulary: number;
  /** [R, V] f32 */
  readonly logits: Binding["buffer"];
  /** [R] i32: token of the step that a row belongs to. */
  readonly logitsRows: Binding["buffer"];
  /** [T] i32; written with `advance`. */
  readonly tokenIds: Binding["buffer"];
  /** [T] i32; written with `advance`. */
  readonly positions: Binding["buffer"];
}

/** Sizes by vocabulary and device; a small vocabulary makes a short shader. */
function shapeOf(vocabulary: number, { profile }: Pick<LoweringContext, "profile">) {
  const per = Math.min(MOST_PER, Math.ceil(vocabulary / INVOCATIONS));
  const chunk = INVOCATIONS * per;
  const chunks = Math.ceil(vocabulary / chunk);
  // Three arrays of candidates, and some 7 KiB for bins and trees.
  let capacity = INVOCATIONS;
  while (capacity < Math.min(vocabulary, MOST_CANDIDATES)) capacity *= 2;
  while (capacity > INVOCATIONS && 12 * capacity + 7300 > profile.maxWorkgroupStorageBytes) {
    capacity /= 2;
  }
  return { per, chunk, chunks, capacity, chunkCandidates: Math.floor(capacity / chunks) };
}

/** The dispatches that draw a token for every row: one, or two when hand-over needs a second. */
export function lowerSampling(
  problem: SamplingProblem,
  context: Pick<LoweringContext, "profile" | "maxRows" | "handOff">,
): Dispatch[] {
  const { vocabulary } = problem;
  const shape = shapeOf(vocabulary, context);
  const ticket = (context.handOff ?? "ticket") === "ticket";
  const accesses = [
    constants({
      INVOCATIONS,
      PER: shape.per,
      CHUNK: shape.chunk,
      CHUNKS: shape.chunks,
      CAPACITY: shape.capacity,
      CHUNK_CANDIDATES: shape.chunkCandidates,
      V: vocabulary,
      SEEN_WORDS: seenWords(vocabulary),
      ROWS: context.maxRows,
      TICKET: ticket,
      LOWEST,
    }),
    ...samplingBuffers(problem, shape, context.maxRows),
    fragments(rowText, reduce, candidates, scan, decide),
  ];
  const first = composeDispatch({
    kernel: "sample",
    accesses,
    body: sampleBody,
    workgroups: ({ R }) => [shape.chunks, R, 1],
  });
  if (ticket) return [first];
  const second = composeDispatch({
    kernel: "sample_decide",
    accesses,
    body: decideBody,
    workgroups: ({ R }) => [R, 1, 1],
  });
  return [first, second];
}

function samplingBuffers(
  problem: SamplingProblem,
  { chunks, chunkCandidates }: ReturnType<typeof shapeOf>,
  maxRows: number,
): Access[] {
  const words = maxRows * chunks * (RECORD_WORDS + 2 * chunkCandidates);
  const state = (name: string): Binding["buffer"] => ({ kind: "state", name });
  return [
    reads("logits", "f32", problem.logits),
    reads("draws", "Draw", state("draws")),
    reads("logits_rows", "i32", problem.logitsRows),
    writes("token_ids", "i32", problem.tokenIds),
    writes("positions", "i32", problem.positions),
    writes("seen", "atomic<u32>", state("seen")),
    writes("history", "i32", state("history")),
    writes("counter", "atomic<u32>", state("counter")),
    // One ticket for each row, and one for the step.
    ticketPartials({ name: "partials", numbers: words, tickets: maxRows + 1 }),
    STEP,
  ];
}
