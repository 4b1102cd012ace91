/**
 * Who waits for a row of the block table and pages, in the order of arrival.
 *
 * @module
 */

/** One that waits. */
export interface Waiting {
  /** Number of the request, in the order of arrival. */
  readonly arrival: number;
  readonly cancelled: boolean;
  /** Whether it has run before, and lost its place to another. */
  readonly ranBefore: boolean;
  /** Takes what it needs. */
  enter(): Entry;
  fail(error: unknown): void;
}

/**
 * How an attempt ended: with a place; without one, so that those behind wait as well; or postponed,
 * because the entry is better served a little later, which delays no other.
 */
export type Entry = "entered" | "full" | "later";

/** A queue in the order of arrival, whatever the order in which entries are added. */
export class WaitingLine {
  readonly #line: Waiting[] = [];

  get length(): number {
    return this.#line.length;
  }

  /** How many have never run. */
  get newcomers(): number {
    return this.#line.reduce((sum, { ranBefore }) => ranBefore ? sum : sum + 1, 0);
  }

  /** Adds an entry; one that lost its place is in front of those that arrived later. */
  join(waiting: Waiting): void {
    const at = this.#line.findLastIndex(({ arrival }) => arrival < waiting.arrival) + 1;
    this.#line.splice(at, 0, waiting);
  }

  /** Removes cancelled entries, and returns how many there were. */
  dropCancelled(): number {
    const wanted = this.#line.filter(({ cancelled }) => !cancelled);
    const dropped = this.#line.length - wanted.length;
    if (dropped > 0) this.#replace(wanted);
    return dropped;
  }

  /** Lets in as many as find a place. */
  admit(): void {
    const staying: Waiting[] = [];
    for (const [at, waiting] of this.#line.entries()) {
      const entry = waiting.enter();
      if (entry === "full") {
        staying.push(...this.#line.slice(at));
        break;
      }
      if (entry === "later") staying.push(waiting);
    }
    if (staying.length < this.#line.length) this.#replace(staying);
  }

  /** Ends the waiting of all with this error. */
  failAll(error: unknown): void {
    for (const waiting of this.#line.splice(0)) waiting.fail(error);
  }

  #replace(line: readonly Waiting[]): void {
    this.#line.splice(0, this.#line.length, ...line);
  }
}
