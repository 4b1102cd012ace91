import assert from "node:assert/strict";
import { join } from "node:path";
import {
  cast,
  CheckpointError,
  concat,
  constant,
  dependsOnWhole,
  f32ToBf16,
  PACKED_FORMATS,
  PACKED_LAYOUTS,
  type PackedFormat,
  quantize,
  quantizeMatrix,
  reshape,
  slice,
  stack,
  tensor,
  tensorBytes,
  type TensorSource,
  transpose,
  type Weight,
} from "../../../graph/mod.ts";
import { Checkpoint } from "../../../models/checkpoint/checkpoint.ts";
import { defaultWorkers, evaluateWeights } from "../../../models/loading/evaluate_weights.ts";
import { cutWeights } from "../../../models/loading/weight_jobs.ts";
import { loadWeight } from "../../../models/loading/materialize.ts";
import { randomF32 } from "../../support/op_case.ts";
import { encodeSafetensors } from "../../support/write_safetensors.ts";
import { slowTest } from "../../support/quick.ts";

const MODELS = import.meta.resolve("../../../models/mod.ts");
const EXPERTS = 5;
const SMALL = [96, 64] as const;
/** More elements than are quantized at once. */
const LARGE = [420, 640] as const;

/** A folder with matrices of f32; `broken` has a NaN. */
async function withCheckpoint(body: (checkpoint: Checkpoint) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  const matrix = (shape: readonly number[], seed: number) => {
    const values = randomF32(shape[0] * shape[1], seed, 3);
    return { dtype: "F32", shape, data: new Uint8Array(values.buffer) };
  };
  const halves = (shape: readonly number[], seed: number) => {
    const values = randomF32(shape[0] * shape[1], seed, 3);
    return {
      dtype: "BF16",
      shape,
      data: new Uint8Array(Uint16Array.from(values, f32ToBf16).buffer),
    };
  };
  const experts = Array.from({ length: EXPERTS }, (_, i) => [`e${i}`, matrix(SMALL, i)]);
  const broken = matrix(SMALL, 99);
  new Float32Array(broken.data.buffer)[77] = NaN;
  const file = encodeSafetensors({
    ...Object.fromEntries(experts),
    large: matrix(LARGE, 50),
    half: halves(LARGE, 51),
    broken,
  });
  try {
    await Deno.writeFile(join(folder, "model.safetensors"), file);
    await using checkpoint = await Checkpoint.open(folder);
    await body(checkpoint);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const expert = (i: number) => tensor(`e${i}`, "f32", SMALL);
const large = tensor("large", "f32", LARGE);
const half = tensor("half", "bf16", LARGE);

/** Codes, scales and what else there is of stacked experts and of a large matrix. */
function quantized(format: PackedFormat): Weight[] {
  const components = PACKED_LAYOUTS[format].secondScale
    ? ["payload", "scale", "scale_2"] as const
    : ["payload", "scale"] as const;
  const matrices = Array.from({ length: EXPERTS }, (_, i) => expert(i));
  const both = concat([expert(0), expert(1)]);
  const isBanded = format === "int4" || format === "fp8_block";
  return components.flatMap((component) => [
    stack(matrices.map((of) => quantize(format, component, of))),
    ...isBanded ? [quantize(format, component, large)] : [],
    reshape(quantize(format, component, both), quantize(format, component, both).shape),
  ]);
}

const OTHERS: readonly Weight[] = [
  // Two jobs at least, of which the second knows the largest number from the first.
  quantize("fp8_e4m3", "payload", half),
  quantize("fp8_e4m3", "scale", half),
  quantize("int4", "payload", half),
  expert(2),
  cast(large, "bf16"),
  transpose(large, 0, 1),
  transpose(stack([expert(0), expert(1), expert(2)]), 1, 2),
  concat([expert(0), expert(3)], 1),
  slice(large, 0, 1, 419, 2),
  slice(large, 1, 3, 600),
  constant(randomF32(301, 5)),
  cast(constant(randomF32(7, 5)), "f16"),
];

/** The bytes of every weight, checked to come once each. */
async function evaluated(
  weights: readonly Weight[],
  source: TensorSource,
  options: Parameters<typeof evaluateWeights>[2],
): Promise<Uint8Array[]> {
  const all = weights.map((weight) => new Uint8Array(tensorBytes(weight)));
  const times = weights.map((weight) => new Uint8Array(tensorBytes(weight)));
  for await (const ranges of evaluateWeights(weights, source, options)) {
    for (const { weight, byteOffset, bytes } of ranges) {
      assert.equal(byteOffset % 4, 0);
      all[weight].set(bytes, byteOffset);
      for (let i = 0; i < bytes.length; i++) times[weight][byteOffset + i]++;
    }
  }
  for (const [i, each] of times.entries()) assert(each.every((n) => n === 1), `weight ${i}`);
  return all;
}

slowTest(
  "evaluateWeights() gives the bytes of each weight alone, with and without workers",
  () =>
    withCheckpoint(async (checkpoint) => {
      const weights = [...PACKED_FORMATS.flatMap(quantized), ...OTHERS];
      const expected = [];
      for (const weight of weights) expected.push((await loadWeight(weight, checkpoint)).data);
      for (const [workers, jobBytes] of [[0, 2 ** 20], [0, 1000], [3, 30_000]]) {
        const got = await evaluated(weights, checkpoint, { workers, jobBytes });
        for (const [i, bytes] of got.entries()) {
          const wanted = new Uint8Array(expected[i].buffer, expected[i].byteOffset, bytes.length);
          assert(bytes.every((byte, at) => byte === wanted[at]), `weight ${i}, ${workers} workers`);
        }
      }
    }),
);

Deno.test("quantized rows are those of the whole matrix", () =>
  withCheckpoint(async (checkpoint) => {
    const cases = PACKED_FORMATS.flatMap((format) => [[format, large], [format, half]] as const);
    for (const [format, matrix] of cases) {
      const { data } = await loadWeight(cast(matrix, "f32"), checkpoint);
      assert(data instanceof Float32Array);
      const whole = quantizeMatrix(format, data, ...LARGE);
      const payload = await loadWeight(quantize(format, "payload", matrix), checkpoint);
      const scale = await loadWeight(quantize(format, "scale", matrix), checkpoint);
      const codes = new Uint8Array(
        payload.data.buffer,
        payload.data.byteOffset,
        whole.payload.length,
      );
      assert(codes.every((code, i) => code === whole.payload[i]), format);
      assert(whole.scale.every((number, i) => number === scale.data[i]), format);
    }
  }));

Deno.test("what is quantized is read once for codes and scales, large matrices once more for a scale of theirs", () =>
  withCheckpoint(async (checkpoint) => {
    for (const format of PACKED_FORMATS) {
      let read = 0;
      const source: TensorSource = {
        read(name, byteOffset, byteLength) {
          read += byteLength;
          return checkpoint.read(name, byteOffset, byteLength);
        },
      };
      const matrix = Array.from({ length: EXPERTS }, (_, i) => expert(i));
      const weights = (["payload", "scale"] as const).flatMap((component) => [
        stack(matrix.map((of) => quantize(format, component, of))),
        quantize(format, component, large),
      ]);
      await evaluated(weights, source, { workers: 0, jobBytes: 50_000 });
      const times = dependsOnWhole(format, ...LARGE) ? 2 : 1;
      const expected = EXPERTS * tensorBytes(expert(0)) + times * tensorBytes(large);
      assert.equal(read, expected, `${format}: ${read} bytes read instead of ${expected}`);
    }
  }));

Deno.test("an error in a worker is the error that there would be without", () =>
  withCheckpoint(async (checkpoint) => {
    const weights = [expert(0), tensor("broken", "f32", SMALL), large];
    const errors = [];
    for (const workers of [0, 2]) {
      const error = await evaluated(weights, checkpoint, { workers, jobBytes: 4096 })
        .then(() => undefined, (error: unknown) => error);
      assert(error instanceof CheckpointError, String(error));
      errors.push(JSON.stringify(error));
    }
    assert.match(errors[0], /checkpoint\/not-finite/);
    assert.equal(errors[1], errors[0]);
  }));

slowTest(
  "without the worker's module one thread loads, and says so",
  () =>
    withCheckpoint(async ({ folder }) => {
      // In a process of its own: Deno writes to stderr what a worker cannot find.
      const code = `
      const { Checkpoint, evaluateWeights } = await import(${JSON.stringify(MODELS)});
      await using checkpoint = await Checkpoint.open(${JSON.stringify(folder)});
      const weights = [checkpoint.tensor("large", ${JSON.stringify(LARGE)})];
      const workerModule = new URL("file:///no_such_worker.ts");
      let bytes = 0;
      for await (const ranges of evaluateWeights(weights, checkpoint, { workers: 2, workerModule })) {
        for (const range of ranges) bytes += range.byteLength;
      }
      console.log(bytes, checkpoint.findings.join());
    `;
      const args = ["eval", "--no-check", code];
      const { stdout } = await new Deno.Command(Deno.execPath(), { args }).output();
      const text = new TextDecoder().decode(stdout);
      assert.match(
        text,
        new RegExp(`^${tensorBytes(large)} Weights are loaded by one thread: .*no_such`),
      );
    }),
);

Deno.test("a load that is broken off leaves no worker behind", () =>
  withCheckpoint(async (checkpoint) => {
    for await (const _ of evaluateWeights([large], checkpoint, { workers: 2, jobBytes: 1000 })) {
      break;
    }
    await using again = await Checkpoint.open(checkpoint.folder);
    assert.equal(again.tensors.size, EXPERTS + 3);
  }));

Deno.test("cutWeights() makes jobs of about the size that is asked for", () => {
  const jobs = cutWeights([large, cast(large, "bf16")], 100_000);
  const sizes = jobs.map(({ ranges }) =>
    ranges.reduce((sum, { byteLength }) => sum + byteLength, 0)
  );
  assert(sizes.every((size) => size <= 100_000), `${Math.max(...sizes)}`);
  const bytes = tensorBytes(large);
  assert.equal(jobs.length, Math.ceil(bytes / 100_000) + Math.ceil(bytes / 2 / 100_000));
});

Deno.test("defaultWorkers() leaves small models and small machines to one thread", () => {
  const plain = [tensor("plain", "bf16", [2 ** 15, 2 ** 15])];
  const packed = [...plain, quantize("int4", "payload", plain[0])];
  assert.deepEqual(
    [
      defaultWorkers(plain, 16),
      defaultWorkers(packed, 16),
      defaultWorkers(packed, 8),
      defaultWorkers(packed, 2),
      defaultWorkers([expert(0)], 16),
    ],
    [6, 10, 7, 0, 0],
  );
});

slowTest(
  "buffers of workers stay within the bytes that a load may hold",
  () =>
    withCheckpoint(async (checkpoint) => {
      const weights = [large, quantize("int8", "payload", large), cast(large, "bf16")];
      const limit = 200_000;
      let held = 0;
      await evaluated(weights, checkpoint, {
        workers: 3,
        jobBytes: 50_000,
        bufferBytes: limit,
        onBuffers: (bytes) => held = bytes,
      });
      // A matrix that is quantized by parts of 409 rows is one job, the only one that needs more.
      const most = 409 * 640;
      assert(held > limit / 2 && held <= Math.max(limit, most), `${held} bytes held`);
    }),
);
