/**
 * Which tokens a step computes. Each decoding sequence adds its newest token; the room that is left
 * goes to prompts, in chunks.
 *
 * @module
 */

import type { RowDraw, StepRequest } from "../executor.ts";
import type { SequenceState } from "./sequence.ts";

/** Tokens that one sequence adds to a step. */
export interface Share {
  readonly state: SequenceState;
  readonly start: number;
  readonly end: number;
  /** How the token after them is drawn; undefined in the middle of a prompt. */
  readonly draw?: RowDraw;
}

/**
 * Divides the tokens of a step among sequences. Half of the room for prompts is the oldest one's;
 * the rest goes to the one with the fewest tokens left, so that a long prompt does not hold up
 * short ones and is not held up by them.
 */
export function shareTokens(ready: readonly SequenceState[], maxTokens: number): Share[] {
  const decoding = ready.filter((state) => state.decoding);
  const shares = decoding.slice(0, maxTokens).map((state) => shareOf(state, 1));
  const prompts = ready.filter((state) => !state.decoding);
  let room = maxTokens - shares.length;
  if (prompts.length === 0 || room === 0) return shares;
  const oldest = prompts.reduce((a, b) => a.arrival < b.arrival ? a : b);
  const byNeed = prompts.toSorted((a, b) => missing(a) - missing(b) || a.arrival - b.arrival);
  let kept = Math.min(missing(oldest), Math.ceil(room / 2));
  for (const state of byNeed) {
    if (state === oldest) kept = 0;
    const count = Math.min(missing(state), room - kept);
    if (count > 0) shares.push(shareOf(state, count));
    room -= Math.max(0, count);
  }
  return shares;
}

/** A graph without caches computes one sequence from its beginning. */
export function wholeSequence(state: SequenceState): Share {
  return { state, start: 0, end: state.length };
}

function missing(state: SequenceState): number {
  return state.length - state.computed;
}

function shareOf(state: SequenceState, count: number): Share {
  return { state, start: state.computed, end: state.computed + count };
}

/** Whether the tokens are part of the prompt. */
export function isPrompt({ state, start }: Share): boolean {
  return start < state.sequence.prompt.length;
}

/** Whether the last of the tokens is the newest of its sequence, and so gets a next one. */
export function isSampled({ state, end }: Share): boolean {
  return end === state.length;
}

/** Tokens of a sequence in a step: which, from which position on, for which row of the block table. */
export interface Run {
  readonly tokens: Int32Array<ArrayBuffer>;
  readonly start: number;
  readonly slot: number;
}

/** Token ids, positions and sequence ids of several runs of tokens, one after the other. */
export function flatten(
  runs: readonly Run[],
): Pick<StepRequest, "tokenIds" | "positions" | "sequenceIds"> {
  const total = runs.reduce((sum, { tokens }) => sum + tokens.length, 0);
  const tokenIds = new Int32Array(total);
  const positions = new Int32Array(total);
  const sequenceIds = new Int32Array(total);
  let at = 0;
  for (const { tokens, start, slot } of runs) {
    tokenIds.set(tokens, at);
    for (let i = 0; i < tokens.length; i++) positions[at + i] = start + i;
    sequenceIds.fill(slot, at, at + tokens.length);
    at += tokens.length;
  }
  return { tokenIds, positions, sequenceIds };
}
