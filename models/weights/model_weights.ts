/**
 * The tensors of a checkpoint as the architectures ask for them: by module path, with checks of
 * their shapes, and a record of which were asked for.
 *
 * @module
 */

import { cast, CheckpointError, type DType, tensorNames, type Weight } from "../../graph/mod.ts";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { nearestTensor } from "../checkpoint/nearest_tensor.ts";
import type { Quantization } from "../quantization/quantization.ts";
import {
  areTransposed,
  type ExpertSizes,
  type ExpertWeights,
  inOneType,
  turnStack,
  unstack,
} from "./expert_layouts.ts";
import { MATRIX_TENSORS, quantizedMatrix } from "./quantized_matrix.ts";

export type { ExpertSizes, ExpertWeights } from "./expert_layouts.ts";

/** Tensors that need not be read, and why. */
export interface IgnoredTensors {
  /** Of their names. */
  readonly pattern: Pick<RegExp, "test">;
  /** A clause for the report. */
  readonly reason: string;
}

/** Names of an expert's projections under `experts.{e}`. */
export interface ExpertNames {
  /** Of w1 [I, H], the one that is activated. */
  readonly gate: string;
  /** Of w3 [I, H]. */
  readonly up: string;
  /** Of w2 [H, I]. */
  readonly down: string;
}

/** How a family stores its experts, below the module of the MLP. */
export interface ExpertSource {
  /** One matrix each, `experts.{e}.{name}.weight`. */
  readonly names?: ExpertNames;
  /** Stacks `[E, 2I, H]` (gate rows first) and `[E, H, I]` by their names; exporters differ. */
  readonly stacks?: readonly { readonly gateUp: string; readonly down: string }[];
}

/** Stacks as transformers 5 keeps experts in memory. */
export const STACKED_EXPERTS = { gateUp: "experts.gate_up_proj", down: "experts.down_proj" };

/** Projections by the names that most families have. */
export const PROJECTION_NAMES: ExpertSource = {
  names: { gate: "gate_proj", up: "up_proj", down: "down_proj" },
};

/** Projections by Mixtral's names. */
export const NUMBERED_NAMES: ExpertSource = { names: { gate: "w1", up: "w3", down: "w2" } };

/** Reads weights of a checkpoint and remembers which. */
export class ModelWeights {
  readonly #consumed = new Set<string>();
  readonly #stored: (name: string) => string;

  readonly #checkpoint: Checkpoint;
  readonly #quantization: Quantization | undefined;

  /** @internal */
  constructor(checkpoint: Checkpoint, quantization?: Quantization) {
    this.#checkpoint = checkpoint;
    this.#quantization = quantization;
    this.#stored = wrapperNames(checkpoint);
  }

  /** Whether the checkpoint has a tensor. */
  has(name: string): boolean {
    return this.#checkpoint.has(this.#stored(name));
  }

  /** Whether the checkpoint has a matrix for a module, packed or plain. */
  hasMatrix(module: string): boolean {
    return MATRIX_TENSORS.some((tensor) => this.has(`${module}.${tensor}`));
  }

  /** A tensor of that shape in the checkpoint's element type, which is one of some; default: plain ones. */
  tensor(name: string, shape: readonly number[], types?: readonly DType[]): Weight {
    return this.#consume(this.#checkpoint.tensor(this.#stored(name), shape, types));
  }

  /** Shape of a tensor that the checkpoint has. */
  shapeOf(name: string): readonly number[] {
    return this.#checkpoint.info(this.#stored(name)).shape;
  }

  /** The matrix `{module}.weight` [rows, columns], dequantized when it is stored packed. */
  matrix(module: string, rows: number, columns: number): Weight {
    const stored = this.#stored(module);
    const packed = quantizedMatrix(this.#checkpoint, this.#quantization, stored, rows, columns);
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

  /** The experts of a layer, in whichever layout the checkpoint has. */
  experts(module: string, source: ExpertSource, sizes: ExpertSizes): ExpertWeights[] {
    const { names, stacks = [] } = source;
    const all = [...stacks, STACKED_EXPERTS];
    const stack = all.find(({ gateUp }) => this.has(`${module}.${gateUp}`));
    if (stack) return this.#stackedExperts(module, stack, sizes);
    const first = names && `${module}.experts.0.${names.gate}.weight`;
    if (names && this.hasMatrix(`${module}.experts.0.${names.gate}`)) {
      return inOneType(this.#separateExperts(module, names, sizes));
    }
    const wanted = all.map(({ gateUp }) => `${module}.${gateUp}`);
    throw this.#missing(first ? [first, ...wanted] : wanted);
  }

  /** Tensors of the checkpoint that were never asked for, with the reason where it is known. */
  unused(ignored: readonly IgnoredTensors[]): { name: string; reason: string | undefined }[] {
    return this.#checkpoint.unused(this.#consumed).map((name) => ({
      name,
      reason: ignored.find(({ pattern }) => pattern.test(name))?.reason ??
        (this.#checkpoint.info(name).shape.includes(0) ? "it has no elements" : undefined),
    }));
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

  #stackedExperts(
    module: string,
    names: typeof STACKED_EXPERTS,
    sizes: ExpertSizes,
  ): ExpertWeights[] {
    const { experts, hidden, intermediate } = sizes;
    const shapes = {
      gateUp: this.shapeOf(`${module}.${names.gateUp}`),
      down: this.shapeOf(`${module}.${names.down}`),
    };
    const read = (name: string, rows: number, columns: number) =>
      areTransposed(shapes, sizes)
        ? turnStack(this.tensor(`${module}.${name}`, [experts, columns, rows]))
        : this.tensor(`${module}.${name}`, [experts, rows, columns]);
    const gateUp = read(names.gateUp, 2 * intermediate, hidden);
    return unstack(gateUp, read(names.down, hidden, intermediate), sizes);
  }

  /** The first of several names that the checkpoint has. */
  findName(names: readonly string[]): string {
    const found = names.find((name) => this.has(name));
    if (found !== undefined) return found;
    throw this.#missing(names);
  }

  #missing(read: readonly string[]): CheckpointError {
    const names = read.map(this.#stored);
    const near = nearestTensor(names, this.#checkpoint.tensors.keys());
    const quoted = names.map((name) => `"${name}"`).join(" or ");
    return new CheckpointError(
      "checkpoint/missing-tensor",
      `Cannot find tensor ${quoted}: expected it in checkpoint "${this.#checkpoint.folder}", got none`,
      {
        hint: near === undefined
          ? "Check that config.json belongs to these weights"
          : `Check that config.json belongs to these weights; the nearest name is "${near}"`,
        details: { tensors: names, folder: this.#checkpoint.folder },
      },
    );
  }

  #consume(weight: Weight): Weight {
    for (const name of tensorNames(weight)) this.#consumed.add(name);
    if (weight.kind === "dequantize" && weight.inputScale) this.#consume(weight.inputScale);
    return weight;
  }
}

/**
 * Names as the checkpoint has them: a wrapper of several models puts its text model below
 * `model.language_model` (transformers 5) or `language_model.model` (transformers 4).
 */
function wrapperNames(checkpoint: Checkpoint): (name: string) => string {
  const prefixes: readonly (readonly [string, string])[] = [
    ["model.language_model.", ""],
    ["language_model.model.", "language_model."],
    ["thinker.model.", "thinker."],
  ];
  const names = [...checkpoint.tensors.keys()];
  const wrapper = prefixes.find(([inside]) => names.some((name) => name.startsWith(inside)));
  if (!wrapper) return (name) => name;
  const [inside, outside] = wrapper;
  return (name) =>
    name.startsWith("model.") ? `${inside}${name.slice("model.".length)}` : `${outside}${name}`;
}
