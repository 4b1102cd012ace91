/** GGUF's quantized types against what ggml itself dequantizes them to. */

import assert from "node:assert/strict";
import {
  dequantizeMatrix,
  PACKED_LAYOUTS,
  type PackedFormat,
  type ScaleBlock,
} from "../../../graph/mod.ts";
import { GGUF_TYPES } from "../../../models/gguf/gguf_types.ts";
import { rowBytes, RowCodec, type Target } from "../../../models/gguf/row_codec.ts";

interface Golden {
  readonly rows: number;
  readonly columns: number;
  /** Bytes as base64: blocks, and f32 numbers. */
  readonly cases: readonly {
    readonly type: string;
    readonly bytes: string;
    readonly values: string;
  }[];
}

const GOLDEN: Golden = JSON.parse(
  await Deno.readTextFile(new URL("../../golden/gguf/blocks.json", import.meta.url)),
);

/** A zero has no sign that matters. */
function unsigned(values: Float32Array): Float32Array {
  return values.map((value) => value + 0);
}

/** Every format that may hold a type, the nearest first. */
const TARGETS: Readonly<Record<string, readonly Target["format"][]>> = {
  Q4_0: ["int4", "int4_affine", "int8", "int8_affine", "f32"],
  Q4_1: ["int4_affine", "int8_affine", "f32"],
  Q5_0: ["int8", "int8_affine", "f32"],
  Q5_1: ["int8_affine", "f32"],
  Q8_0: ["int8", "int8_affine", "f32"],
  Q4_K: ["int4_affine", "int8_affine", "f32"],
  Q5_K: ["int8_affine", "f32"],
  Q6_K: ["int8", "int8_affine", "f32"],
  IQ4_NL: ["int8", "int8_affine", "f32"],
  MXFP4: ["mxfp4", "int8", "int8_affine", "f32"],
};

function readComponent(
  codec: RowCodec,
  raw: Uint8Array<ArrayBuffer>,
  component: "codes" | "scales" | "values",
) {
  const width = rowBytes(codec.target, component, codec.columns);
  const bytes = new Uint8Array(GOLDEN.rows * width);
  for (let row = 0; row < GOLDEN.rows; row++) {
    codec.convert(
      raw,
      row * codec.sourceBytes,
      component,
      bytes.subarray(row * width, (row + 1) * width),
    );
  }
  return bytes;
}

for (const { type: name, bytes, values } of GOLDEN.cases) {
  const type = GGUF_TYPES.find((each) => each.name === name);
  assert.ok(type?.packed);
  const raw = Uint8Array.fromBase64(bytes);
  const expected = new Float32Array(Uint8Array.fromBase64(values).buffer);
  for (const format of TARGETS[name]) {
    for (const group of [16, 32] as const) {
      if (group > type.packed.group || (group === 16 && format === "mxfp4")) continue;
      Deno.test(`${name} is ${format} in groups of ${group} to the bit`, () => {
        const { rows, columns } = GOLDEN;
        const codec = new RowCodec(type, { format, group }, columns);
        assert.equal(rows * codec.sourceBytes, raw.length);
        if (format === "f32") {
          const result = new Float32Array(readComponent(codec, raw, "values").buffer);
          return assert.deepEqual(unsigned(result), unsigned(expected));
        }
        const scale = readComponent(codec, raw, "scales");
        const packed = {
          payload: readComponent(codec, raw, "codes"),
          scale: format === "mxfp4" ? scale : new Float32Array(scale.buffer),
          secondScale: 1,
        };
        const block: ScaleBlock = [1, group];
        const result = dequantizeMatrix(
          format satisfies PackedFormat,
          packed,
          rows,
          columns,
          block,
        );
        assert.deepEqual(unsigned(result), unsigned(expected));
      });
    }
  }
}

Deno.test("every type that is read has a golden, and a format with a kernel", () => {
  const read = GGUF_TYPES.filter(({ packed }) => packed).map(({ name }) => name).sort();
  assert.deepEqual(GOLDEN.cases.map(({ type }) => type).sort(), read);
  assert.ok(read.every((name) => TARGETS[name][0] in PACKED_LAYOUTS));
});
