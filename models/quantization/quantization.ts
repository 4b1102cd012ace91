/**
 * How the weights of a checkpoint are quantized, whatever the dialect of its config.
 *
 * @module
 */

import type { DType, PackedFormat, Weight } from "../../graph/mod.ts";
import type { StoredModule } from "./stored_module.ts";

/** How the matrix of a module is stored, and what reads it. */
export interface Scheme {
  /** Format that kernels keep the matrix in. */
  readonly format: PackedFormat;
  /** Last part of the name of the tensor with the codes: `weight`, `qweight`. */
  readonly codes: string;
  /** Element type of that tensor. */
  readonly codesType: DType;
  /**
   * The matrix [rows, columns]: a `dequantize` expression where kernels keep the codes, and f32 where
   * no kernel format holds them. Errors are CheckpointErrors that name the tensor.
   */
  read(module: StoredModule): Weight;
}

/** How the weights of a checkpoint are quantized. */
export interface Quantization {
  /** Name of the dialect, as in `models/quantization/registry.ts`. */
  readonly dialect: string;
  /** Where this was read, for messages: `quantization_config of config.json`. */
  readonly source: string;
  /** Formats of the weights, for people: `fp8_e4m3`, `int4 in groups of 128`. */
  readonly formats: readonly string[];
  /** Modules that are left plain, as the checkpoint spells them. */
  readonly exclude: readonly string[];
  /** True when the checkpoint has scales for a KV cache in FP8. */
  readonly cacheScales?: boolean;
  /** How a module's matrix is stored if it is quantized; undefined for what no rule takes. */
  schemeOf(module: string): Scheme | undefined;
  /** True when the checkpoint says that it left the module plain. */
  isExcluded(module: string): boolean;
}

/** A part of a model folder that describes quantization, and where it stands. */
export interface QuantizationSource {
  /** The folder, for messages. */
  readonly folder: string;
  /** `quantization_config of config.json` or `hf_quant_config.json`. */
  readonly source: string;
  /** The part as it stands in the file, nulls left out. */
  readonly value: Readonly<Record<string, unknown>>;
}

/** A dialect: the programs that write it, the values that identify it, and how it is read. */
export interface Dialect {
  /** Short name, unique. */
  readonly name: string;
  /** Values of `quant_method`. */
  readonly methods: readonly string[];
  /** The programs that write it, for the documentation. */
  readonly writers: string;
  /** What of it is read, one line each, for the documentation. */
  readonly reads: readonly string[];
  /** Reads it; throws a CheckpointError that names the key, what was expected, and what was found. */
  read(from: QuantizationSource): Quantization;
}
