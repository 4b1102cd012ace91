/**
 * Rotary position embedding in eager graphs.
 *
 * @module
 */

import {
  constant,
  type DynamicRope,
  type GraphBuilder,
  type RopeAttrs,
  type Value,
  type Weight,
} from "../../graph/mod.ts";
import type { ModelConfig } from "../config/hf_config.ts";
import { type RopeFrequencies, ropeFrequencies, type RopeParameters } from "../config/rope.ts";

/** A rotary embedding of some layers. */
export interface RotarySpec {
  /** Made by {@linkcode ropeFrequencies}. */
  readonly frequencies: RopeFrequencies;
  /** Which elements of a head are a pair. */
  readonly layout: RopeAttrs["layout"];
  /** The base grows with the length, for sequences beyond the trained one. */
  readonly dynamic?: DynamicRope;
}

/** cos and sin of every position. */
export interface RotaryTables {
  /** `half`: [T, rotaryDim], each frequency for both halves. `interleaved`: [T, rotaryDim / 2]. */
  readonly cos: Value;
  /** As `cos`. */
  readonly sin: Value;
  /** Leading elements of a head that are rotated. */
  readonly rotaryDim: number;
  /** Which elements of a head are a pair. */
  readonly layout: RopeAttrs["layout"];
  /** In place of the tables, where they depend on the lengths of sequences. */
  readonly dynamic?: (x: Value) => Value;
}

/** The rotary embedding of a config with one set of parameters, over heads of `head_dim`. */
export function rotaryOf(
  config: ModelConfig & { readonly rope_parameters: RopeParameters },
  options: { layout?: RotarySpec["layout"]; headDim?: number; maxSeqLen?: number } = {},
): RotarySpec {
  const { layout = "half", headDim = config.head_dim, maxSeqLen } = options;
  const { rope_parameters: parameters, max_position_embeddings: maxPositions } = config;
  const grows = parameters.rope_type === "dynamic" &&
    (parameters.served_positions ?? 0) > maxPositions;
  return {
    layout,
    ...(grows && { dynamic: { factor: parameters.factor, maxPositions } }),
    frequencies: ropeFrequencies(
      config.rope_parameters,
      headDim,
      config.max_position_embeddings,
      maxSeqLen,
    ),
  };
}

/** Says of two embeddings whether they are the same. */
export function rotaryKey({ frequencies, layout, dynamic }: RotarySpec): string {
  const { inverse, rotaryDim, attentionScaling } = frequencies;
  return JSON.stringify([layout, rotaryDim, attentionScaling, [...inverse], dynamic]);
}

/** Angles of all positions: `cos(concat(p · f, p · f)) · scaling`. */
export function rotaryTables(
  b: GraphBuilder,
  positions: Value,
  { frequencies: { inverse, attentionScaling, rotaryDim }, layout, dynamic }: RotarySpec,
  name = "rotary_emb",
): RotaryTables {
  return b.within(name, () => {
    const grow = dynamic && growing(b, positions, {
      inverse: constant(inverse),
      attrs: { layout, rotaryDim, attentionScaling, ...dynamic },
    });
    const column = b.op("unsqueeze", { x: b.op("cast", { x: positions }, { dtype: "f32" }) }, {
      dim: 1,
    });
    const half = b.op("mul", { a: column, b: b.weight("inv_freq", constant(inverse)) });
    const angles = layout === "half" ? b.op("concat", { xs: [half, half] }, { dim: -1 }) : half;
    const scaling = b.scalar(attentionScaling);
    return {
      cos: b.op("mul", { a: b.op("cos", { x: angles }), b: scaling }),
      sin: b.op("mul", { a: b.op("sin", { x: angles }), b: scaling }),
      rotaryDim,
      layout,
      ...(grow && { dynamic: grow }),
    };
  });
}

/** Turns heads for the length that their sequence has at the end of the step, as transformers does. */
function growing(
  b: GraphBuilder,
  positions: Value,
  { inverse, attrs }: { readonly inverse: Weight; readonly attrs: RopeAttrs & DynamicRope },
): (x: Value) => Value {
  const ids = b.graph.addInput("sequence_ids", { dtype: "i32", shape: ["T"] });
  const lengths = b.op("sequence_lengths", { positions, sequence_ids: ids });
  const frequencies = b.weight("inv_freq", inverse);
  return (x) => b.op("dynamic_rope", { x, positions, lengths, inv_freq: frequencies }, attrs);
}

/** Turns x [heads, T, D]; elements after rotaryDim pass. */
export function applyRotary(b: GraphBuilder, x: Value, tables: RotaryTables): Value {
  if (tables.dynamic) return tables.dynamic(x);
  const headDim = Number(x.shape[2]);
  const { rotaryDim, layout } = tables;
  const part = (start: number, end: number) => b.op("slice", { x }, { dim: -1, start, end });
  const turning = rotaryDim === headDim ? x : part(0, rotaryDim);
  const turned = layout === "half" ? turnHalves(b, turning, tables) : turnPairs(b, turning, tables);
  return rotaryDim === headDim
    ? turned
    : b.op("concat", { xs: [turned, part(rotaryDim, headDim)] }, { dim: -1 });
}

/** `x · cos + rotate_half(x) · sin` */
function turnHalves(b: GraphBuilder, x: Value, { cos, sin, rotaryDim }: RotaryTables): Value {
  const part = (start: number, end: number) => b.op("slice", { x }, { dim: -1, start, end });
  const first = part(0, rotaryDim / 2);
  const second = part(rotaryDim / 2, rotaryDim);
  const rotated = b.op("concat", { xs: [b.op("neg", { x: second }), first] }, { dim: -1 });
  return b.op("add", {
    a: b.op("mul", { a: x, b: cos }),
    b: b.op("mul", { a: rotated, b: sin }),
  });
}

/** Neighbours turn with each other: `view_as_complex(x) · (cos + i sin)`. */
function turnPairs(b: GraphBuilder, x: Value, { cos, sin }: RotaryTables): Value {
  const every = (start: number) => b.op("slice", { x }, { dim: -1, start, step: 2 });
  const [even, odd] = [every(0), every(1)];
  const times = (a: Value, c: Value) => b.op("mul", { a, b: c });
  const real = b.op("sub", { a: times(even, cos), b: times(odd, sin) });
  const imaginary = b.op("add", { a: times(even, sin), b: times(odd, cos) });
  const column = (value: Value) => b.op("unsqueeze", { x: value }, { dim: -1 });
  const pairs = b.op("concat", { xs: [column(real), column(imaginary)] }, { dim: -1 });
  return b.op("reshape", { x: pairs }, { shape: x.shape });
}
