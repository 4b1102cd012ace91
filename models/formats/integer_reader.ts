/**
 * Weights of integer checkpoints (GPTQ, AWQ, `pack-quantized`): codes out of 32-bit words, scales with
 * offsets in place of zero points, and the checks of what a compact reading assumes.
 *
 * @module
 */

import {
  type AffineScalesWeight,
  type CheckedWeight,
  CheckpointError,
  elementCount,
  type GroupedWeight,
  tensorNames,
  type UnpackWeight,
  viewBytes,
  type Weight,
} from "../../graph/mod.ts";
import { unpackWords } from "./unpack_words.ts";
import type { PartReader } from "./packed_reader.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** Codes of a matrix that are unpacked at once. */
const PART_CODES = 2 ** 22;

/** Evaluates the expressions of integer checkpoints; each is a matrix. */
export class IntegerReader {
  /** Weights whose integers were found to be as expected. */
  readonly #accepted = new Set<CheckedWeight>();
  /** Codes of the matrix that was unpacked last. One is enough: weights are read one after the other. */
  #held: { readonly of: Weight; readonly codes: Bytes } | undefined;

  constructor(readonly reader: PartReader) {}

  /** Writes elements `first ..` of an expression to `out`. */
  async fill(
    weight: UnpackWeight | AffineScalesWeight | GroupedWeight | CheckedWeight,
    first: number,
    out: Bytes,
  ): Promise<void> {
    switch (weight.kind) {
      case "checked":
        await this.#check(weight);
        return await this.reader.fill(weight.of, first, out);
      case "affine_scales":
        return await this.#affineScales(weight, first, out);
      case "unpack":
        return await this.#byRows(
          weight,
          first,
          out,
          (row, rows) => this.#codes(weight, row, rows),
        );
      case "grouped":
        return await this.#byRows(
          weight,
          first,
          out,
          (row, rows) => this.#values(weight, row, rows),
        );
    }
  }

  /** Cuts elements `first ..` out of whole rows that `make` gives. */
  async #byRows(
    { shape, dtype }: Weight,
    first: number,
    out: Bytes,
    make: (row: number, rows: number) => Promise<Bytes>,
  ): Promise<void> {
    const [total, columns] = shape;
    const width = columns * (dtype === "f32" ? 4 : 1);
    const start = first * (dtype === "f32" ? 4 : 1);
    const held = Math.max(1, Math.floor(PART_CODES / columns));
    for (let done = 0; done < out.length;) {
      const row = Math.floor((start + done) / width);
      const skipped = start + done - row * width;
      const rows = Math.min(held, total - row, Math.ceil((skipped + out.length - done) / width));
      const bytes = await make(row, rows);
      const some = bytes.subarray(skipped, skipped + out.length - done);
      out.set(some, done);
      done += some.length;
    }
  }

  /** Rows of codes. A transposed matrix is unpacked whole, once, for its rows lie across all words. */
  async #codes(weight: UnpackWeight, row: number, rows: number): Promise<Bytes> {
    const width = weight.shape[1];
    const { transposed, along } = weight.packing;
    if (transposed || along === 0) {
      if (this.#held?.of !== weight) {
        this.#held = undefined; // free before the next one is made
        this.#held = { of: weight, codes: await this.#unpackRows(weight, 0, weight.shape[0]) };
      }
      return this.#held.codes.subarray(row * width, (row + rows) * width);
    }
    return await this.#unpackRows(weight, row, rows);
  }

  async #unpackRows(weight: UnpackWeight, row: number, rows: number): Promise<Bytes> {
    const { of, packing, codesPerByte } = weight;
    const whole = packing.transposed || packing.along === 0;
    const wordsWide = of.shape[1];
    const bytes = whole
      ? await this.reader.read(of, 0, elementCount(of.shape))
      : await this.reader.read(of, row * wordsWide, rows * wordsWide);
    const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
    return unpackWords(words, weight, {
      rows,
      columns: weight.shape[1] * codesPerByte,
      wordsWide,
    });
  }

  async #affineScales(weight: AffineScalesWeight, first: number, out: Bytes): Promise<void> {
    const { scale, zero, base } = weight;
    const start = Math.floor(first / 2);
    const count = Math.ceil((first + out.length / 4) / 2) - start;
    const scales = viewBytes("f32", await this.reader.read(scale, start, count));
    const zeros = viewBytes(zero.dtype, await this.reader.read(zero, start, count));
    const pairs = new Float32Array(2 * count);
    for (let i = 0; i < count; i++) {
      pairs[2 * i] = Number(scales[i]);
      pairs[2 * i + 1] = (base - Number(zeros[i])) * Number(scales[i]);
    }
    const skipped = 4 * (first - 2 * start);
    out.set(new Uint8Array(pairs.buffer, skipped, out.length));
  }

  async #values({ codes, scale, zero, groups }: GroupedWeight, row: number, rows: number) {
    const [, columns] = codes.shape;
    const [, blocks] = scale.shape;
    const groupOf = viewBytes("i32", await this.reader.read(groups, 0, columns));
    const numbers = viewBytes(
      codes.dtype,
      await this.reader.read(codes, row * columns, rows * columns),
    );
    const scales = viewBytes("f32", await this.reader.read(scale, row * blocks, rows * blocks));
    const zeros = typeof zero === "number"
      ? undefined
      : viewBytes(zero.dtype, await this.reader.read(zero, row * blocks, rows * blocks));
    const values = new Float32Array(rows * columns);
    for (let c = 0; c < columns; c++) {
      const group = Number(groupOf[c]);
      if (group < 0 || group >= blocks) throw groupOutside(groups, c, group, blocks);
      for (let r = 0; r < rows; r++) {
        const place = r * blocks + group;
        const from = zeros === undefined ? Number(zero) : Number(zeros[place]);
        values[r * columns + c] = (Number(numbers[r * columns + c]) - from) * Number(scales[place]);
      }
    }
    return new Uint8Array(values.buffer);
  }

  async #check(weight: CheckedWeight): Promise<void> {
    if (this.#accepted.has(weight)) return;
    const { against, expected: { first, step }, message } = weight;
    const bytes = await this.reader.read(against, 0, elementCount(against.shape));
    const numbers = viewBytes(against.dtype, bytes);
    for (let i = 0; i < numbers.length; i++) {
      const wanted = first + (step === Infinity ? 0 : Math.floor(i / step));
      if (Number(numbers[i]) !== wanted) {
        const [name] = tensorNames(against);
        throw new CheckpointError(
          "checkpoint/quantization",
          `Cannot load tensor "${name}": expected ${message.what} ${wanted} at place ${i}, as ${message.source} says, got ${
            numbers[i]
          }`,
          { hint: message.hint, details: { tensor: name, place: i } },
        );
      }
    }
    this.#accepted.add(weight);
  }
}

function groupOutside(groups: Weight, column: number, group: number, blocks: number) {
  const [name] = tensorNames(groups);
  return new CheckpointError(
    "checkpoint/quantization",
    `Cannot load tensor "${name}": expected a group from 0 to ${
      blocks - 1
    } for column ${column}, got ${group}`,
    { hint: "Download the checkpoint again: it is damaged", details: { tensor: name } },
  );
}
