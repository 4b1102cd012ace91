/**
 * Loading a program: weights come to the device while its lists of dispatches are made ready; lists in
 * which layers keep f32 operands take their place where the weights demand it.
 *
 * @module
 */

import type { Value } from "../../graph/mod.ts";
import { allOrNone } from "../all_or_none.ts";
import type { CompileOptions } from "../executor.ts";
import type { LargestNumbers } from "../weight_loading.ts";
import {
  type F32Reasons,
  measuredValues,
  nodesBeyondHalves,
  type OperandNodes,
} from "./plan/half_range.ts";
import type { LoweredGraph } from "./plan/lower.ts";
import { StepLists } from "./step_lists.ts";

/** The lists of a program whose weights are on the device; `lower` makes those that keep f32. */
export async function loadAndPrepare(
  lists: StepLists,
  nodes: OperandNodes,
  lower: (keepsF32: F32Reasons) => readonly LoweredGraph[],
  options: CompileOptions,
): Promise<StepLists> {
  const largest = await loadWhilePreparing(lists, options, measuredValues(nodes));
  const kept = nodesBeyondHalves(nodes, ({ id }) => largest.get(id));
  return kept.size === 0 ? lists : await prepareAnew(lists, lower(kept), options);
}

/** Tells the largest numbers of the weights that are measured. */
async function loadWhilePreparing(
  lists: StepLists,
  options: CompileOptions,
  measured: readonly Value[],
): Promise<LargestNumbers> {
  let largest: LargestNumbers = new Map();
  await allOrNone(options.signal, [
    async (signal) => {
      largest = await lists.memory.weights.load({ ...options, signal }, measured);
    },
    (signal) => prepare(lists, options, signal),
  ]);
  options.signal?.throwIfAborted();
  return largest;
}

/** Other lists in the same memory, in place of those before. */
async function prepareAnew(
  { context, memory }: StepLists,
  lowered: readonly LoweredGraph[],
  options: CompileOptions,
): Promise<StepLists> {
  await memory.planAnew(lowered);
  const lists = new StepLists(context, lowered, memory);
  await prepare(lists, options, options.signal);
  options.signal?.throwIfAborted();
  return lists;
}

/**
 * Makes ready what any request may need, so that none waits for a compiler; on a software adapter, whose
 * compiler takes longer than small steps, the list of single tokens.
 */
async function prepare(
  lists: StepLists,
  { compileAll = !lists.context.device.profile.software }: CompileOptions,
  signal?: AbortSignal,
): Promise<void> {
  await lists.prepareAll(compileAll ? lists.lowered : lists.lowered.slice(0, 1), signal);
  if (compileAll) await lists.prepareDetails(signal);
}
