/**
 * Which values share memory. A pure function: from intervals of use to buffer indices.
 *
 * WebGPU orders work by whole buffers, so a value never shares a buffer with another value that is in
 * use: independent dispatches would wait for each other.
 *
 * @module
 */

/** Use of one value over the levels of a list of dispatches; both ends are included. */
export interface Lifetime {
  readonly key: string;
  readonly bytes: number;
  /** Level that touches it first; -1 when it exists before the list starts. */
  readonly first: number;
  /** Level that touches it last; the number of levels when it is a result. */
  readonly last: number;
}

/** Buffers, and which values are in each. */
export interface BufferPlan {
  /** Bytes of each buffer. */
  readonly sizes: readonly number[];
  /** Buffer of each value. */
  readonly bufferOf: ReadonlyMap<string, number>;
}

interface Slot {
  readonly index: number;
  bytes: number;
  /**
   * When the slot became free. The one that has been free longest is taken, so that dispatches near
   * each other do not share a buffer.
   */
  freeSince: number;
}

/**
 * Assigns buffers greedily in order of first use: the smallest free buffer that is large enough,
 * else the largest free one, enlarged, else a new one.
 *
 * @example
 * ```ts
 * import { planBuffers } from "./buffer_plan.ts";
 * const plan = planBuffers([
 *   { key: "a", bytes: 64, first: 0, last: 1 },
 *   { key: "b", bytes: 64, first: 1, last: 2 },
 *   { key: "c", bytes: 32, first: 2, last: 3 },
 * ]);
 * console.assert(plan.sizes.length === 2 && plan.bufferOf.get("a") === plan.bufferOf.get("c"));
 * ```
 */
export function planBuffers(lifetimes: readonly Lifetime[]): BufferPlan {
  const slots: Slot[] = [];
  const bufferOf = new Map<string, number>();
  const free: Slot[] = [];
  let busy: { readonly until: number; readonly slot: Slot }[] = [];
  for (const value of lifetimes.toSorted((a, b) => a.first - b.first || b.bytes - a.bytes)) {
    busy = busy.filter(({ until, slot }) => {
      if (until >= value.first) return true;
      slot.freeSince = until;
      free.push(slot);
      return false;
    });
    const slot = takeFree(free, value.bytes) ?? addSlot(slots, value.bytes);
    slot.bytes = Math.max(slot.bytes, value.bytes);
    busy.push({ until: value.last, slot });
    bufferOf.set(value.key, slot.index);
  }
  return { sizes: slots.map((slot) => slot.bytes), bufferOf };
}

/**
 * Sizes of a pool that serves several plans one at a time: for every plan, its i-th largest buffer
 * fits in the pool's i-th.
 */
export function poolSizes(plans: readonly BufferPlan[]): number[] {
  const pool: number[] = [];
  for (const plan of plans) {
    for (const [i, bytes] of plan.sizes.toSorted((a, b) => b - a).entries()) {
      pool[i] = Math.max(pool[i] ?? 0, bytes);
    }
  }
  return pool;
}

/** Index in the pool of each buffer of a plan. */
export function poolIndices(plan: BufferPlan): number[] {
  const indices: number[] = [];
  const order = plan.sizes.map((bytes, index) => ({ bytes, index }))
    .sort((a, b) => b.bytes - a.bytes || a.index - b.index);
  for (const [poolIndex, { index }] of order.entries()) indices[index] = poolIndex;
  return indices;
}

function takeFree(free: Slot[], bytes: number): Slot | undefined {
  if (free.length === 0) return undefined;
  const better = (a: Slot, b: Slot) => {
    const [aFits, bFits] = [a.bytes >= bytes, b.bytes >= bytes];
    if (aFits !== bFits) return aFits;
    if (a.bytes !== b.bytes) return aFits ? a.bytes < b.bytes : a.bytes > b.bytes;
    return a.freeSince < b.freeSince;
  };
  const best = free.reduce((chosen, slot) => (better(slot, chosen) ? slot : chosen));
  free.splice(free.indexOf(best), 1);
  return best;
}

function addSlot(slots: Slot[], bytes: number): Slot {
  const slot = { index: slots.length, bytes, freeSince: -1 };
  slots.push(slot);
  return slot;
}
