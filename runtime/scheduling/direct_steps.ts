/**
 * Steps that make no text: logits of a whole sequence, and times of dispatches.
 *
 * @module
 */

import { GREEDY, invariant, type WatchedExperts } from "../../graph/mod.ts";
import { yieldToEventLoop } from "../event_loop.ts";
import type { DispatchTiming } from "../executor.ts";
import type { Scheduler } from "./scheduler.ts";
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
      all ??= new Float32Array(logits.length / part.length * tokens.length);
      all.set(logits, start * (logits.length / part.length));
      await yieldToEventLoop();
    }
    return all ?? new Float32Array();
  });
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
  { program }: Scheduler,
  watched: readonly WatchedExperts[],
): Promise<readonly ExpertLoad[]> {
  return countExperts(await program.recentOutputs(watched.map(({ output }) => output)), watched);
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

/**
 * Times of the dispatches of a step of `tokens` tokens after `context` others, which count as
 * computed. A step of one token is sampled as well.
 */
export function profileStep(
  scheduler: Scheduler,
  tokens: number,
  context: number,
): Promise<readonly DispatchTiming[] | undefined> {
  const { program, places } = scheduler;
  return scheduler.inPlace(context + tokens, async ({ slot }) =>
    await program.profile?.({
      ...flatten([{ tokens: new Int32Array(tokens), start: context, slot }]),
      blockTable: places.table(context + tokens),
      logitsRows: Int32Array.of(tokens - 1),
      want: tokens === 1 ? [GREEDY] : "logits",
      repeat: 1,
    }));
}
