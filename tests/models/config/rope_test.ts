/**
 * Frequencies against the formulas of transformers' modeling_rope_utils.py, evaluated with numpy 2.4
 * in float32 as torch evaluates them.
 */

import assert from "node:assert/strict";
import { ropeFrequencies, type RopeParameters, ropeSchema } from "../../../models/mod.ts";
import { relativeError } from "../../support/tolerances.ts";

interface Case {
  readonly name: string;
  readonly parameters: Record<string, unknown>;
  readonly headDim: number;
  readonly inverse: readonly number[];
  readonly scaling?: number;
}

const YARN = { rope_type: "yarn", rope_theta: 1e6, original_max_position_embeddings: 32768 };
const YARN_INVERSE = [
  ...[1, 0.17782793939113617, 0.03162277862429619, 0.004217559937387705],
  ...[0.0005000000237487257, 4.4456985051510856e-5, 7.905693564680405e-6, 1.405853367941745e-6],
];

const CASES: readonly Case[] = [
  {
    name: "default",
    parameters: { rope_type: "default", rope_theta: 1e6 },
    headDim: 16,
    inverse: [
      ...[1, 0.17782793939113617, 0.03162277862429619, 0.005623413249850273],
      ...[0.0010000000474974513, 1.7782794020604342e-4, 3.162277425872162e-5, 5.62341347176698e-6],
    ],
  },
  {
    name: "default on a part of the head",
    parameters: { rope_type: "default", rope_theta: 1e4, partial_rotary_factor: 0.5 },
    headDim: 16,
    inverse: [1, 0.10000000149011612, 0.009999999776482582, 0.0010000000474974513],
  },
  {
    name: "default on a part of the head that is odd",
    parameters: { rope_type: "default", rope_theta: 1e4, partial_rotary_factor: 0.34 },
    headDim: 16,
    inverse: [1, 0.02511886344, 0.0006309573071],
  },
  {
    name: "linear",
    parameters: { rope_type: "linear", rope_theta: 1e4, factor: 4 },
    headDim: 16,
    inverse: [
      ...[0.25, 0.07905694097280502, 0.02500000037252903, 0.007905694656074047],
      ...[0.0024999999441206455, 7.905694656074047e-4, 2.500000118743628e-4, 7.905694656074047e-5],
    ],
  },
  {
    name: "dynamic, within the pretrained length",
    parameters: { rope_type: "dynamic", rope_theta: 1e4, partial_rotary_factor: 0.5, factor: 2 },
    headDim: 16,
    inverse: [1, 0.10000000149011612, 0.009999999776482582, 0.0010000000474974513],
  },
  {
    name: "llama3",
    parameters: {
      rope_type: "llama3",
      rope_theta: 500000,
      factor: 8,
      low_freq_factor: 1,
      high_freq_factor: 4,
      original_max_position_embeddings: 8192,
    },
    headDim: 16,
    inverse: [
      ...[1, 0.193922758102417, 0.03760603070259094, 0.00729266507551074],
      ...[5.248460220173001e-4, 3.428102354519069e-5, 6.647870577580761e-6, 1.289173155782919e-6],
    ],
  },
  {
    name: "yarn",
    parameters: { ...YARN, factor: 4 },
    headDim: 16,
    inverse: YARN_INVERSE,
    scaling: 1.138629436111989,
  },
  {
    name: "yarn with the factor of its lengths",
    parameters: YARN,
    headDim: 16,
    inverse: YARN_INVERSE,
    scaling: 1.138629436111989,
  },
  {
    name: "yarn with an attention factor",
    parameters: { ...YARN, factor: 4, attention_factor: 0.75 },
    headDim: 16,
    inverse: YARN_INVERSE,
    scaling: 0.75,
  },
  {
    name: "yarn as DeepSeek scales it",
    parameters: { ...YARN, factor: 4, mscale: 1, mscale_all_dim: 1 },
    headDim: 16,
    inverse: YARN_INVERSE,
    scaling: 1,
  },
  {
    name: "yarn without rounding, as gpt-oss",
    parameters: {
      rope_type: "yarn",
      rope_theta: 150000,
      factor: 32,
      original_max_position_embeddings: 4096,
      beta_fast: 32,
      beta_slow: 1,
      truncate: false,
    },
    headDim: 16,
    inverse: [
      ...[1, 0.22541800141334534, 0.050813280045986176, 0.006794959306716919],
      ...[4.564839182421565e-4, 1.818833698052913e-5, 4.099978468730114e-6, 9.242089618055616e-7],
    ],
    scaling: 1.3465735902799727,
  },
];

for (const { name, parameters, headDim, inverse, scaling = 1 } of CASES) {
  Deno.test(`ropeFrequencies() agrees with transformers for ${name}`, () => {
    const parsed: RopeParameters = ropeSchema.parse(parameters);
    const rope = ropeFrequencies(parsed, headDim, 131072);
    assert.equal(rope.rotaryDim, 2 * inverse.length);
    for (const [i, each] of inverse.entries()) {
      const error = relativeError([rope.inverse[i]], [each]);
      assert.ok(error < 3e-7, `${rope.inverse[i]} is ${each}, off by ${error}`);
    }
    assert.ok(Math.abs(rope.attentionScaling - scaling) < 1e-12);
  });
}
