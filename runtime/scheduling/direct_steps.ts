/**
 * Steps that make no text: logits of a whole sequence, and times of dispatches.
 *
 * @module
 */

import { DeviceError, GREEDY, invariant, messageOf, type WatchedExperts } from "../../graph/mod.ts";
import { yieldToEventLoop } from "../event_loop.ts";
import type { DispatchTiming } from "../executor.ts";
import type { Scheduler } from "./scheduler.ts";
import { longestSequence, type StepLimits } from "./step_limits.ts";
import { flatten } from "./step_plan.ts";

/** Logits of every row of a sequence `[tokens, vocab]`, computed chunk by chunk. */
export function sequenceLogits(
  scheduler: Scheduler,
  tokens: Int32Array<ArrayBuffer>,
): Promise<Float32Array<ArrayBuffer>> {
  const { program, places, limits: { maxTokens, maxRows, recompute } } = scheduler;
  const chunk = recompute ? tokens.length : Math.min(maxTokens, maxRows);
  return scheduler.inPlace(tokens.length, async ({ slot }) => {
    let all: Float32Array<ArrayBuffer> | undefined;
    for (let start = 0; start < tokens.length; start += chunk) {
      const part = tokens.subarray(start, start + chunk);
      const { logits } = await program.step({
        ...flatten([{ tokens: part, start, slot }]),
        blockTable: places.table(start + part.length),
        logitsRows: Int32Array.from(part.keys()),
        want: "logits",
        repeat: 1,
        isWanted: () => !scheduler.closed,
      });
      invariant(logits, "the program gave no logits");
      all ??= roomFor(logits.length / part.length * tokens.length);
      all.set(logits, start * (logits.length / part.length));
      await yieldToEventLoop();
    }
    return all ?? new Float32Array();
  });
}

function roomFor(numbers: number): Float32Array<ArrayBuffer> {
  try {
    return new Float32Array(numbers);
  } catch (cause) {
    throw new DeviceError(
      "device/out-of-memory",
      `Cannot compute logits: expected ${4 * numbers} bytes of host memory, got "${
        messageOf(cause)
      }"`,
      { hint: "Split the sequence", details: { bytes: 4 * numbers }, cause },
    );
  }
}

/** How often the tokens of a step chose each expert of one MoE layer. JSON-safe. */
export interface ExpertLoad {
  /** Module path of the layer. */
  readonly scope: string;
  /** Choices by expert; their sum is the tokens times the experts of a token. */
  readonly counts: readonly number[];
}

/** The choices of the first tokens of a sequence, as many as one step holds, layer by layer. */
export function expertLoad(
  scheduler: Scheduler,
  sequence: Int32Array<ArrayBuffer>,
  watched: readonly WatchedExperts[],
): Promise<readonly ExpertLoad[]> {
  const { program, places, limits: { maxTokens } } = scheduler;
  const tokens = sequence.subarray(0, maxTokens);
  return scheduler.inPlace(tokens.length, async ({ slot }) => {
    const chosen = await program.outputs({
      ...flatten([{ tokens, start: 0, slot }]),
      blockTable: places.table(tokens.length),
      logitsRows: Int32Array.of(tokens.length - 1),
      want: "logits",
      repeat: 1,
    }, watched.map(({ output }) => output));
    return countExperts(chosen, watched);
  });
}

/** The choices of the step that ran last; empty before the first one. */
export async function recentExpertLoad(
  scheduler: Scheduler,
  watched: readonly WatchedExperts[],
): Promise<readonly ExpertLoad[]> {
  const names = watched.map(({ output }) => output);
  const chosen = await scheduler.untilDone(scheduler.program.recentOutputs(names));
  return countExperts(chosen, watched);
}

function countExperts(
  chosen: Readonly<Record<string, ArrayLike<number>>>,
  watched: readonly WatchedExperts[],
): ExpertLoad[] {
  return watched.flatMap(({ output, scope, experts }) => {
    const ids = Object.hasOwn(chosen, output) ? Array.from(chosen[output]) : [];
    if (ids.length === 0) return [];
    const counts = Array<number>(experts).fill(0);
    for (const id of ids) if (id >= 0 && id < experts) counts[id]++;
    return [{ scope, counts }];
  });
}

/** A step whose dispatches are timed. */
export interface ProfiledStep {
  /** Tokens of each sequence. */
  readonly tokens: number;
  /** Tokens of each sequence before them, which count as computed. */
  readonly context: number;
  readonly sequences: number;
  /** Ids are below this. */
  readonly vocabSize: number;
}

/** Why a deployment has no step of that size: what was expected and what is there; else undefined. */
export function refuseStep(
  limits: StepLimits,
  { tokens, context, sequences }: Omit<ProfiledStep, "vocabSize">,
): string | undefined {
  const { maxTokens, maxSequences, maxRows, pages, pageSize, recompute } = limits;
  const mostSequences = recompute ? 1 : Math.min(maxSequences, maxRows, pages, maxTokens);
  if (!Number.isInteger(sequences) || sequences < 1 || sequences > mostSequences) {
    return `expected 1 to ${mostSequences} sequences, got ${sequences}`;
  }
  const ownPages = Math.floor(pages / sequences) * pageSize;
  const room = Math.min(longestSequence(limits), ownPages) - 1;
  if (!Number.isInteger(context) || context < 0 || context > (recompute ? 0 : room)) {
    return `expected a context of 0 to ${recompute ? 0 : room} tokens, got ${context}`;
  }
  const most = Math.min(Math.floor(maxTokens / sequences), room + 1 - context);
  return Number.isInteger(tokens) && tokens >= 1 && tokens <= most
    ? undefined
    : `expected 1 to ${most} tokens after ${context}${
      sequences > 1 ? ` in each of ${sequences} sequences` : ""
    }, got ${tokens}`;
}

/** Times of the dispatches of a step. Sequences of one token are sampled as well. */
export function profileStep(
  scheduler: Scheduler,
  { tokens, context, sequences, vocabSize }: ProfiledStep,
): Promise<readonly DispatchTiming[] | undefined> {
  const { program, places } = scheduler;
  return scheduler.inPlaces(sequences, context + tokens, async (taken) => {
    const ids = differentIds(sequences * tokens, vocabSize);
    return await program.profile?.({
      ...flatten(taken.map(({ slot }, i) => ({
        ...{ tokens: ids.subarray(i * tokens, (i + 1) * tokens), start: context, slot },
      }))),
      blockTable: places.table(context + tokens),
      logitsRows: Int32Array.from(taken, (_, i) => (i + 1) * tokens - 1),
      want: tokens === 1 ? taken.map(() => GREEDY) : "logits",
      repeat: 1,
    });
  });
}

/** Ids all over a vocabulary, others for each seed: equal tokens would all choose the same experts. */
export function differentIds(
  count: number,
  vocabSize: number,
  seed = 1,
): Int32Array<ArrayBuffer> {
  let state = seed;
  return Int32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state >>> 4) % vocabSize;
  });
}
