/**
 * Whether results of different kernels for one layer are right: the CPU computes one token, which is
 * enough to believe one result; all tokens of the others are compared with that.
 *
 * @module
 */

import { relativeDifference } from "./relative_difference.ts";

/** Compares results [tokens, columns] with each other, and their first token with the CPU's. */
export class ResultCheck {
  #model: { readonly of: string; readonly result: Float32Array } | undefined;

  /** `firstToken` [1, columns] is the CPU's; `tolerance` is a share of the largest number. */
  constructor(
    readonly firstToken: Float32Array,
    readonly tolerance: number,
  ) {}

  /**
   * Why a result is wrong, or undefined when it is right. The first right one is kept, under the name
   * that is given: all tokens of the later ones are compared with it.
   */
  refuse(result: Float32Array, name: string): string | undefined {
    const first = relativeDifference(result, this.firstToken);
    // NaN, of results that are 0 or infinite, is no small difference.
    if (!(first <= this.tolerance)) {
      return `its first token is off by ${first} of the largest number from the CPU's`;
    }
    if (!this.#model) {
      this.#model = { of: name, result };
      return undefined;
    }
    const all = relativeDifference(result, this.#model.result);
    return all <= this.tolerance
      ? undefined
      : `off by ${all} of the largest number from ${this.#model.of}, whose first token is the CPU's`;
  }
}
