/**
 * `quant_method: awq`: AutoAWQ's `gemm` packing.
 * Format: https://github.com/casper-hansen/AutoAWQ (`awq/utils/packing_utils.py`): `qweight` i32
 * [columns, rows / 8], `qzeros` i32 [groups, rows / 8], `scales` [groups, rows]; the nibbles of a word,
 * from the lowest up, are rows 0, 2, 4, 6, 1, 3, 5, 7; value = (code - zero) · scale.
 *
 * @module
 */

import { z } from "../../../deps/zod.ts";
import type { IntegerPacking } from "../../../graph/mod.ts";
import { excludedModules, excludeFields, moduleMatcher } from "../module_patterns.ts";
import type { Dialect } from "../quantization.ts";
import { integerScheme } from "../schemes/integer.ts";
import { parseSource } from "../source.ts";

const schema = z.looseObject({
  bits: z.literal(4),
  group_size: z.int().refine((size) => size === -1 || size > 0, "a positive number or -1"),
  version: z.string().transform((version) => version.toLowerCase()).pipe(z.literal("gemm"))
    .default("gemm"),
  zero_point: z.boolean().default(true),
  ...excludeFields,
});

const PACKING: IntegerPacking = {
  bits: 4,
  along: 1,
  order: [0, 2, 4, 6, 1, 3, 5, 7],
  transposed: true,
};

/** See the module's documentation. */
export const awq: Dialect = {
  name: "awq",
  methods: ["awq"],
  writers: "AutoAWQ",
  reads: ["4 bits in groups or by row, `version: gemm`, with zero points"],
  read(from) {
    const config = parseSource(schema, from);
    const groupSize = config.group_size === -1 ? 0 : config.group_size;
    const exclude = excludedModules(config);
    const scheme = integerScheme({
      bits: 4,
      groupSize,
      codes: "qweight",
      packing: PACKING,
      scales: "scales",
      scalesTransposed: true,
      // Without zero points the writer stores the middle, 8, in each.
      zeros: { tensor: "qzeros", packing: PACKING, add: 0 },
      scattered: false,
      source: from.source,
    });
    const span = groupSize === 0 ? "by row" : `in groups of ${groupSize}`;
    return {
      dialect: "awq",
      source: from.source,
      formats: [`${scheme.format} ${span}`],
      exclude,
      schemeOf: () => scheme,
      isExcluded: moduleMatcher(exclude, from),
    };
  },
};
