import assert from "node:assert/strict";
import {
  dequantizeMatrix,
  type HostArray,
  PACKED_FORMATS,
  PACKED_LAYOUTS,
  type PackedFormat,
  type PackedMatrix,
  packedShape,
  quantizeMatrix,
  type Value,
} from "../../../graph/mod.ts";
import { composeShader, weightAccess, type WeightSpec } from "../../../kernels/mod.ts";
import { webgpuTest } from "../../support/adapter.ts";
import { DispatchRunner } from "../../support/run_dispatches.ts";

/** Writes every element of a weight, as `unpack` gives it, to `out`, one chunk a thread. */
const BODY = `
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let chunks = w_WORDS * w_CHUNKS;
  let row = id.x / chunks;
  let chunk = id.x - row * chunks;
  if (row >= ROWS) {
    return;
  }
  let values = w_unpack(w_fetch(row, chunk / w_CHUNKS), chunk % w_CHUNKS);
  let column = chunk * 8u;
  //@repeat i 4
  if (column + u32($i) < w_COLUMNS) {
    out[row * w_COLUMNS + column + u32($i)] = values.lo[$i];
  }
  if (column + u32($i) + 4u < w_COLUMNS) {
    out[row * w_COLUMNS + column + u32($i) + 4u] = values.hi[$i];
  }
  //@end
}`;

let nextId = 0;

function weightValue(name: string, dtype: Value["dtype"], shape: number[]): Value {
  return { id: nextId++, name, kind: "weight", dtype, shape };
}

/** Reads matrices of `rows` rows each, stacked, on the device. */
async function readOnDevice(
  format: PackedFormat,
  matrices: readonly PackedMatrix[],
  rows: number,
  columns: number,
  block: readonly [number, number] | undefined,
): Promise<Float32Array> {
  const shape = packedShape(format, rows, columns, block);
  const layout = PACKED_LAYOUTS[format];
  const join = (parts: readonly HostArray[]): HostArray => {
    const bytes = parts.map((part) =>
      new Uint8Array(part.buffer, part.byteOffset, part.byteLength)
    );
    const joined = new Uint8Array(bytes.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of bytes) {
      joined.set(part, at);
      at += part.length;
    }
    return joined;
  };
  const total = rows * matrices.length;
  const payload = weightValue("w", layout.payloadDtype, [total, shape.payload[1]]);
  const scale = weightValue("scale", layout.scaleDtype, [matrices.length, ...shape.scale]);
  const second = weightValue("scale_2", "f32", [matrices.length]);
  const out = weightValue("out", "f32", [total, columns]);
  const spec: WeightSpec = {
    format,
    payload,
    columns,
    scales: layout.secondScale ? [scale, second] : [scale],
    matrixRows: rows,
    ...(block ? { block } : {}),
  };
  const access = weightAccess("w", spec);
  const { wgsl, bindings } = composeShader({
    constants: { ...access.constants, ROWS: total },
    buffers: [...access.buffers, {
      name: "out",
      type: "array<f32>",
      access: "read_write",
      buffer: out,
    }],
    fragments: access.fragments,
    body: BODY,
  });
  const runner = await DispatchRunner.open();
  try {
    runner.write(payload, join(matrices.map((each) => each.payload)));
    runner.write(scale, join(matrices.map((each) => each.scale)));
    runner.write(second, Float32Array.from(matrices, (each) => each.secondScale));
    runner.write(out, new Float32Array(total * columns).fill(-12345));
    const groups = Math.ceil((total * Math.ceil(columns / 8)) / 64) + 1;
    await runner.run([{ kernel: "read", wgsl, bindings, workgroups: () => [groups, 1, 1] }], {
      T: 1,
      R: 1,
      S: 1,
      P: 1,
    });
    return new Float32Array(await runner.readBytes(out, total * columns * 4), 0, total * columns);
  } finally {
    runner.close();
  }
}

function randomMatrix(rows: number, columns: number, seed: number): Float32Array {
  let state = seed;
  return Float32Array.from({ length: rows * columns }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return (state / 2 ** 31) * 2 ** (state & 3);
  });
}

const SIZES: readonly [rows: number, columns: number, block?: readonly [number, number]][] = [
  [4, 64],
  [3, 160],
  [5, 34],
  [7, 2],
  [6, 96, [4, 48]],
  [6, 80, [2, 7]],
];

webgpuTest(
  "weightAccess() unpacks every packed format exactly, whole words and ragged rows",
  async (t) => {
    for (const format of PACKED_FORMATS) {
      for (const [rows, columns, block] of SIZES) {
        const fixed = format === "mxfp4" || format === "nvfp4";
        if (block && fixed) continue;
        const used = block && PACKED_LAYOUTS[format].defaultBlock[0] === 1
          ? [1, block[1]] as const
          : block;
        await t.step(`${format} [2, ${rows}, ${columns}] blocks ${used ?? "default"}`, async () => {
          const matrices = [1, 2].map((seed) =>
            quantizeMatrix(format, randomMatrix(rows, columns, seed), rows, columns, used)
          );
          const expected = matrices.flatMap((matrix) => [
            ...dequantizeMatrix(format, matrix, rows, columns, used),
          ]);
          const got = await readOnDevice(format, matrices, rows, columns, used);
          // A scaled code and its offset may cancel, which leaves the rounding of the larger one.
          const largest = PACKED_LAYOUTS[format].hasOffsets
            ? 4 * Math.max(...expected.map(Math.abs))
            : 0;
          for (let i = 0; i < expected.length; i++) {
            const bound = 2 ** -23 * Math.max(Math.abs(expected[i]), largest);
            const close = Math.abs(got[i] - expected[i]) <= bound;
            assert.ok(close, `element ${i}: expected ${expected[i]}, got ${got[i]}`);
          }
        });
      }
    }
  },
);

webgpuTest("weightAccess() reads all codes of every format, and all scale bytes", async () => {
  for (const format of PACKED_FORMATS) {
    const { codesPerByte, scaleDtype, hasOffsets } = PACKED_LAYOUTS[format];
    // One row of whole words a byte value, its own scale byte where scales are bytes.
    const columns = 32;
    const payload = Uint8Array.from(
      { length: (256 * columns) / codesPerByte },
      (_, i) => Math.floor((i * codesPerByte) / columns),
    );
    const scaleCount = format === "nvfp4" || hasOffsets ? 512 : 256;
    const scale = scaleDtype === "f32"
      ? Float32Array.from({ length: scaleCount }, (_, i) => (hasOffsets && i % 2 === 1 ? 0.5 : 1))
      : Uint8Array.from({ length: scaleCount }, (_, i) => (format === "nvfp4" ? i >> 1 : i));
    const packed: PackedMatrix = { payload, scale, secondScale: 1 };
    const block = scaleDtype === "f32" ? [1, 32] as const : undefined;
    const expected = dequantizeMatrix(format, packed, 256, columns, block);
    const got = await readOnDevice(format, [packed], 256, columns, block);
    for (let i = 0; i < expected.length; i++) {
      // Denormal results may be flushed by the device: 2^-126 is the smallest normal f32.
      const flushed = Math.abs(expected[i]) < 2 ** -126 && Math.abs(got[i]) <= 2 ** -126;
      assert.ok(
        Object.is(got[i], expected[i]) || got[i] === expected[i] || flushed,
        `${format} byte ${i >> 5} element ${i}: expected ${expected[i]}, got ${got[i]}`,
      );
    }
  }
});
