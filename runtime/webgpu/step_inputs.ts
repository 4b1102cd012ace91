/**
 * The host's side of a step's inputs. Numbers that the device already has are not sent again: in
 * decoding only the token and its position change, and sampling writes those itself.
 *
 * @module
 */

import type { Value } from "../../graph/mod.ts";
import type { StepSizes } from "../../kernels/mod.ts";

/** Where inputs are written to. */
export interface InputTarget {
  writeInput(value: Value, data: ArrayBufferView<ArrayBuffer>): void;
  writeStep(sizes: StepSizes): void;
}

/** Writes inputs that the device does not have already. */
export class StepInputs {
  readonly #values: ReadonlyMap<string, Value>;
  readonly #known = new Map<string, Int32Array<ArrayBuffer>>();
  #sizes: StepSizes | undefined;

  constructor(inputs: readonly Value[], readonly target: InputTarget) {
    this.#values = new Map(inputs.map((value) => [value.name, value]));
  }

  /** Sets an input of the graph; inputs that the graph does not have are ignored. */
  set(name: string, data: Int32Array<ArrayBuffer>): void {
    const value = this.#values.get(name);
    const known = this.#known.get(name);
    if (!value || (known && sameNumbers(known, data))) return;
    this.target.writeInput(value, data);
    this.assume(name, data);
  }

  setSizes(sizes: StepSizes): void {
    const known = this.#sizes;
    if (
      known && known.T === sizes.T && known.R === sizes.R && known.S === sizes.S &&
      known.P === sizes.P
    ) return;
    this.target.writeStep(sizes);
    this.#sizes = sizes;
  }

  /** Records what the device has written into an input itself. */
  assume(name: string, data: Int32Array<ArrayBuffer>): void {
    this.#known.set(name, data.slice());
  }

  /** Forgets everything: the inputs were written elsewhere, or a step failed. */
  forget(): void {
    this.#known.clear();
    this.#sizes = undefined;
  }
}

function sameNumbers(a: Int32Array, b: Int32Array): boolean {
  return a.length === b.length && a.every((number, i) => number === b[i]);
}
