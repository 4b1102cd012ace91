/**
 * How a checkpoint is quantized: `quantization_config` of config.json, and ModelOpt's
 * `hf_quant_config.json`, in whichever dialect.
 *
 * @module
 */

import { CheckpointError } from "../../graph/mod.ts";
import { modelOpt as modelOptDialect } from "./dialects/modelopt.ts";
import type { Quantization, QuantizationSource } from "./quantization.ts";
import { REFUSED_METHODS } from "./refused_methods.ts";
import { DIALECTS } from "./registry.ts";
import { sourceError } from "./source.ts";

/**
 * Reads how a model is quantized; undefined when it is not. `modelOpt` is the content of
 * hf_quant_config.json, which wins over `config`, the `quantization_config` of config.json. Keys with
 * null are as good as absent. What is not read raises a CheckpointError with what to do.
 *
 * @example
 * ```ts
 * import { readQuantization } from "./read_quantization.ts";
 * const config = { quant_method: "fp8", weight_block_size: [128, 128], modules_to_not_convert: null };
 * const fp8 = readQuantization(config, undefined, "m");
 * console.assert(fp8?.schemeOf("model.layers.0.mlp.down_proj")?.format === "fp8_block");
 * console.assert(readQuantization(undefined, undefined, "m") === undefined);
 * ```
 */
export function readQuantization(
  config: unknown,
  modelOpt: unknown,
  folder: string,
): Quantization | undefined {
  const own = sourceOf(modelOpt, "hf_quant_config.json", folder);
  if (own && algorithmOf(own.value) !== undefined) return modelOptDialect.read(own);
  const from = sourceOf(config, "quantization_config of config.json", folder);
  if (!from || Object.keys(from.value).length === 0) return undefined;
  const method = methodOf(from);
  const dialect = DIALECTS.find(({ methods }) => methods.includes(method));
  if (dialect) return dialect.read(from);
  const known = DIALECTS.flatMap(({ methods }) => methods).join(", ");
  const refused = Object.hasOwn(REFUSED_METHODS, method) ? REFUSED_METHODS[method] : undefined;
  throw sourceError(from, "quant_method", known, method, refused);
}

/** Bitsandbytes and MLX also write configs that do not name themselves. */
function methodOf({ value }: QuantizationSource): string {
  const { quant_method: method } = value;
  if (typeof method === "string") return method.toLowerCase();
  if (value.load_in_4bit === true || value.load_in_8bit === true) return "bitsandbytes";
  if (value.config_groups !== undefined) return "compressed-tensors";
  if (value.mode !== undefined || (value.bits !== undefined && value.group_size !== undefined)) {
    return "mlx";
  }
  return String(method);
}

function sourceOf(value: unknown, source: string, folder: string): QuantizationSource | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value === "object" && !Array.isArray(value)) {
    return { folder, source, value: withoutNulls(value) };
  }
  throw new CheckpointError(
    "checkpoint/quantization",
    `Cannot read ${source} of "${folder}": expected a JSON object, got ${JSON.stringify(value)}`,
    { hint: "Download the file again", details: { source, folder } },
  );
}

/** Keys with null are left out, at every level. */
function withoutNulls(value: object): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(value).filter(([, each]) => each !== null).map(([key, each]) => [
      key,
      typeof each === "object" && !Array.isArray(each) ? withoutNulls(each) : each,
    ]),
  );
}

function algorithmOf(value: Readonly<Record<string, unknown>>): unknown {
  const { quantization } = value;
  if (typeof quantization !== "object" || quantization === null) return value.quant_algo;
  return Reflect.get(quantization, "quant_algo") ?? undefined;
}
