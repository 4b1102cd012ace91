/**
 * `quant_method: compressed-tensors`: llm-compressor and vLLM. Groups of modules, each with the number
 * of bits, the type and the strategy of its weights.
 * Format: https://github.com/vllm-project/compressed-tensors (`compressors/`, `quantization/quant_args.py`)
 *
 * @module
 */

import { z } from "../../../deps/zod.ts";
import type { ScaleBlock } from "../../../graph/mod.ts";
import {
  excludedModules,
  excludeFields,
  moduleMatcher,
  modulePattern,
} from "../module_patterns.ts";
import type { Dialect, QuantizationSource, Scheme } from "../quantization.ts";
import { mxfp4Scheme, nvfp4Scheme } from "../schemes/fp4.ts";
import { fp8Scheme } from "../schemes/fp8.ts";
import { int8Scheme } from "../schemes/int8.ts";
import { integerScheme } from "../schemes/integer.ts";
import { parseSource, sourceError } from "../source.ts";

const weightsSchema = z.looseObject({
  num_bits: z.int(),
  type: z.enum(["float", "int"]),
  strategy: z.enum(["tensor", "channel", "group", "block", "tensor_group"]).optional(),
  symmetric: z.boolean().default(true),
  group_size: z.int().optional(),
  block_structure: z.union([z.tuple([z.int().positive(), z.int().positive()]), z.string()])
    .optional(),
  actorder: z.union([z.string(), z.boolean()]).optional(),
});

type WeightArgs = z.output<typeof weightsSchema>;

const groupSchema = z.looseObject({
  targets: z.array(z.string()),
  weights: weightsSchema.optional(),
  format: z.string().optional(),
});

const schema = z.looseObject({
  format: z.string().default("dense"),
  config_groups: z.record(z.string(), groupSchema),
  quantization_status: z.string().optional(),
  sparsity_config: z.looseObject({ format: z.string().optional() }).optional(),
  transform_config: z.looseObject({ config_groups: z.looseObject({}).optional() }).optional(),
  kv_cache_scheme: z.looseObject({ num_bits: z.int(), type: z.string() }).optional(),
  ...excludeFields,
});

/** A group of modules that are stored in the same way. */
interface Group {
  readonly takes: (module: string) => boolean;
  readonly scheme: Scheme;
  readonly label: string;
}

/** See the module's documentation. */
export const compressedTensors: Dialect = {
  name: "compressed-tensors",
  methods: ["compressed-tensors"],
  writers: "llm-compressor, vLLM, RedHatAI",
  reads: [
    "FP8 (`float-quantized`, `naive-quantized`) by tensor, channel and block; `input_scale` for static rounding, dynamic activations are not rounded",
    "INT8 (`int-quantized`, W8A8) by tensor, channel and group, symmetric or not; activations are not rounded",
    "INT4 and INT8 (`pack-quantized`, W4A16 and W8A16) by channel and group, symmetric or not; `actorder` group is expanded to f32",
    "NVFP4 (`nvfp4-pack-quantized`) and MXFP4 (`mxfp4-pack-quantized`)",
    "several groups of modules, `targets` and `ignore` with names, class names and `re:` patterns",
  ],
  read(from) {
    const config = parseSource(schema, from);
    refuseUnread(config, from);
    const groups = Object.entries(config.config_groups).flatMap(([name, group]): Group[] => {
      if (!group.weights) return [];
      const at = { ...from, source: `${name} of ${from.source}` };
      const scheme = schemeOf(group.format ?? config.format, group.weights, at);
      return [{ takes: targetMatcher(group.targets, at), ...scheme }];
    });
    const exclude = excludedModules(config);
    return {
      dialect: "compressed-tensors",
      source: from.source,
      formats: [...new Set(groups.map(({ label }) => label))],
      exclude,
      cacheScales: config.kv_cache_scheme?.num_bits === 8 &&
        config.kv_cache_scheme.type === "float",
      schemeOf: (module) => groups.find(({ takes }) => takes(module))?.scheme,
      isExcluded: moduleMatcher(exclude, from),
    };
  },
};

function refuseUnread(config: z.output<typeof schema>, from: QuantizationSource): void {
  const sparse = config.sparsity_config?.format;
  if (sparse !== undefined && sparse !== "dense") {
    throw sourceError(from, "sparsity_config.format", '"dense"', sparse);
  }
  const turned = Object.keys(config.transform_config?.config_groups ?? {});
  if (turned.length > 0) {
    throw sourceError(from, "transform_config", "no rotations of activations", turned);
  }
  // Older writers call compressed weights frozen.
  const { quantization_status: status = "compressed" } = config;
  if (status !== "compressed" && status !== "frozen") {
    throw sourceError(from, "quantization_status", '"compressed" or "frozen"', status);
  }
}

/** Targets are class names (`Linear`, `MoE`), paths or their parts, and `re:` patterns. */
function targetMatcher(targets: readonly string[], from: QuantizationSource) {
  if (targets.some((target) => /^[A-Z]\w*$/.test(target))) return () => true;
  const patterns = targets.filter((target) => target.startsWith("re:"))
    .map((target) => modulePattern(target.slice(3), from));
  const named = moduleMatcher(targets.filter((target) => !target.startsWith("re:")), from);
  return (module: string) => named(module) || patterns.some((pattern) => pattern.test(module));
}

function schemeOf(
  format: string,
  weights: WeightArgs,
  from: QuantizationSource,
): Omit<Group, "takes"> {
  switch (format) {
    case "float-quantized":
    case "naive-quantized":
    case "int-quantized":
      return weights.type === "float" ? floats(weights, from) : bytes(weights, from);
    case "pack-quantized":
      return packed(weights, from);
    case "nvfp4-pack-quantized": {
      const names = { codes: "weight_packed", scale: "weight_scale" };
      const scheme = nvfp4Scheme({ ...names, matrixScale: "weight_global_scale", isDivisor: true });
      return { scheme, label: "nvfp4" };
    }
    case "mxfp4-pack-quantized":
      return { scheme: mxfp4Scheme("weight_packed", "weight_scale"), label: "mxfp4" };
    default:
      throw sourceError(
        from,
        "format",
        "float-quantized, int-quantized, naive-quantized, pack-quantized, nvfp4-pack-quantized or mxfp4-pack-quantized",
        format,
      );
  }
}

function floats(weights: WeightArgs, from: QuantizationSource): Omit<Group, "takes"> {
  if (weights.num_bits !== 8) throw sourceError(from, "weights.num_bits", "8", weights.num_bits);
  if (weights.strategy === "group" || weights.strategy === "tensor_group") {
    throw sourceError(from, "weights.strategy", "tensor, channel or block", weights.strategy);
  }
  if (weights.strategy !== "block") {
    const label = weights.strategy === "channel" ? "fp8_e4m3, one scale per row" : "fp8_e4m3";
    return { scheme: fp8Scheme(), label };
  }
  const block = blockOf(weights, from);
  return { scheme: fp8Scheme({ block }), label: `fp8_block ${block.join(" × ")}` };
}

/** `[rows, columns]`, or the older text `"rowsxcolumns"`. */
function blockOf({ block_structure: block }: WeightArgs, from: QuantizationSource): ScaleBlock {
  const parts = typeof block === "string" ? block.split("x").map(Number) : block;
  const [rows, columns] = parts ?? [];
  if (parts?.length === 2 && rows > 0 && columns > 0) return [rows, columns];
  throw sourceError(from, "weights.block_structure", "[rows, columns]", block);
}

function bytes(weights: WeightArgs, from: QuantizationSource): Omit<Group, "takes"> {
  if (weights.num_bits !== 8) throw sourceError(from, "weights.num_bits", "8", weights.num_bits);
  const groupSize = weights.strategy === "tensor" ? "tensor" : groupSizeOf(weights, from);
  const hasZeros = !weights.symmetric;
  const label = `${hasZeros ? "int8_affine" : "int8"} ${
    groupSize === "tensor" ? "a matrix" : spanOf(groupSize)
  }`;
  return { scheme: int8Scheme({ groupSize, hasZeros }), label };
}

function packed(weights: WeightArgs, from: QuantizationSource): Omit<Group, "takes"> {
  const { num_bits: bits, symmetric, actorder } = weights;
  if (bits !== 4 && bits !== 8) throw sourceError(from, "weights.num_bits", "4 or 8", bits);
  if (weights.type !== "int") throw sourceError(from, "weights.type", '"int"', weights.type);
  const groupSize = groupSizeOf(weights, from);
  // `weight` and `static` name the order in which columns were rounded; they keep their position.
  const scattered = actorder === "group" || actorder === true || actorder === "dynamic";
  const scheme = integerScheme({
    bits,
    groupSize,
    codes: "weight_packed",
    packing: { bits, along: 1, transposed: false },
    scales: "weight_scale",
    scalesTransposed: false,
    ...(!symmetric && {
      zeros: {
        tensor: "weight_zero_point",
        packing: { bits, along: 0, transposed: false },
        add: 0,
      },
    }),
    groupIndex: "weight_g_idx",
    scattered,
    source: `actorder ${JSON.stringify(actorder ?? null)} in ${from.source}`,
  });
  const order = scattered ? ", scattered: f32" : "";
  return { scheme, label: `${scheme.format} ${spanOf(groupSize)}${order}` };
}

/** Columns of a group; 0 for a whole row. */
function groupSizeOf(weights: WeightArgs, from: QuantizationSource): number {
  const { strategy, group_size: size } = weights;
  if (strategy === "channel" || (strategy === undefined && (size ?? -1) === -1)) return 0;
  if (strategy === "block" || strategy === "tensor_group" || strategy === "tensor") {
    throw sourceError(from, "weights.strategy", "channel or group", strategy);
  }
  if (size === -1) return 0;
  if (typeof size === "number" && size > 0) return size;
  throw sourceError(from, "weights.group_size", "a positive number or -1", size);
}

function spanOf(groupSize: number): string {
  return groupSize === 0 ? "by row" : `in groups of ${groupSize}`;
}
