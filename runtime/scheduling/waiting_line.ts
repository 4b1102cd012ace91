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
 * How an attempt ended: it has its place; there is none, and those behind wait as well; or it is
 * better off a little later, which holds up nobody.
 */
export type Entry = "entered" | "full" | "later";

/** A line in the order of arrival, whenever someone joins it. */
export class WaitingLine {
  readonly #line: Waiting[] = [];

  get length(): number {
    return this.#line.length;
  }

  /** Those that never ran. */
  get fresh(): number {
    return this.#line.reduce((sum, { ranBefore }) => ranBefore ? sum : sum + 1, 0);
  }

  /** Joins the line; whoever lost a place stands in front of those that came later. */
  join(waiting: Waiting): void {
    const at = this.#line.findLastIndex(({ arrival }) => arrival < waiting.arrival) + 1;
    this.#line.splice(at, 0, waiting);
  }

  /** Removes those that nobody wants any more, and returns how many they were. */
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
