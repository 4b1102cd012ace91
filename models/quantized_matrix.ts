/**
 * Matrices that a checkpoint stores packed, as `dequantize` expressions: codes, their scales, and
 * the scale of the activations where there is one.
 *
 * @module
 */

import {
  cast,
  CheckpointError,
  dequantize,
  PACKED_LAYOUTS,
  packedShape,
  reshape,
  type ScaleBlock,
  type Weight,
} from "../graph/mod.ts";
import type { Checkpoint } from "./checkpoint.ts";
import type { Quantization } from "./quantization.ts";

/** Names of the scale tensors beside `{module}.weight`, by format. */
const SCALES = {
  fp8_e4m3: "weight_scale",
  fp8_block: "weight_scale_inv",
  nvfp4: "weight_scale",
} as const;

/**
 * The matrix `{module}.weight` [rows, columns] when the checkpoint stores it packed; undefined when
 * it is plain. Raises a CheckpointError for codes without scales, and for scales without codes.
 */
export function quantizedMatrix(
  checkpoint: Checkpoint,
  quantization: Quantization | undefined,
  module: string,
  rows: number,
  columns: number,
): Weight | undefined {
  const name = `${module}.weight`;
  const stored = checkpoint.has(name) ? checkpoint.info(name).dtype : undefined;
  const scale = ["weight_scale", "weight_scale_inv"].map((each) => `${module}.${each}`)
    .find((each) => checkpoint.has(each));
  const codes = stored === "f8_e4m3" || stored === "u8";
  if (!codes) {
    if (scale && stored) throw halfQuantized(name, `a packed type beside "${scale}"`, stored);
    if (stored && quantization && mustBePacked(module, quantization)) {
      const { format, source } = quantization;
      throw halfQuantized(name, `${format} codes, as ${source} does not exclude it`, stored);
    }
    return undefined;
  }
  if (!quantization || quantization.format === "mxfp4") {
    throw new CheckpointError(
      "checkpoint/quantization",
      `Cannot read tensor "${name}": expected a quantization_config that says how ${stored} codes are scaled, got ${
        quantization?.format ?? "none"
      }`,
      { hint: "Add quantization_config to config.json, or hf_quant_config.json beside it" },
    );
  }
  const { format } = quantization;
  const scaleName = `${module}.${SCALES[format]}`;
  if (!checkpoint.has(scaleName)) throw halfQuantized(name, `its scales "${scaleName}"`, "none");
  const block = quantization.block as ScaleBlock | undefined;
  const shape = packedShape(format, rows, columns, block);
  const payload = checkpoint.tensor(name, shape.payload);
  return dequantize(format, payload, scalesOf(checkpoint, module, format, scaleName, shape.scale), {
    ...(block && { block }),
    ...inputScale(checkpoint, module),
  });
}

function scalesOf(
  checkpoint: Checkpoint,
  module: string,
  format: keyof typeof SCALES,
  scaleName: string,
  grid: readonly [number, number],
): Weight[] {
  if (format === "nvfp4") {
    const second = scalar(checkpoint, `${module}.weight_scale_2`);
    return [checkpoint.tensor(scaleName, grid), second];
  }
  if (format === "fp8_e4m3") return [reshape(scalar(checkpoint, scaleName), [1, 1])];
  return [cast(checkpoint.tensor(scaleName, grid), PACKED_LAYOUTS[format].scaleDtype)];
}

/** A tensor of one number, whatever its rank, as f32 [1]. */
function scalar(checkpoint: Checkpoint, name: string): Weight {
  const { shape } = checkpoint.info(name);
  const single = shape.length === 0 || (shape.length === 1 && shape[0] === 1) ? shape : [];
  return reshape(cast(checkpoint.tensor(name, single), "f32"), [1]);
}

function inputScale(checkpoint: Checkpoint, module: string): { inputScale?: Weight } {
  const name = `${module}.input_scale`;
  return checkpoint.has(name) ? { inputScale: scalar(checkpoint, name) } : {};
}

/** Names of the linear layers that every quantizer takes, unless it is told to leave them. */
const PROJECTION = /\.layers\..*\.(\w+_proj|w[123])$/;

/** True when the checkpoint says that it quantized the module. An entry may be a part of a path. */
function mustBePacked(module: string, { format, exclude }: Quantization): boolean {
  if (format === "mxfp4" || !PROJECTION.test(module)) return false;
  return !exclude.some((entry) => {
    const pattern = entry.replaceAll(/[.+^${}()|[\]\\]/g, "\\$&").replaceAll("*", ".*");
    return new RegExp(`(^|\\.)${pattern}($|\\.)`).test(module);
  });
}

function halfQuantized(name: string, expected: string, got: string): CheckpointError {
  return new CheckpointError(
    "checkpoint/half-quantized",
    `Cannot read tensor "${name}": expected ${expected}, got ${got}`,
    {
      hint: "Download the checkpoint again: it is incomplete, or its index is wrong",
      details: { tensor: name },
    },
  );
}
