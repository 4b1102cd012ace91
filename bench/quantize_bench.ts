/**
 * Quantizing while weights load: one thread, a matrix of bf16 as large as an expert's of Qwen3-30B-A3B,
 * from memory. Bytes a second are those of the bf16 numbers.
 *
 * @module
 */

import { f32ToBf16, invariant, quantize, tensor, type TensorSource } from "../graph/mod.ts";
import { evaluateWeights } from "../models/mod.ts";
import { formatRate, summarize, type Summary } from "./statistics.ts";

const SHAPE = [768, 2048] as const;
const FORMATS = ["int4", "int8", "fp8_e4m3", "mxfp4"] as const;
const RUNS = { n: 30, warmup: 10 };

/** Normally distributed numbers, as weights are. */
function normalNumbers(count: number): Uint8Array<ArrayBuffer> {
  const normal = () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(6.28 * Math.random());
  return new Uint8Array(
    Uint16Array.from({ length: count }, () => f32ToBf16(0.02 * normal())).buffer,
  );
}

const bytes = normalNumbers(SHAPE[0] * SHAPE[1]);
const source: TensorSource = {
  read: (_name, at, length) => Promise.resolve(bytes.slice(at, at + length)),
  readInto: (_name, at, out) => Promise.resolve(out.set(bytes.subarray(at, at + out.length))),
};
const matrix = tensor("matrix", "bf16", SHAPE);
const seconds = new Map<string, number[]>();

for (const format of FORMATS) {
  const weights = [quantize(format, "payload", matrix), quantize(format, "scale", matrix)];
  Deno.bench(`quantize to ${format}`, { group: "quantize", ...RUNS }, async (b) => {
    b.start();
    const start = performance.now();
    let count = 0;
    for await (const ranges of evaluateWeights(weights, source, { workers: 0 })) {
      for (const { byteLength } of ranges) count += byteLength;
    }
    b.end();
    invariant(count > 0, "nothing was quantized");
    seconds.set(format, [...seconds.get(format) ?? [], (performance.now() - start) / 1000]);
  });
}

addEventListener("unload", () => {
  for (const [format, all] of seconds) {
    const { median, lowest, highest, n }: Summary = summarize(all.slice(-RUNS.n));
    const rates = [median, highest, lowest].map((each) => formatRate(bytes.length / each, "B/s"));
    console.log(`${format}: ${rates[0]} (${rates[1]} .. ${rates[2]}, n = ${n})`);
  }
});
