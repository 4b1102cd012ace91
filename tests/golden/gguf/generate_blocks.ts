/**
 * Writes blocks.json: random rows quantized by ggml, and what ggml dequantizes them to.
 *
 *   npm install --ignore-scripts @node-llama-cpp/linux-x64@3.22.1      (anywhere)
 *   deno run -A tests/golden/gguf/generate_blocks.ts node_modules/@node-llama-cpp/linux-x64/bins/linux-x64
 */

import { openGgml, randomValues, type TypeName, TYPES } from "./ggml.ts";

const COLUMNS = 512;
const ROWS = 3;

const ggml = openGgml(Deno.args[0]);
const cases = (Object.keys(TYPES) as TypeName[])
  .filter((type) => !["F32", "F16", "BF16"].includes(type))
  .map((type) => {
    const values = randomValues(ROWS * COLUMNS, 7 + TYPES[type]);
    values.fill(0, 32, 96); // groups of zeros, and one number that dwarfs the others
    values[200] = 3.5;
    const bytes = ggml.quantize(type, values, COLUMNS);
    const result = ggml.dequantize(type, bytes, values.length);
    return {
      type,
      bytes: bytes.toBase64(),
      values: new Uint8Array(result.buffer).toBase64(),
    };
  });
const path = new URL("blocks.json", import.meta.url);
await Deno.writeTextFile(path, JSON.stringify({ rows: ROWS, columns: COLUMNS, cases }));
