/**
 * Which layers cannot have operands in f16, although they may: those with weights that f16 cannot hold,
 * or that are so small that it has too few digits for them. Known when the weights have been read.
 *
 * @module
 */

import {
  decodeE8M0,
  decodeValue,
  E4M3_VALUES,
  input,
  isOp,
  isPacked,
  type MoeOperands,
  type Node,
  optionalInput,
  PACKED_LAYOUTS,
  type PackedFormat,
  tensorNames,
  type Value,
  type Weight,
  type WeightFormat,
} from "../../../graph/mod.ts";
import type { DeviceProfile } from "../../../kernels/mod.ts";
import { weightLeaves } from "../../../models/mod.ts";

/** The largest number of f16. */
const LARGEST = 65504;
/** The smallest number that f16 has with all of its digits. */
const SMALLEST = 2 ** -14;

/** A weight that products may read as f16. */
interface HalfWeight {
  readonly format: WeightFormat;
  readonly payload: Value;
  readonly scales: readonly Value[];
}

/** The largest magnitudes of a weight's leaves, undefined where nobody measured them. */
export type LargestOf = (value: Value) => readonly number[] | undefined;

/** Why nodes keep f32 operands, by their ids. */
export type F32Reasons = ReadonlyMap<number, string>;

/** The nodes of a program, and what is known of their operands. */
export interface OperandNodes {
  readonly nodes: readonly Node[];
  /** Of dense layers. */
  readonly operands: MoeOperands;
  readonly profile: Pick<DeviceProfile, "matrices">;
}

/** The values whose largest magnitudes tell whether operands may be f16; none where all stay f32. */
export function measuredValues(given: OperandNodes): Value[] {
  return given.nodes.flatMap((node) => halfWeights(node, given)).flatMap(measuredOf);
}

/** The nodes that keep f32 operands because of their weights. */
export function nodesBeyondHalves(given: OperandNodes, largestOf: LargestOf): F32Reasons {
  const reasons = new Map<number, string>();
  for (const node of given.nodes) {
    const found = halfWeights(node, given).map((weight) => reasonOf(weight, largestOf))
      .find((reason) => reason !== undefined);
    if (found !== undefined) reasons.set(node.id, found);
  }
  return reasons;
}

/** Layers that are named to whoever deploys; the report has all. */
const NAMED = 3;

/** What the reasons come to, for people. */
export function describeReasons(nodes: readonly Node[], reasons: F32Reasons): readonly string[] {
  const kept = nodes.flatMap((node) => {
    const reason = reasons.get(node.id);
    return reason === undefined ? [] : [`"${node.scope || node.op}" keeps f32 operands: ${reason}`];
  });
  const rest = kept.length - NAMED;
  return rest <= 0
    ? kept
    : [...kept.slice(0, NAMED), `${rest} more layers keep f32 operands, as the report says`];
}

/** The weights of a node that may meet rows in f16. */
function halfWeights(node: Node, { operands, profile }: OperandNodes): HalfWeight[] {
  const hasMatrices = (profile.matrices ?? []).length > 0;
  if (isOp(node, "fused_moe")) {
    const { operands: own = "f32", format } = node.attrs;
    const isHalf = own === "f16" || (own === "auto" && hasMatrices);
    return isHalf ? ["w_up", "w_down"].map((name) => halfWeight(node, name, format)) : [];
  }
  if (operands === "f32" || !hasMatrices) return [];
  if (isOp(node, "linear") || isOp(node, "fused_linear")) {
    return [halfWeight(node, "w", node.attrs.format)];
  }
  if (isOp(node, "cached_mla_attention")) {
    const names = ["w", "q_w"].filter((name) => optionalInput(node, name));
    return names.map((name) => halfWeight(node, name, undefined));
  }
  if (!isOp(node, "gated_mlp")) return [];
  return ["w_gate", "w_up", "w_down"].map((name) => halfWeight(node, name, undefined));
}

function halfWeight(node: Node, name: string, format: WeightFormat | undefined): HalfWeight {
  const payload = input(node, name);
  const scales = [`${name}_scale`, `${name}_scale_2`].map((each) => optionalInput(node, each));
  return {
    // Kernels refuse plain weights of other types than these.
    format: format ?? payload.dtype as WeightFormat,
    payload,
    scales: scales.filter((scale) => scale !== undefined),
  };
}

/** What has to be measured of a weight: its numbers, or the scales of its codes. */
function measuredOf({ format, payload, scales }: HalfWeight): readonly Value[] {
  if (isPacked(format)) return scales;
  return payload.weight && format !== "f16" ? [payload] : [];
}

function reasonOf(weight: HalfWeight, largestOf: LargestOf): string | undefined {
  const [first, second] = measuredOf(weight);
  const largest = first && largestOf(first);
  if (!largest || !first?.weight) return undefined;
  const factors = second && largestOf(second);
  const { format } = weight;
  const numbers = isPacked(format)
    ? largest.map((scale, i) =>
      largestNumber(format, decoded(format, first, scale)) * factorOf(factors, i, largest.length)
    )
    : largest;
  const above = indexOfLargest(numbers, (number) => number > LARGEST);
  const leaf = above ?? indexOfLargest(numbers, (number) => number > 0 && number < SMALLEST);
  if (leaf === undefined) return undefined;
  const number = numbers[leaf].toPrecision(3);
  const subject = subjectOf(weight, weightLeaves(first.weight)[leaf].weight);
  return above === undefined
    ? `${subject} are at most ${number}, for which f16 has too few digits`
    : `${subject} are up to ${number}, and f16 ends at ${LARGEST}`;
}

/** The numbers, by the tensors of the checkpoint that they come from. */
function subjectOf({ format, payload }: HalfWeight, leaf: Weight): string {
  const names = [...tensorNames(leaf)];
  const title = names.length === 0 ? payload.name : names.join('" and "');
  const isStored = isPacked(format) && leaf.kind !== "quantize";
  const noun = names.length > 1 ? "tensors" : "tensor";
  return `numbers ${isStored ? "scaled by" : "of"} ${noun} "${title}"`;
}

/** Of a second scale for each matrix, the one that belongs to a leaf of the first, or the largest. */
function factorOf(factors: readonly number[] | undefined, leaf: number, leaves: number): number {
  if (!factors) return 1;
  return factors.length === leaves ? factors[leaf] : Math.max(...factors);
}

/** The largest number that codes and a scale can make; with offsets, which count as scales, a bound. */
function largestNumber(format: PackedFormat, scale: number): number {
  const code = LARGEST_CODES[format];
  return (PACKED_LAYOUTS[format].hasOffsets ? code + 1 : code) * scale;
}

/** Bytes that say nothing of their meaning are measured as they are stored. */
function decoded(format: PackedFormat, { dtype }: Value, scale: number): number {
  if (format === "mxfp4") return decodeE8M0(scale);
  return dtype === "u8" ? E4M3_VALUES[scale & 0x7f] : scale;
}

const LARGEST_CODES = Object.fromEntries(
  Object.entries(PACKED_LAYOUTS).map(([name, { codesPerByte }]) => {
    const format = name as PackedFormat;
    const codes = Array.from({ length: codesPerByte === 1 ? 256 : 16 }, (_, code) => code);
    const magnitudes = codes.map((code) => Math.abs(decodeValue(format, code)));
    return [format, Math.max(...magnitudes.filter(Number.isFinite))];
  }),
) as Record<PackedFormat, number>;

function indexOfLargest(
  numbers: readonly number[],
  counts: (number: number) => boolean,
): number | undefined {
  let best: number | undefined;
  for (const [i, number] of numbers.entries()) {
    if (counts(number) && (best === undefined || number > numbers[best])) best = i;
  }
  return best;
}
