import assert from "node:assert/strict";
import fc from "../../../deps/fast_check.ts";
import {
  dequantizeMatrix,
  E4M3_VALUES,
  encodeE4M3,
  type FusedMoeAttrs,
  type HostTensor,
  MixlineError,
  type MoeAttrs,
  PACKED_FORMATS,
  PACKED_LAYOUTS,
  type PackedFormat,
  type PackedMatrix,
  packedShape,
  quantizeMatrix,
  type ScaleBlock,
  viewBytes,
} from "../../../graph/mod.ts";
import { evaluate, f32, i32, numbersOf, random } from "../../support/host_tensors.ts";

const [EXPERTS, TOP_K, TOKENS] = [3, 2, 4];
const GATED: MoeAttrs = { mlp: "gated", activation: "silu", applyRoutingOnInput: false };

/** A matrix in a packed format, with its real values. */
interface Packed {
  readonly rows: number;
  readonly columns: number;
  readonly packed: PackedMatrix;
  readonly values: Float32Array<ArrayBuffer>;
}

function pack(
  format: PackedFormat,
  rows: number,
  columns: number,
  seed: number,
  block?: ScaleBlock,
): Packed {
  const packed = quantizeMatrix(
    format,
    numbersOf(random([rows, columns], seed)),
    rows,
    columns,
    block,
  );
  return { rows, columns, packed, values: dequantizeMatrix(format, packed, rows, columns, block) };
}

/** Codes, scales and second scales of matrices one after the other. */
function tensors(
  format: PackedFormat,
  parts: readonly Packed[],
  shape: number[],
  block?: ScaleBlock,
) {
  const { payloadDtype, scaleDtype, secondScale } = PACKED_LAYOUTS[format];
  const grid = packedShape(format, parts[0].rows, parts[0].columns, block).scale;
  const join = (arrays: readonly ArrayBufferView[]) =>
    Uint8Array.from(arrays.flatMap(({ buffer }) => [...new Uint8Array(buffer)]));
  const payload = join(parts.map(({ packed }) => packed.payload));
  const scale = join(parts.map(({ packed }) => packed.scale));
  return {
    payload: { dtype: payloadDtype, shape, data: viewBytes(payloadDtype, payload) },
    scale: {
      dtype: scaleDtype,
      shape: [parts.length, ...grid],
      data: viewBytes(scaleDtype, scale),
    },
    second: secondScale
      ? f32([parts.length], parts.map(({ packed }) => packed.secondScale))
      : undefined,
  };
}

const layers = fc.record({
  format: fc.constantFrom(...PACKED_FORMATS),
  hidden: fc.integer({ min: 1, max: 24 }).map((half) => 2 * half),
  intermediate: fc.integer({ min: 1, max: 24 }).map((half) => 2 * half),
  block: fc.constantFrom<ScaleBlock | undefined>(undefined, [4, 4], [3, 8]),
  mlp: fc.constantFrom("gated" as const, "plain" as const),
}).map((layer) => ({
  ...layer,
  // The other formats have blocks of their own along a row.
  block: layer.format === "fp8_block" ? layer.block : undefined,
}));

type Layer = typeof layers extends fc.Arbitrary<infer Value> ? Value : never;
type Expert = ReturnType<typeof expertsOf>[number];

function expertsOf({ format, hidden: H, intermediate: I, block, mlp }: Layer) {
  return Array.from({ length: EXPERTS }, (_, e) => ({
    w1: pack(format, I, H, 10 * e, block),
    w2: pack(format, H, I, 10 * e + 1, block),
    w3: mlp === "gated" ? pack(format, I, H, 10 * e + 2, block) : undefined,
  }));
}

/** Inputs of `moe`: the real values, and the packed weights. */
function eagerInputs({ format, block }: Layer, experts: readonly Expert[]) {
  const plain: Record<string, HostTensor[]> = {};
  const packed: Record<string, HostTensor[]> = {};
  for (const name of ["w1", "w2", "w3"] as const) {
    for (const { [name]: each } of experts) {
      if (!each) continue;
      const shape = [...packedShape(format, each.rows, each.columns, block).payload];
      const { payload, scale, second } = tensors(format, [each], shape, block);
      (plain[name] ??= []).push(f32([each.rows, each.columns], each.values));
      (packed[name] ??= []).push(payload);
      (packed[`${name}_scale`] ??= []).push(scale);
      if (second) (packed[`${name}_scale_2`] ??= []).push(second);
    }
  }
  return { plain, packed };
}

/** Inputs of `fused_moe`. */
function fusedInputs({ format, hidden, intermediate, block }: Layer, experts: readonly Expert[]) {
  const ups = experts.flatMap(({ w1, w3 }) => (w3 ? [w3, w1] : [w1]));
  const bytes = (columns: number) => columns / PACKED_LAYOUTS[format].codesPerByte;
  const rows = ups.length / EXPERTS * intermediate;
  const up = tensors(format, ups, [EXPERTS, rows, bytes(hidden)], block);
  const downs = experts.map(({ w2 }) => w2);
  const down = tensors(format, downs, [EXPERTS, hidden, bytes(intermediate)], block);
  return {
    ...{ w_up: up.payload, w_up_scale: up.scale, w_up_scale_2: up.second },
    ...{ w_down: down.payload, w_down_scale: down.scale, w_down_scale_2: down.second },
  };
}

Deno.test("moe and fused_moe with packed weights equal moe with their real values, bit for bit", async () => {
  await fc.assert(
    fc.asyncProperty(layers, async (layer) => {
      const { format, hidden, intermediate, block, mlp } = layer;
      const attrs: MoeAttrs = { ...GATED, mlp };
      const experts = expertsOf(layer);
      const shared = {
        x: random([TOKENS, hidden], 5),
        selected_experts: i32([TOKENS, TOP_K], [0, 1, 2, 1, 1, 0, 2, -1]),
        routing_weights: random([TOKENS, TOP_K], 6),
      };
      const { plain, packed } = eagerInputs(layer, experts);
      const [expected] = await evaluate("moe", { ...shared, ...plain }, attrs);
      const [got] = await evaluate("moe", { ...shared, ...packed }, { ...attrs, format, block });
      assert.deepEqual(got, expected, "moe");
      const fusedAttrs: FusedMoeAttrs = {
        ...attrs,
        ...{ backend: "reference", experts: EXPERTS, topK: TOP_K, hidden, intermediate },
        ...{ format, block, activationQuant: "none" },
      };
      const inputs = { ...shared, ...fusedInputs(layer, experts) };
      const [fused] = await evaluate("fused_moe", inputs, fusedAttrs);
      assert.deepEqual(fused, expected, "fused_moe");
    }),
    { numRuns: 80 },
  );
});

/** A single FP8 expert on a single token, with weight 1. */
function singleExpert(H: number, I: number) {
  const w1 = pack("fp8_e4m3", I, H, 1);
  const w2 = pack("fp8_e4m3", H, I, 2);
  const up = tensors("fp8_e4m3", [w1], [I, H]);
  const down = tensors("fp8_e4m3", [w2], [H, I]);
  return {
    w1,
    w2,
    x: random([1, H], 3, 4),
    inputs: {
      selected_experts: i32([1, 1], [0]),
      routing_weights: f32([1, 1], 1),
      ...{ w1: [up.payload], w1_scale: [up.scale], w2: [down.payload], w2_scale: [down.scale] },
    },
    attrs: {
      mlp: "plain",
      activation: "relu2",
      applyRoutingOnInput: false,
      format: "fp8_e4m3",
    } as const,
  };
}

/** The same by `linear` on rounded rows. */
async function byHand(
  x: HostTensor,
  round: (row: Float32Array, stage: 0 | 1) => Float32Array,
  w1: Packed,
  w2: Packed,
) {
  const product = async (row: Float32Array, { rows, columns, values }: Packed) =>
    Float32Array.from(
      (await evaluate(
        "linear",
        { x: f32([1, columns], row), w: f32([rows, columns], values) },
        {},
      ))[0],
    );
  const gate = await product(round(numbersOf(x), 0), w1);
  return await product(round(gate.map((value) => Math.max(value, 0) ** 2), 1), w2);
}

const roundTo = (value: number, scale: number) =>
  E4M3_VALUES[encodeE4M3(Math.fround(value / scale))] * scale;

Deno.test("moe rounds activations to FP8 with static scales, saturating at 448", async () => {
  const { w1, w2, x, inputs, attrs } = singleExpert(8, 6);
  const scales = [Math.fround(0.004), Math.fround(0.02)];
  const given = {
    ...inputs,
    x,
    w1_input_scale: [f32([], [scales[0]])],
    w2_input_scale: [f32([], [scales[1]])],
  };
  const [got] = await evaluate("moe", given, { ...attrs, activationQuant: "static" });
  const expected = await byHand(
    x,
    (row, i) => row.map((value) => roundTo(value, scales[i])),
    w1,
    w2,
  );
  assert.deepEqual(got, expected);
  assert.ok(numbersOf(x).some((value) => Math.abs(value) > 448 * scales[0]), "something saturates");
});

Deno.test("moe rounds activations to FP8 with a scale for each token's block", async () => {
  const { w1, w2, x, inputs, attrs } = singleExpert(8, 6);
  const dynamic = {
    ...attrs,
    format: "fp8_block",
    block: [128, 4],
    activationQuant: "dynamic",
  } as const;
  // One scale covers all rows; along a row every block of 4 columns has the matrix's own.
  const spread = ({ dtype, data }: HostTensor, blocks: number): HostTensor => ({
    dtype,
    shape: [1, 1, blocks],
    data: new Float32Array(blocks).fill(Number(data[0])),
  });
  const given = {
    ...inputs,
    x,
    w1_scale: [spread(inputs.w1_scale[0], 2)],
    w2_scale: [spread(inputs.w2_scale[0], 2)],
  };
  const [got] = await evaluate("moe", given, dynamic);
  const expected = await byHand(
    x,
    (row) =>
      row.map((value, i) => {
        const block = row.subarray(i - i % 4, i - i % 4 + 4);
        const amax = block.reduce((max, each) => Math.max(max, Math.abs(each)), 0);
        return amax === 0 ? value : roundTo(value, Math.fround(amax / 448));
      }),
    w1,
    w2,
  );
  assert.deepEqual(got, expected);
});

Deno.test("moe names the scale that a packed layer lacks", async () => {
  const { x, inputs, attrs } = singleExpert(4, 4);
  const refuses = async (
    given: Parameters<typeof evaluate<"moe">>[1],
    more: object,
    message: RegExp,
  ) => {
    await assert.rejects(evaluate("moe", given, { ...attrs, ...more }), (error) => {
      assert.ok(error instanceof MixlineError);
      assert.equal(error.code, "kernel/missing-scale");
      assert.match(error.message, message);
      return true;
    });
  };
  await refuses(
    { ...inputs, x, w1_scale: undefined },
    {},
    /"fp8_e4m3": expected a scale tensor, got none/,
  );
  await refuses(
    { ...inputs, x },
    { activationQuant: "static" },
    /expected input "w1_input_scale", got none/,
  );
});
