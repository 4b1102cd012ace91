/**
 * The order of a list of dispatches: those that wait for nothing of each other stand side by side.
 * A GPU starts them together only so; a wait between two dispatches holds back all that follow.
 *
 * @module
 */

import type { Dispatch } from "../../../kernels/mod.ts";

/** What an order depends on: which memory a dispatch reads and writes. */
export interface Unordered {
  readonly dispatch: Pick<Dispatch, "bindings">;
  /** The memory of each binding; that of the same key is the same. */
  readonly resources: readonly { readonly key: string }[];
}

/**
 * Dispatches by the number of others that each has to wait for one after the other: stable, so that a
 * chain stays as it is.
 */
export function orderByLevel<Each extends Unordered>(
  dispatches: readonly Each[],
): (Each & { readonly level: number })[] {
  const written = new Map<string, number>();
  const read = new Map<string, number>();
  const leveled = dispatches.map((each) => {
    const uses = each.resources.map(({ key }, i) => ({
      key,
      writes: each.dispatch.bindings[i].access === "read_write",
    }));
    const waits = uses.map(({ key, writes }) =>
      Math.max(written.get(key) ?? -1, writes ? read.get(key) ?? -1 : -1)
    );
    const level = Math.max(-1, ...waits) + 1;
    for (const { key, writes } of uses) {
      const levels = writes ? written : read;
      levels.set(key, Math.max(levels.get(key) ?? -1, level));
    }
    return { ...each, level };
  });
  return leveled.toSorted((a, b) => a.level - b.level);
}
