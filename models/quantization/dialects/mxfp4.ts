/**
 * `quant_method: mxfp4`: gpt-oss. Its architecture reads the stacked `*_blocks` and `*_scales` itself.
 *
 * @module
 */

import { z } from "../../../deps/zod.ts";
import { excludedModules, excludeFields, moduleMatcher } from "../module_patterns.ts";
import type { Dialect } from "../quantization.ts";
import { parseSource } from "../source.ts";

const schema = z.looseObject(excludeFields);

/** See the module's documentation. */
export const mxfp4: Dialect = {
  name: "mxfp4",
  methods: ["mxfp4"],
  writers: "OpenAI's gpt-oss",
  reads: ["stacked experts as `*_blocks` and `*_scales`; bf16 experts under the same config"],
  read(from) {
    const exclude = excludedModules(parseSource(schema, from));
    return {
      dialect: "mxfp4",
      source: from.source,
      formats: ["mxfp4"],
      exclude,
      schemeOf: () => undefined,
      isExcluded: moduleMatcher(exclude, from),
    };
  },
};
