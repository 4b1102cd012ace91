/**
 * Matrices that a checkpoint stores packed, as weight expressions. The tensors in the files decide
 * what is packed; the config says how to read it, and contradictions are errors.
 *
 * @module
 */

import { CheckpointError, type DType, type Weight } from "../../graph/mod.ts";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import type { Quantization, Scheme } from "../quantization/quantization.ts";
import { halfQuantized, StoredModule } from "../quantization/stored_module.ts";

/** Tensors that stand beside packed codes, whatever the dialect. */
const SCALES = ["weight_scale", "weight_scale_inv", "scales"] as const;

/** Last parts of the names of a matrix, or of its codes, whatever the dialect. */
export const MATRIX_TENSORS = ["weight", "weight_packed", "qweight"] as const;

const PLAIN: readonly DType[] = ["f32", "f16", "bf16"];

/**
 * The matrix of a module [rows, columns] when the checkpoint stores it packed; undefined when it is
 * plain. Raises a CheckpointError for codes without scales, and for scales without codes.
 */
export function quantizedMatrix(
  checkpoint: Checkpoint,
  quantization: Quantization | undefined,
  path: string,
  rows: number,
  columns: number,
): Weight | undefined {
  const module = new StoredModule(checkpoint, path, rows, columns);
  const scheme = quantization?.schemeOf(path);
  const weight = typeOf(module, "weight");
  if (scheme && module.has(scheme.codes) && isCodes(typeOf(module, scheme.codes))) {
    return scheme.read(module);
  }
  if (weight !== undefined && PLAIN.includes(weight)) {
    checkPlain(module, weight, quantization, scheme);
    return undefined;
  }
  const codes = MATRIX_TENSORS.find((name) => isCodes(typeOf(module, name)));
  if (codes !== undefined) throw unexplained(module, codes, quantization);
  if (scheme && weight === undefined && quantization && mustBePacked(path, quantization)) {
    module.tensor(scheme.codes, [rows, columns]); // raises the error of a missing tensor
  }
  return undefined;
}

function typeOf(module: StoredModule, tensor: string): DType | undefined {
  return module.checkpoint.tensors.get(module.nameOf(tensor))?.dtype;
}

function isCodes(type: DType | undefined): boolean {
  return type !== undefined && !PLAIN.includes(type);
}

/** A plain matrix must have no scales, and must be one that the writer left plain. */
function checkPlain(
  module: StoredModule,
  type: DType,
  quantization: Quantization | undefined,
  scheme: Scheme | undefined,
): void {
  const name = module.nameOf("weight");
  const scale = SCALES.find((each) => module.has(each));
  if (scale) throw halfQuantized(name, `a packed type beside "${module.nameOf(scale)}"`, type);
  if (scheme && quantization && mustBePacked(module.path, quantization)) {
    const { dialect, source } = quantization;
    const codes = `${dialect} codes (${scheme.format}) in "${module.nameOf(scheme.codes)}"`;
    throw halfQuantized(name, `${codes}, as ${source} does not exclude it`, type);
  }
}

function unexplained(module: StoredModule, codes: string, quantization: Quantization | undefined) {
  const name = module.nameOf(codes);
  return new CheckpointError(
    "checkpoint/quantization",
    `Cannot read tensor "${name}": expected a quantization_config that says how ${
      typeOf(module, codes)
    } codes are scaled, got ${quantization?.dialect ?? "none"}`,
    { hint: "Add quantization_config to config.json, or hf_quant_config.json beside it" },
  );
}

/** Names of the linear layers that every quantizer takes, unless it is told to leave them. */
const PROJECTION = /\.layers\..*\.(\w+_proj|w[123])$/;

function mustBePacked(module: string, quantization: Quantization): boolean {
  return PROJECTION.test(module) && !quantization.isExcluded(module);
}
