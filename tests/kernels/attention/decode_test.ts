import assert from "node:assert/strict";
import type { AttrsOf } from "../../../graph/mod.ts";
import { decodeDispatches, decodeVariant } from "../../../kernels/attention/decode.ts";
import { type AttentionProblem, problemOf } from "../../../kernels/attention/operands.ts";
import type { LoweringContext } from "../../../kernels/kernel.ts";
import { GPU_PROFILE } from "../../support/gpu_profile.ts";
import { buildNode, type OpInput } from "../../support/op_case.ts";

const HALF = { layout: "half", rotaryDim: 128, attentionScaling: 1 } as const;

const floats = (shape: OpInput["shape"]): OpInput => ({
  dtype: "f32",
  shape,
  data: new Float32Array(0),
});
const integers = (shape: OpInput["shape"]): OpInput => ({
  dtype: "i32",
  shape,
  data: new Int32Array(0),
});

function problem(
  changed: Partial<AttrsOf<"cached_attention">> = {},
  context: Partial<LoweringContext> = {},
): AttentionProblem {
  const sizes = { heads: 32, kvHeads: 4, headDim: 128 };
  const attrs = { ...sizes, rope: HALF, cache: "layer", scale: 1, ...changed };
  const { node } = buildNode({
    op: "cached_attention",
    attrs,
    inputs: {
      qkv: floats(["T", (attrs.heads + 2 * attrs.kvHeads) * attrs.headDim]),
      positions: integers(["T"]),
      sequence_ids: integers(["T"]),
      block_table: integers(["S", "P"]),
      inv_freq: floats([attrs.rope.rotaryDim / 2]),
    },
  });
  return problemOf(node, {
    profile: GPU_PROFILE,
    tokens: { min: 1, max: 1 },
    maxRows: 1,
    pageSize: 16,
    cacheDtype: () => "f16",
    note() {},
    ...context,
  });
}

Deno.test("decodeVariant() takes the lean way for tokens that are alone in their sequence", () => {
  const note = (of: AttentionProblem, mode: { fresh?: number } = { fresh: 1 }) =>
    decodeVariant(of, mode).note;
  const eight = { min: 8, max: 8, single: true };
  assert.equal(note(problem()), "lean, 1 heads a unit, 16 lanes a key, 32 splits");
  const several = note(problem({}, { tokens: eight }));
  assert.equal(several, "lean, 2 heads a unit, 16 lanes a key, 32 splits");
  const other = "1 heads a unit, 16 lanes a key, 32 splits";
  assert.equal(note(problem(), { fresh: 8 }), other);
  assert.equal(note(problem(), {}), other);
  const interleaved = { ...HALF, layout: "interleaved" } as const;
  assert.equal(note(problem({ rope: interleaved })), other);
  assert.equal(note(problem({ valueNorm: { eps: 1e-6 } })), other);
  assert.match(note(problem({ headDim: 512 })), /^1 heads a unit, 32 lanes/);
  const none = { profile: { ...GPU_PROFILE, subgroups: false } };
  assert.match(note(problem({}, none)), /through workgroup memory$/);
});

Deno.test("decodeDispatches() starts no more splits than the longest context of a step has", () => {
  const of = problem({}, { tokens: { min: 1, max: 8, single: true } });
  const [dispatch] = decodeDispatches(of, of.node.outputs[0], { fresh: 1 });
  const splits = (pages: number) => dispatch.workgroups({ T: 3, R: 3, S: 3, P: pages });
  assert.deepEqual([1, 4, 5, 32, 128, 4096].map((pages) => splits(pages)[0]), [1, 1, 2, 8, 32, 32]);
  assert.deepEqual(splits(1).slice(1), [32, 3]);
});
