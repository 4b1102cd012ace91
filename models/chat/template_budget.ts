/**
 * How much a chat template may compute. Templates come with a model from strangers, and Jinja can
 * loop, recurse and double a text; the budget is counted in work rather than in time, so that the
 * same chat passes or fails on every machine.
 *
 * @module
 */

/** Work of every template, in about tens of nanoseconds: a second or so. */
const BASE = 100_000_000;

/** Further work for every character of the variables: long chats take long. */
const PER_CHARACTER = 500;

/** Work of one expression or statement, besides the characters it makes. */
export const STEP_WORK = 10;

/** Work of one round of a loop: the library makes a scope for each. */
export const ROUND_WORK = 200;

/** Characters of the longest text, besides 16 for every character of the variables. */
const LONGEST_TEXT = 16_000_000;

/** Counts work, and raises when the budget is spent. */
export class TemplateBudget {
  readonly #total: number;
  readonly #longest: number;
  #spent = 0;

  /** `characters` is the size of the variables. */
  constructor(characters: number) {
    this.#total = BASE + PER_CHARACTER * characters;
    this.#longest = LONGEST_TEXT + 16 * characters;
  }

  /** What is left. */
  get left(): number {
    return this.#total - this.#spent;
  }

  /** Spends some; before a value of that size is made, not after. */
  spend(work: number): void {
    this.#spent += work;
    if (this.#spent <= this.#total) return;
    throw new RangeError(
      "it loops or multiplies texts without end: rendering was stopped after " +
        `${this.#total} units of work`,
    );
  }

  /** Spends for a text that was looked up or made of others, which copies nothing yet. */
  see(text: string): void {
    if (text.length > this.#longest) {
      throw new RangeError(`it makes a text of more than ${this.#longest} characters`);
    }
    this.spend(text.length >> 4);
  }
}
