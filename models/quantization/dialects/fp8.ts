/**
 * `quant_method: fp8`: AutoFP8 and vLLM (a scale for each matrix), and the fine-grained FP8 of
 * DeepSeek and transformers (a scale for each block).
 * Keys: https://huggingface.co/docs/transformers/quantization/finegrained_fp8
 *
 * @module
 */

import { z } from "../../../deps/zod.ts";
import { excludedModules, excludeFields, moduleMatcher } from "../module_patterns.ts";
import type { Dialect } from "../quantization.ts";
import { fp8Scheme } from "../schemes/fp8.ts";
import { parseSource } from "../source.ts";

const schema = z.looseObject({
  fmt: z.literal("e4m3").default("e4m3"),
  activation_scheme: z.enum(["dynamic", "static"]).optional(),
  weight_block_size: z.tuple([z.int().positive(), z.int().positive()]).optional(),
  scale_fmt: z.enum(["float", "ue8m0"]).optional(),
  ...excludeFields,
});

/** See the module's documentation. */
export const fp8: Dialect = {
  name: "fp8",
  methods: ["fp8"],
  writers: "DeepSeek, transformers' FineGrainedFP8Config, AutoFP8, vLLM",
  reads: [
    "E4M3 with `weight_block_size` of any size; scales `weight_scale_inv` or `weight_scale` in F32, BF16 or E8M0",
    "E4M3 with one scale for each matrix or row; `input_scale` for static rounding of activations",
  ],
  read(from) {
    const config = parseSource(schema, from);
    const block = config.weight_block_size;
    const scheme = fp8Scheme(block && { block });
    const exclude = excludedModules(config);
    return {
      dialect: "fp8",
      source: from.source,
      formats: [block ? `fp8_block ${block.join(" × ")}` : "fp8_e4m3"],
      exclude,
      schemeOf: () => scheme,
      isExcluded: moduleMatcher(exclude, from),
    };
  },
};
