/**
 * Packed weights in graphs: from the `dequantize` expressions that checkpoints give, or by
 * quantizing plain ones while they load, to the codes and scales that kernels read.
 *
 * @module
 */

import {
  type GraphBuilder,
  input,
  inputList,
  type Node,
  type NodeInputs,
  PACKED_LAYOUTS,
  type PackedFormat,
  type PackedMoeAttrs,
  packedShape,
  quantize,
  reshape,
  type ScaleBlock,
  type Value,
  type Weight,
} from "../../graph/mod.ts";

/** A matrix as codes and scales. */
export interface PackedWeight {
  readonly format: PackedFormat;
  /** Rows and columns that share a scale, where the format leaves that open; 0 stands for all. */
  readonly block: ScaleBlock | undefined;
  /** True when the block is the whole matrix because none was given. */
  readonly isWholeMatrix: boolean;
  readonly payload: Weight;
  /** `[rows of blocks, columns of blocks]` */
  readonly scale: Weight;
  /** [1], for formats with one factor per matrix. */
  readonly secondScale: Weight | undefined;
  /** [1], the checkpoint's scale for rounding the activations that the matrix is multiplied with. */
  readonly inputScale: Weight | undefined;
}

/** Codes and scales of a weight that the checkpoint stores packed; undefined for plain ones. */
export function packedInCheckpoint(value: Value): PackedWeight | undefined {
  const { weight } = value;
  if (weight?.kind !== "dequantize" || !isPackedFormat(weight.format)) return undefined;
  const { format, payload, scales: [scale, secondScale], inputScale } = weight;
  const [rows, columns] = weight.shape;
  const { block, scale: grid } = packedShape(format, rows, columns, weight.block);
  const isWholeMatrix = weight.block === undefined && PACKED_LAYOUTS[format].defaultBlock[0] === 0;
  return {
    format,
    // As it stands: a row for a block, [1, 0], is another number of columns in each matrix.
    block: isWholeMatrix ? block : weight.block,
    isWholeMatrix,
    payload,
    scale: reshape(scale, grid),
    secondScale: secondScale && reshape(secondScale, [1]),
    inputScale: inputScale && reshape(inputScale, [1]),
  };
}

/** A plain weight quantized while it loads; `block` absent takes the format's own. */
export function packedOnLoad(
  weight: Weight,
  format: PackedFormat,
  block?: ScaleBlock,
): PackedWeight {
  const [rows, columns] = weight.shape;
  const full = block && packedShape(format, rows, columns, block).block;
  const { secondScale, defaultBlock } = PACKED_LAYOUTS[format];
  const wholeMatrix: ScaleBlock | undefined = defaultBlock[0] === 0 ? [rows, columns] : undefined;
  return {
    format,
    block: full ?? wholeMatrix,
    isWholeMatrix: full === undefined && wholeMatrix !== undefined,
    payload: quantize(format, "payload", weight, block),
    scale: quantize(format, "scale", weight, block),
    secondScale: secondScale ? quantize(format, "scale_2", weight, block) : undefined,
    inputScale: undefined,
  };
}

/** The weight expression of a value that is known to be a weight. */
export function weightOf(value: Value): Weight {
  if (value.weight) return value.weight;
  throw new TypeError(`"${value.name}" is not a weight`);
}

/** Names of an expert's matrices in the op `moe`. */
export const EXPERT_MATRICES = ["w1", "w2", "w3"] as const;

/** The packed matrices of a `moe` node, in the order of its lists. */
export type PackedExperts = Readonly<Record<(typeof EXPERT_MATRICES)[number], PackedWeight[]>>;

/**
 * Attributes of `moe` for packed experts. The matrices of an expert differ in size, so where each
 * has a single scale no block is given.
 */
export function packedExpertAttrs(
  { w1: [{ format, block, isWholeMatrix }] }: PackedExperts,
): Pick<PackedMoeAttrs, "format" | "block"> {
  return block && !isWholeMatrix ? { format, block } : { format };
}

/**
 * Inputs of `moe` for packed experts: codes in place of weights, lists of scales beside them. Input
 * scales that no rounding needs are left out, so that they are reported as unread.
 */
export function packedExpertInputs(
  b: GraphBuilder,
  moe: Node<"moe">,
  experts: PackedExperts,
  withInputScales: boolean,
): NodeInputs {
  const inputs: Record<string, Value[]> = {};
  for (const name of EXPERT_MATRICES) {
    const names = inputList(moe, name).map((value) => value.name);
    const list = (suffix: string, part: (packed: PackedWeight) => Weight | undefined) => {
      const values = experts[name].map((packed, e) => {
        const weight = part(packed);
        return weight && b.graph.createWeight(`${names[e]}${suffix}`, weight);
      });
      return values.every((value) => value !== undefined) ? values : [];
    };
    inputs[name] = list("", ({ payload }) => payload);
    inputs[`${name}_scale`] = list("_scale", ({ scale }) => scale);
    inputs[`${name}_scale_2`] = list("_scale_2", ({ secondScale }) => secondScale);
    if (withInputScales) {
      inputs[`${name}_input_scale`] = list("_input_scale", ({ inputScale }) => inputScale);
    }
  }
  return inputs;
}

/** Inputs of a linear layer for a packed weight. */
export function packedLinearInputs(
  b: GraphBuilder,
  linear: Node,
  packed: PackedWeight,
  withInputScale: boolean,
): NodeInputs {
  const { name } = input(linear, "w");
  const make = (suffix: string, weight: Weight | undefined) =>
    weight && b.graph.createWeight(`${name}${suffix}`, weight);
  return {
    w: make("", packed.payload),
    w_scale: make("_scale", packed.scale),
    w_scale_2: make("_scale_2", packed.secondScale),
    x_scale: withInputScale ? make("_input_scale", packed.inputScale) : undefined,
  };
}

function isPackedFormat(format: string): format is PackedFormat {
  return Object.hasOwn(PACKED_LAYOUTS, format);
}
