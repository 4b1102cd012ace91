/**
 * ggml's own quantization, through the libraries that npm's `@node-llama-cpp/linux-x64` 3.22.1 holds.
 * For generators of goldens alone.
 *
 * @module
 */

/** Numbers of ggml's types by name. */
export const TYPES = {
  F32: 0,
  F16: 1,
  Q4_0: 2,
  Q4_1: 3,
  Q5_0: 6,
  Q5_1: 7,
  Q8_0: 8,
  Q4_K: 12,
  Q5_K: 13,
  Q6_K: 14,
  IQ4_NL: 20,
  BF16: 30,
  MXFP4: 39,
} as const;

export type TypeName = keyof typeof TYPES;

const TO_FLOAT = { parameters: ["buffer", "buffer", "i64"], result: "void" } as const;

/** Opens `libggml-base.so` of a folder. */
export function openGgml(folder: string) {
  const { symbols } = Deno.dlopen(`${folder}/libggml-base.so`, {
    ggml_quantize_chunk: {
      parameters: ["i32", "buffer", "buffer", "i64", "i64", "i64", "pointer"],
      result: "usize",
    },
    ggml_row_size: { parameters: ["i32", "i64"], result: "usize" },
    ggml_get_type_traits: { parameters: ["i32"], result: "pointer" },
  });
  return {
    /** Rows of numbers in a type's blocks. */
    quantize(type: TypeName, values: Float32Array<ArrayBuffer>, columns: number): Uint8Array<ArrayBuffer> {
      const rows = values.length / columns;
      const rowSize = Number(symbols.ggml_row_size(TYPES[type], BigInt(columns)));
      const bytes = new Uint8Array(rows * rowSize);
      symbols.ggml_quantize_chunk(
        TYPES[type],
        values,
        bytes,
        0n,
        BigInt(rows),
        BigInt(columns),
        null,
      );
      return bytes;
    },
    /** The numbers of blocks. */
    dequantize(type: TypeName, bytes: Uint8Array<ArrayBuffer>, count: number): Float32Array<ArrayBuffer> {
      const traits = symbols.ggml_get_type_traits(TYPES[type]);
      if (!traits) throw new Error(`no traits of ${type}`);
      // name, blck_size, blck_size_interleave, type_size, is_quantized (padded), to_float
      const toFloat = new Deno.UnsafePointerView(traits).getPointer(40);
      if (!toFloat) throw new Error(`${type} has no to_float`);
      const values = new Float32Array(count);
      new Deno.UnsafeFnPointer(toFloat as Deno.PointerObject<typeof TO_FLOAT>, TO_FLOAT)
        .call(bytes, values, BigInt(count));
      return values;
    },
  };
}

/** Numbers like weights: normal, some of them large; the same for the same seed. */
export function randomValues(count: number, seed: number): Float32Array<ArrayBuffer> {
  let state = seed >>> 0 || 1;
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state + 0.5) / 2 ** 32;
  };
  return Float32Array.from(
    { length: count },
    () => 0.05 * Math.sqrt(-2 * Math.log(next())) * Math.cos(2 * Math.PI * next()),
  );
}
