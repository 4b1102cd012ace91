/**
 * What a dispatch list costs, counted from the list itself: dispatches, how many of them wait for
 * one another, and the bytes of weights they read.
 *
 * @module
 */

import type { StepSizes, TokenRange } from "../../../kernels/mod.ts";
import { hasWork, type LoweredDispatch, type LoweredGraph } from "./lower.ts";

/** Dispatches of some part of a list, and the longest chain of them that wait for one another. */
export interface DispatchCount {
  readonly dispatches: number;
  readonly dependent: number;
}

/**
 * Counts of what one list runs in its smallest step: `tokens.min` tokens, and one row of logits, or
 * one for each token where every token has a sequence of its own.
 */
export interface ListReport extends DispatchCount {
  readonly tokens: TokenRange;
  /** Largest counts of a layer, and of the part of a layer that routes and computes experts. */
  readonly perLayer: DispatchCount;
  readonly perMoe: DispatchCount;
  /** Dispatches outside of layers: embedding, logits, sampling. */
  readonly outside: number;
  /** Bytes of weights that one step of `tokens.min` tokens reads, each counted once. */
  readonly weightBytes: number;
}

/** A choice that kernels reported, once for all nodes with the same choice. */
export interface ChoiceReport {
  readonly op: string;
  readonly text: string;
  readonly tokens: TokenRange;
  readonly scopes: readonly string[];
}

/** Gives the buffer of a resource; dispatches that use the same buffer wait for each other. */
export type BufferNumber = (key: string) => number | string;

/** Counts a list; `bufferOf` gives the buffer of each resource. */
export function reportList(lowered: LoweredGraph, bufferOf: BufferNumber): ListReport {
  const { tokens } = lowered;
  const sequences = tokens.single ? tokens.min : 1;
  const sizes: StepSizes = { T: tokens.min, R: sequences, S: sequences, P: 1 };
  const runs = ({ dispatch }: LoweredDispatch) => hasWork(dispatch, sizes);
  const dispatches = lowered.dispatches.filter(runs);
  const sampling = lowered.sampling.filter(runs);
  const layers = Map.groupBy(dispatches, ({ scope }) => layerOf(scope));
  const outside = (layers.get(undefined)?.length ?? 0) + sampling.length;
  layers.delete(undefined);
  const counts = (parts: readonly (readonly LoweredDispatch[])[]) =>
    largest(parts.map((part) => count(part, bufferOf)));
  return {
    tokens,
    ...count([...dispatches, ...sampling], bufferOf),
    perLayer: counts([...layers.values()]),
    perMoe: counts([...layers.values()].map(moePart)),
    outside,
    weightBytes: dispatches.reduce(
      (sum, { dispatch }) => sum + (dispatch.weightBytes?.(sizes) ?? 0),
      0,
    ),
  };
}

/** The notes of all lists, equal ones together. */
export function reportChoices(lowered: readonly LoweredGraph[]): ChoiceReport[] {
  return lowered.flatMap(({ notes, tokens }) =>
    [...Map.groupBy(notes, ({ op, text }) => `${op} ${text}`).values()].map((alike) => ({
      op: alike[0].op,
      text: alike[0].text,
      tokens,
      scopes: [...new Set(alike.map(({ scope }) => scope))],
    }))
  );
}

/** Notices to show when a model is deployed, each once whatever the number of layers and lists. */
export function reportNotices(lowered: readonly LoweredGraph[]): readonly string[] {
  const notices = lowered.flatMap(({ notes }) => notes.filter(({ isNotice }) => isNotice));
  return [...new Set(notices.map(({ text }) => text))];
}

/** Length of the longest chain in which each dispatch waits for one before it. */
export function dependentChain(
  dispatches: readonly LoweredDispatch[],
  bufferOf: BufferNumber,
): number {
  const written = new Map<number | string, number>();
  const read = new Map<number | string, number>();
  let longest = 0;
  for (const { dispatch, resources } of dispatches) {
    const uses = resources.map(({ key }, i) => ({
      buffer: bufferOf(key),
      writes: dispatch.bindings[i].access === "read_write",
    }));
    const waits = uses.map(({ buffer, writes }) =>
      Math.max(written.get(buffer) ?? 0, writes ? read.get(buffer) ?? 0 : 0)
    );
    const level = Math.max(0, ...waits) + 1;
    for (const { buffer, writes } of uses) {
      const levels = writes ? written : read;
      levels.set(buffer, Math.max(levels.get(buffer) ?? 0, level));
    }
    longest = Math.max(longest, level);
  }
  return longest;
}

function count(dispatches: readonly LoweredDispatch[], bufferOf: BufferNumber): DispatchCount {
  return { dispatches: dispatches.length, dependent: dependentChain(dispatches, bufferOf) };
}

function largest(counts: readonly DispatchCount[]): DispatchCount {
  return {
    dispatches: Math.max(0, ...counts.map(({ dispatches }) => dispatches)),
    dependent: Math.max(0, ...counts.map(({ dependent }) => dependent)),
  };
}

/** `model.layers.3` of `model.layers.3.mlp.gate`; undefined outside of layers. */
function layerOf(scope: string): string | undefined {
  return scope.match(/^(?:.*\.)?(?:layers|h|blocks)\.\d+(?=\.|$)/)?.[0];
}

/** From the routing to the sum over experts, with everything else in the same module of the model. */
function moePart(layer: readonly LoweredDispatch[]): LoweredDispatch[] {
  const isMoe = ({ op }: LoweredDispatch) => op === "moe_router" || op === "fused_moe";
  const scopes = layer.filter(isMoe).map(({ scope }) => scope.split("."));
  if (scopes.length === 0) return [];
  const common = scopes.reduce((a, b) =>
    a.slice(0, a.findLastIndex((_, i) => sameStart(a, b, i)) + 1)
  );
  const whole = layerOf(layer[0].scope);
  const module = common.join(".");
  return layer.filter((each) =>
    isMoe(each) || (module !== whole && `${each.scope}.`.startsWith(`${module}.`))
  );
}

function sameStart(a: readonly string[], b: readonly string[], last: number): boolean {
  return a.slice(0, last + 1).every((name, i) => name === b[i]);
}
