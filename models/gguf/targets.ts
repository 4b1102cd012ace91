/**
 * Which kernel format holds the matrices of a GGUF file.
 *
 * @module
 */

import { basename } from "node:path";
import { CheckpointError } from "../../graph/mod.ts";
import type { GgufTensor } from "./gguf_file.ts";
import { READ_TYPES } from "./gguf_types.ts";
import type { Target } from "./row_codec.ts";

/**
 * The format that holds matrices of all these tensors without loss; undefined when all are of one
 * plain type. The matrices of a layer's experts share one, as the fused kernels need.
 */
export function targetOf(tensors: readonly GgufTensor[]): Target | undefined {
  tensors.forEach(checkReadable);
  const types = tensors.map(({ type }) => type);
  const packed = types.flatMap((type) => type.packed ?? []);
  if (packed.length === 0 && new Set(types).size === 1) return undefined;
  if (packed.length < types.length) return { format: "f32", group: 32 };
  const group = packed.some((each) => each.group === 16) ? 16 : 32;
  const isE2m1 = packed.filter(({ codes }) => codes === "e2m1").length;
  if (isE2m1 === packed.length) return { format: "mxfp4", group };
  const bits = isE2m1 > 0 || packed.some(({ codes }) => codes === "8bit") ? "int8" : "int4";
  const affine = packed.some((each) => each.hasOffsets) ? "_affine" as const : "" as const;
  return { format: `${bits}${affine}`, group };
}

/** Raises an error that names a type that is not read. */
export function checkReadable({ name, type, file }: GgufTensor): void {
  if (type.plain ?? type.packed) return;
  throw new CheckpointError(
    "checkpoint/dtype",
    `Cannot read tensor "${name}" of "${basename(file.path)}": expected one of ${
      READ_TYPES.join(", ")
    }, got ${type.name}`,
    {
      hint: "Choose a file of another quantization, such as Q4_K_M or Q8_0",
      details: { tensor: name, type: type.name, path: file.path },
    },
  );
}
