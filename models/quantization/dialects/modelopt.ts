/**
 * NVIDIA ModelOpt: `hf_quant_config.json`, or `quant_method: modelopt` and `modelopt_fp4` in
 * config.json.
 * Names and algorithms: https://github.com/NVIDIA/Model-Optimizer (`modelopt/torch/export`)
 *
 * @module
 */

import { z } from "../../../deps/zod.ts";
import { excludedModules, excludeFields, moduleMatcher } from "../module_patterns.ts";
import type { Dialect, QuantizationSource, Scheme } from "../quantization.ts";
import { nvfp4Scheme } from "../schemes/fp4.ts";
import { fp8Scheme } from "../schemes/fp8.ts";
import { parseSource, sourceError } from "../source.ts";

const SCALES = ["weight_scale"];

/** What each algorithm stores; FP8_PB_WO has blocks of 128 × 128. */
const SCHEMES: Readonly<Record<string, Scheme>> = {
  FP8: fp8Scheme({ scales: SCALES }),
  FP8_PER_CHANNEL_PER_TOKEN: fp8Scheme({ scales: SCALES }),
  FP8_PB_WO: fp8Scheme({ scales: SCALES, block: [128, 128] }),
  NVFP4: nvfp4Scheme({
    codes: "weight",
    scale: "weight_scale",
    matrixScale: "weight_scale_2",
    isDivisor: false,
  }),
};

const MIXED = "MIXED_PRECISION";

const layerSchema = z.looseObject({ quant_algo: z.string() });

const schema = z.looseObject({
  quant_algo: z.string(),
  kv_cache_quant_algo: z.string().optional(),
  group_size: z.int().optional(),
  quantized_layers: z.record(z.string(), layerSchema).optional(),
  ...excludeFields,
});

/** See the module's documentation. */
export const modelOpt: Dialect = {
  name: "modelopt",
  methods: ["modelopt", "modelopt_fp4", "modelopt_fp8", "modelopt_mixed"],
  writers: "NVIDIA ModelOpt",
  reads: [
    "FP8: E4M3 with one scale for each matrix, `input_scale` for static rounding of activations",
    "FP8_PER_CHANNEL_PER_TOKEN: E4M3 with one scale for each row",
    "FP8_PB_WO: E4M3 with a scale for each block of 128 × 128",
    "NVFP4: scales of two levels; activations are not rounded",
    "MIXED_PRECISION: one of these for each layer of `quantized_layers`",
  ],
  read(from) {
    const flat = flatten(from);
    const config = parseSource(schema, flat);
    const exclude = excludedModules(config);
    const algorithm = config.quant_algo;
    const layers = algorithm === MIXED ? config.quantized_layers ?? {} : {};
    const names = algorithm === MIXED
      ? [...new Set(Object.values(layers).map((layer) => layer.quant_algo))]
      : [algorithm];
    const schemes = new Map(names.map((name) => [name, schemeOf(name, flat)]));
    const isExcluded = moduleMatcher(exclude, flat);
    return {
      dialect: "modelopt",
      source: from.source,
      formats: names.map((name) => `${schemes.get(name)?.format} (${name})`),
      exclude,
      cacheScales: config.kv_cache_quant_algo === "FP8",
      schemeOf: (module) => schemes.get(layers[module]?.quant_algo ?? algorithm),
      isExcluded: (module) =>
        isExcluded(module) || (algorithm === MIXED && !Object.hasOwn(layers, module)),
    };
  },
};

/** hf_quant_config.json has it all under `quantization`; config.json may have that level as well. */
function flatten(from: QuantizationSource): QuantizationSource {
  const { quantization } = from.value;
  return typeof quantization === "object" && quantization !== null
    ? { ...from, value: quantization as Record<string, unknown> }
    : from;
}

function schemeOf(algorithm: string, from: QuantizationSource): Scheme {
  if (Object.hasOwn(SCHEMES, algorithm)) return SCHEMES[algorithm];
  const known = [...Object.keys(SCHEMES), MIXED].join(", ");
  throw sourceError(from, "quant_algo", known, algorithm);
}
