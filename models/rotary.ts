/**
 * Rotary position embedding in eager graphs.
 *
 * @module
 */

import { constant, type GraphBuilder, type RopeAttrs, type Value } from "../graph/mod.ts";
import type { ModelConfig } from "./hf_config.ts";
import { type RopeFrequencies, ropeFrequencies, type RopeParameters } from "./rope.ts";

/** A rotary embedding of some layers. */
export interface RotarySpec {
  readonly frequencies: RopeFrequencies;
  readonly layout: RopeAttrs["layout"];
}

/** cos and sin of every position. */
export interface RotaryTables {
  /** `half`: [T, rotaryDim], each frequency for both halves. `interleaved`: [T, rotaryDim / 2]. */
  readonly cos: Value;
  readonly sin: Value;
  readonly rotaryDim: number;
  readonly layout: RopeAttrs["layout"];
}

/** The rotary embedding of a config with one set of parameters, over heads of `head_dim`. */
export function rotaryOf(
  config: ModelConfig & { readonly rope_parameters: RopeParameters },
  options: { layout?: RotarySpec["layout"]; headDim?: number; maxSeqLen?: number } = {},
): RotarySpec {
  const { layout = "half", headDim = config.head_dim, maxSeqLen } = options;
  return {
    layout,
    frequencies: ropeFrequencies(
      config.rope_parameters,
      headDim,
      config.max_position_embeddings,
      maxSeqLen,
    ),
  };
}

/** Says of two embeddings whether they are the same. */
export function rotaryKey({ frequencies, layout }: RotarySpec): string {
  const { inverse, rotaryDim, attentionScaling } = frequencies;
  return JSON.stringify([layout, rotaryDim, attentionScaling, [...inverse]]);
}

/** Angles of all positions: `cos(concat(p · f, p · f)) · scaling`. */
export function rotaryTables(
  b: GraphBuilder,
  positions: Value,
  { frequencies: { inverse, attentionScaling, rotaryDim }, layout }: RotarySpec,
  name = "rotary_emb",
): RotaryTables {
  return b.within(name, () => {
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
    };
  });
}

/** Turns x [heads, T, D]; elements after rotaryDim pass. */
export function applyRotary(b: GraphBuilder, x: Value, tables: RotaryTables): Value {
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
