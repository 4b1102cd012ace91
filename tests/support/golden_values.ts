/**
 * What transformers computes with a golden model.
 *
 * @module
 */

import { type HostTensor, invariant } from "../../graph/mod.ts";
import { readSafetensors } from "./safetensors.ts";

/** Folder of the golden models. */
export const GOLDEN = new URL("../golden/", import.meta.url);

/** The tensors of a golden file, as numbers. */
export class GoldenValues {
  private constructor(readonly tensors: ReadonlyMap<string, HostTensor>) {}

  /** Those of a folder of `tests/golden`. */
  static async of(name: string): Promise<GoldenValues> {
    return new GoldenValues(await readSafetensors(new URL(`${name}/golden.safetensors`, GOLDEN)));
  }

  /** The prompts, the longest last. */
  get prompts(): string[] {
    return ["p0", "p1", "p2"].filter((prompt) => this.tensors.has(`${prompt}.input_ids`));
  }

  /** Names of what the blocks with experts give for the prompt that has values inside. */
  get outputs(): string[] {
    return [...this.tensors.keys()].filter((name) => /^p1\.moe\.\d+\.out$/.test(name)).sort();
  }

  has(name: string): boolean {
    return this.tensors.has(name);
  }

  get(name: string): number[] {
    const tensor = this.tensors.get(name);
    invariant(tensor, `the golden file has no ${name}`);
    return Array.from(tensor.data as ArrayLike<number | bigint>, Number);
  }
}
