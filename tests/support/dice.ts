/**
 * Numbers that follow from a seed.
 *
 * @module
 */

/** A source of random choices, the same for the same seed. */
export class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = (seed * 2654435761 + 12345) >>> 0;
    for (let i = 0; i < 8; i++) this.number();
  }

  number(): number {
    this.#state = (Math.imul(this.#state, 1664525) + 1013904223) >>> 0;
    return this.#state / 2 ** 32;
  }

  /** A whole number from `least` to `most`. */
  from(least: number, most: number): number {
    return least + Math.floor(this.number() * (most - least + 1));
  }

  pick<Item>(items: readonly Item[]): Item {
    return items[this.from(0, items.length - 1)];
  }

  maybe(chance = 0.5): boolean {
    return this.number() < chance;
  }
}
