/**
 * Rules that the keys of every config.json obey, beyond their types: without them a model loads and
 * computes other numbers, or NaN.
 *
 * @module
 */

import type { z } from "../../deps/zod.ts";
import { CheckpointError } from "../../graph/mod.ts";
import { keysOf } from "./hf_config.ts";

/** Lists with an entry for each layer. */
const LAYER_LISTS = ["layer_types", "mlp_layer_types", "no_rope_layers"] as const;

const HINT = "Check that config.json belongs to these weights";

/**
 * Checks what the class of `schema` reads of a config.json; an error names the key, what was expected and what
 * stands there.
 */
export function checkConfig(
  schema: z.ZodType,
  config: Readonly<Record<string, unknown>>,
  file: string,
): void {
  checkNumbers(config, file, "");
  const layers = Number(config.num_hidden_layers);
  const predicting = Number(config.num_nextn_predict_layers ?? 0);
  for (const key of LAYER_LISTS) {
    const list = config[key];
    if (!Array.isArray(list) || list.length === layers) continue;
    if (list.length === layers + predicting) continue;
    if (list.length === 0 && key === "no_rope_layers") continue; // the class computes its own
    throw refused(file, key, `num_hidden_layers (${layers}) entries`, `${list.length}`, HINT);
  }
  const { layer_types: types, sliding_window: window } = config;
  const slides = "layer_types" in keysOf(schema) && Array.isArray(types) &&
    types.includes("sliding_attention");
  if (slides && typeof window !== "number") {
    const hint = 'Add "sliding_window" to config.json: layer_types has layers that slide';
    throw refused(file, "sliding_window", "a number of tokens", "none", hint);
  }
}

/**
 * Layers that slide while `use_sliding_window` switches windows off, where the class of `schema` reads both:
 * transformers masks every token then, or finds no window.
 */
export function checkWindow(
  schema: z.ZodType,
  config: Readonly<Record<string, unknown>>,
  file: string,
): void {
  const read = keysOf(schema);
  const { use_sliding_window: used = false, layer_types: types } = config;
  if (!("use_sliding_window" in read) || !("layer_types" in read) || used !== false) return;
  if (!Array.isArray(types) || !types.includes("sliding_attention")) return;
  const hint = 'Set "use_sliding_window" to true, or every entry of layer_types to full_attention';
  throw refused(file, "layer_types", "no layer that slides", "sliding_attention", hint);
}

/** Largest number of tokens that positions count. */
const MOST_TOKENS = 2 ** 31 - 1;

/** Numbers that neither f32 nor a shader can hold work on no executor, or on one alone. */
function checkNumbers(value: unknown, file: string, path: string): void {
  if (typeof value === "number") {
    // Infinity is how writers say "no limit".
    if (Number.isFinite(value) && !Number.isFinite(Math.fround(value))) {
      throw refused(file, path, "a number that f32 holds", `${value}`, HINT);
    }
    if (/(^|\.)(sliding_window|attention_chunk_size)$/.test(path) && value > MOST_TOKENS) {
      const hint = `Remove "${path}" from config.json: it is longer than any sequence`;
      throw refused(file, path, `at most ${MOST_TOKENS}`, `${value}`, hint);
    }
  } else if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    for (const [key, each] of Object.entries(value)) {
      if (path === "" && key === "quantization_config") continue;
      checkNumbers(each, file, path === "" ? key : `${path}.${key}`);
    }
  }
}

function refused(file: string, key: string, expected: string, got: string, hint: string) {
  return new CheckpointError(
    got === "none" ? "checkpoint/config-missing-key" : "checkpoint/config-value",
    `Cannot read config "${file}": expected ${expected} for key "${key}", got ${got}`,
    { hint, details: { file, key } },
  );
}
