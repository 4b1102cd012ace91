/**
 * Finds weight expressions that are equal, such as tied embeddings and shared constants, so that they
 * are uploaded once.
 *
 * @module
 */

import { type Weight, weightInputs } from "../graph/mod.ts";

const arrays = new WeakMap<ArrayBufferView, number>();
let nextArray = 0;

/** A text that is equal for expressions that give equal bytes. */
export function weightKey(weight: Weight): string {
  const type = `${weight.dtype}[${weight.shape}]`;
  const inputs = weightInputs(weight).map(weightKey).join(",");
  switch (weight.kind) {
    case "tensor":
      return `${type} ${JSON.stringify(weight.name)}`;
    case "constant":
      return `${type} ${
        weight.data.length <= 64 ? `(${weight.data})` : `#${arrayNumber(weight.data)}`
      }`;
    case "concat":
      return `${type} concat ${weight.dim} (${inputs})`;
    case "slice":
      return `${type} slice ${weight.dim} ${weight.start}:${weight.end}:${weight.step} (${inputs})`;
    case "transpose":
      return `${type} transpose ${weight.dims} (${inputs})`;
    case "dequantize":
      return `${type} dequantize ${weight.format} ${weight.block} (${inputs})`;
    case "quantize":
      return `${type} quantize ${weight.format} ${weight.component} ${weight.block} (${inputs})`;
    case "scaled":
      return `${type} scaled ${weight.factor} (${inputs})`;
    case "shifted":
      return `${type} shifted ${weight.by} (${inputs})`;
    case "unpack": {
      const { packing, add, mask, codesPerByte } = weight;
      return `${type} unpack ${JSON.stringify([packing, add, mask, codesPerByte])} (${inputs})`;
    }
    case "affine_scales":
      return `${type} affine_scales ${weight.base} (${inputs})`;
    case "checked":
      return `${type} checked ${weight.expected.first} ${weight.expected.step} (${inputs})`;
    case "grouped": {
      const zero = typeof weight.zero === "number" ? weight.zero : "";
      return `${type} grouped ${zero} (${inputs})`;
    }
    // Nothing but type and inputs tells them apart.
    case "stack":
    case "reshape":
    case "cast":
    case "reinterpret":
    case "reciprocal":
      return `${type} ${weight.kind} (${inputs})`;
  }
}

function arrayNumber(data: ArrayBufferView): number {
  const known = arrays.get(data);
  if (known !== undefined) return known;
  arrays.set(data, nextArray);
  return nextArray++;
}
