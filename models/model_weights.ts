/**
 * The tensors of a checkpoint as the architectures ask for them: by module path, with checks of
 * their shapes, and a record of which were asked for.
 *
 * @module
 */

import {
  cast,
  CheckpointError,
  type DType,
  select,
  slice,
  tensorNames,
  type Weight,
} from "../graph/mod.ts";
import type { Checkpoint } from "./checkpoint.ts";
import type { Quantization } from "./quantization/quantization.ts";
import { MATRIX_TENSORS, quantizedMatrix } from "./quantized_matrix.ts";

/** Tensors that need not be read, and why. */
export interface IgnoredTensors {
  readonly pattern: Pick<RegExp, "test">;
  readonly reason: string;
}

/** The three matrices of a gated expert: w1 is the gate, w3 the up projection, w2 the down one. */
export interface ExpertWeights {
  /** [I, H] */
  readonly w1: Weight;
  /** [H, I] */
  readonly w2: Weight;
  /** [I, H] */
  readonly w3: Weight;
}

/** Names of an expert's projections under `experts.{e}`. */
export interface ExpertNames {
  readonly gate: string;
  readonly up: string;
  readonly down: string;
}

/** Sizes of the experts of a layer. */
export interface ExpertSizes {
  readonly experts: number;
  readonly hidden: number;
  readonly intermediate: number;
}

/** Reads weights of a checkpoint and remembers which. */
export class ModelWeights {
  readonly #consumed = new Set<string>();

  constructor(readonly checkpoint: Checkpoint, readonly quantization?: Quantization) {}

  has(name: string): boolean {
    return this.checkpoint.has(name);
  }

  /** A tensor of that shape in the checkpoint's element type, which is one of some; default: plain ones. */
  tensor(name: string, shape: readonly number[], types?: readonly DType[]): Weight {
    return this.#consume(this.checkpoint.tensor(name, shape, types));
  }

  /** The matrix `{module}.weight` [rows, columns], dequantized when it is stored packed. */
  matrix(module: string, rows: number, columns: number): Weight {
    const packed = quantizedMatrix(this.checkpoint, this.quantization, module, rows, columns);
    return packed ? this.#consume(packed) : this.tensor(`${module}.weight`, [rows, columns]);
  }

  /** A vector in f32: a norm's weight, a bias. */
  vector(name: string, size: number): Weight {
    return cast(this.tensor(name, [size]), "f32");
  }

  /** The first of several modules that the checkpoint has the given tensor of. */
  findModule(modules: readonly string[], tensor: string): string {
    const found = modules.find((module) => this.has(`${module}.${tensor}`));
    if (found !== undefined) return found;
    throw this.#missing(modules.map((module) => `${module}.${tensor}`));
  }

  /**
   * The experts of a layer, in whichever layout the checkpoint has: `experts.{e}.{name}.weight`, one
   * matrix each, as on the hub; or `experts.gate_up_proj` [E, 2I, H], gate rows first, and
   * `experts.down_proj` [E, H, I], as transformers 5 keeps them in memory.
   */
  experts(module: string, names: ExpertNames, sizes: ExpertSizes): ExpertWeights[] {
    const stacked = `${module}.experts.gate_up_proj`;
    const first = `${module}.experts.0.${names.gate}.weight`;
    if (this.has(stacked)) return this.#stackedExperts(module, sizes);
    if (this.#hasMatrix(`${module}.experts.0.${names.gate}`)) {
      return this.#separateExperts(module, names, sizes);
    }
    throw this.#missing([first, stacked]);
  }

  /** Tensors of the checkpoint that were never asked for, with the reason where it is known. */
  unused(ignored: readonly IgnoredTensors[]) {
    return this.checkpoint.unused(this.#consumed).map((name) => ({
      name,
      reason: ignored.find(({ pattern }) => pattern.test(name))?.reason,
    }));
  }

  /** Whether the checkpoint has a matrix for a module, packed or plain. */
  #hasMatrix(module: string): boolean {
    return MATRIX_TENSORS.some((tensor) => this.has(`${module}.${tensor}`));
  }

  #separateExperts(
    module: string,
    names: ExpertNames,
    { experts, hidden, intermediate }: ExpertSizes,
  ): ExpertWeights[] {
    return Array.from({ length: experts }, (_, e) => {
      const expert = `${module}.experts.${e}`;
      return {
        w1: this.matrix(`${expert}.${names.gate}`, intermediate, hidden),
        w2: this.matrix(`${expert}.${names.down}`, hidden, intermediate),
        w3: this.matrix(`${expert}.${names.up}`, intermediate, hidden),
      };
    });
  }

  #stackedExperts(module: string, { experts, hidden, intermediate }: ExpertSizes): ExpertWeights[] {
    const gateUp = this.tensor(`${module}.experts.gate_up_proj`, [
      experts,
      2 * intermediate,
      hidden,
    ]);
    const down = this.tensor(`${module}.experts.down_proj`, [experts, hidden, intermediate]);
    return Array.from({ length: experts }, (_, e) => {
      const both = select(gateUp, 0, e);
      return {
        w1: slice(both, 0, 0, intermediate),
        w2: select(down, 0, e),
        w3: slice(both, 0, intermediate, 2 * intermediate),
      };
    });
  }

  #missing(names: readonly string[]): CheckpointError {
    const quoted = names.map((name) => `"${name}"`).join(" or ");
    return new CheckpointError(
      "checkpoint/missing-tensor",
      `Cannot find tensor ${quoted}: expected it in checkpoint "${this.checkpoint.folder}", got none`,
      {
        hint: "Check that config.json belongs to these weights",
        details: { tensors: names, folder: this.checkpoint.folder },
      },
    );
  }

  #consume(weight: Weight): Weight {
    for (const name of tensorNames(weight)) this.#consumed.add(name);
    if (weight.kind === "dequantize" && weight.inputScale) this.#consume(weight.inputScale);
    return weight;
  }
}
