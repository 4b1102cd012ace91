/**
 * How a checkpoint is quantized: `quantization_config` of config.json, and ModelOpt's
 * `hf_quant_config.json`.
 *
 * @module
 */

import { z } from "../deps/zod.ts";
import { CheckpointError } from "../graph/mod.ts";

/** What a checkpoint says of its quantized weights. */
export interface Quantization {
  /** `fp8` per tensor, `fp8_block`, `mxfp4` or `nvfp4`: the format of the weights that have scales. */
  readonly format: "fp8_e4m3" | "fp8_block" | "mxfp4" | "nvfp4";
  /** Rows and columns that share a scale, for `fp8_block`. */
  readonly block?: readonly [number, number];
  /** Where this was read, for messages: `quantization_config of config.json`. */
  readonly source: string;
  /** Modules that are not quantized, with * for any characters. */
  readonly exclude: readonly string[];
}

const globs = z.array(z.string()).default([]);

const configSchema = z.discriminatedUnion("quant_method", [
  z.looseObject({
    quant_method: z.literal("fp8"),
    fmt: z.literal("e4m3").default("e4m3"),
    weight_block_size: z.tuple([z.int().positive(), z.int().positive()]).nullish(),
    modules_to_not_convert: globs,
  }),
  z.looseObject({
    quant_method: z.literal("modelopt"),
    quant_algo: z.enum(["FP8", "NVFP4"]),
    ignore: globs,
  }),
  z.looseObject({ quant_method: z.literal("mxfp4"), modules_to_not_convert: globs }),
]);

const modelOptSchema = z.looseObject({
  quantization: z.looseObject({
    quant_algo: z.enum(["FP8", "NVFP4"]).nullish(),
    exclude_modules: globs,
  }),
});

const MODELOPT_FORMATS = { FP8: "fp8_e4m3", NVFP4: "nvfp4" } as const;

/**
 * Reads how a model is quantized; undefined when it is not. `modelOpt` is the content of
 * hf_quant_config.json, which wins over config.json. Unknown methods raise a CheckpointError.
 *
 * @example
 * ```ts
 * import { readQuantization } from "./quantization.ts";
 * const fp8 = readQuantization({ quant_method: "fp8", weight_block_size: [128, 128] }, undefined, "m");
 * console.assert(fp8?.format === "fp8_block" && fp8.block?.[0] === 128);
 * console.assert(readQuantization(undefined, undefined, "m") === undefined);
 * ```
 */
export function readQuantization(
  config: unknown,
  modelOpt: unknown,
  folder: string,
): Quantization | undefined {
  if (modelOpt !== undefined) {
    const source = "hf_quant_config.json";
    const { quantization } = parse(modelOptSchema, modelOpt, source, folder);
    if (!quantization.quant_algo) return undefined;
    return {
      format: MODELOPT_FORMATS[quantization.quant_algo],
      source,
      exclude: quantization.exclude_modules,
    };
  }
  if (config === undefined || config === null) return undefined;
  const source = "quantization_config of config.json";
  const parsed = parse(configSchema, config, source, folder);
  switch (parsed.quant_method) {
    case "fp8":
      return parsed.weight_block_size
        ? {
          format: "fp8_block",
          block: parsed.weight_block_size,
          source,
          exclude: parsed.modules_to_not_convert,
        }
        : { format: "fp8_e4m3", source, exclude: parsed.modules_to_not_convert };
    case "modelopt":
      return { format: MODELOPT_FORMATS[parsed.quant_algo], source, exclude: parsed.ignore };
    case "mxfp4":
      return { format: "mxfp4", source, exclude: parsed.modules_to_not_convert };
  }
}

function parse<Schema extends z.ZodType>(
  schema: Schema,
  value: unknown,
  source: string,
  folder: string,
): z.output<Schema> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const got = issue.path.reduce<unknown>(
    (of, key) => typeof of === "object" && of !== null ? Reflect.get(of, key) : undefined,
    value,
  );
  throw new CheckpointError(
    "checkpoint/quantization",
    `Cannot read ${source} of "${folder}": expected ${
      issue.path.join(".") || "a value"
    } that is known, got ${JSON.stringify(got) ?? "none"}`,
    {
      hint:
        "Use a checkpoint with quant_method fp8 (e4m3, with or without weight_block_size), modelopt (FP8, NVFP4) or mxfp4, or the bf16 one with quantize_moe",
      details: { source, folder, path: issue.path },
    },
  );
}
