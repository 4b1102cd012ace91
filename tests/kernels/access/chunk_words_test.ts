/** Packed weights by words of one chunk, which GPUs read where CPUs read wide words. */

import assert from "node:assert/strict";
import { PACKED_FORMATS } from "../../../graph/mod.ts";
import { webgpuTest } from "../../support/adapter.ts";
import { numbersOf } from "../../support/host_tensors.ts";
import { CONFIGS } from "../../support/moe_configs.ts";
import { lowerWith } from "../../support/moe_layer.ts";
import { activation, runOp, worstDifference } from "../../support/op_case.ts";
import { packedInputs } from "../../support/packed_inputs.ts";
import { packedLayer, type PackedOptions } from "../../support/packed_layer.ts";
import { withRunner } from "../../support/run_dispatches.ts";
import { relativeError, TOLERANCES } from "../../support/tolerances.ts";

/** Sizes of whole chunks and not of whole words, of whole words, and of neither. */
const SIZES = [{ K: 72, N: 9 }, { K: 160, N: 20 }, { K: 46, N: 5 }];

webgpuTest(
  "linear reads packed weights by chunks like the CPU reference",
  (t) =>
    withRunner(async (runner) => {
      const profile = { ...runner.profile, software: false };
      for (const format of PACKED_FORMATS) {
        for (const { K, N } of SIZES) {
          await t.step(`${format} K=${K} N=${N}`, async () => {
            const { got, expected } = await runOp(runner, {
              op: "linear",
              attrs: { format },
              inputs: {
                x: activation(["T", K], { T: 3 }, 1),
                ...packedInputs(format, N, K, undefined),
              },
              sizes: { T: 3 },
              context: { profile, tokens: { min: 1, max: 3 } },
            });
            const worst = worstDifference(got[0], expected[0]);
            assert.ok(worst < 2e-6, `off by ${worst}`);
          });
        }
      }
    }),
);

/** Rows in the order of words: fewer words than 32, exactly so many, and one more. */
const ORDERED: readonly PackedOptions[] = [
  { format: "mxfp4", hidden: 96, intermediate: 64, bias: true, tokens: 2 },
  { format: "nvfp4", hidden: 64, intermediate: 1024, tokens: 1 },
  { format: "int4", hidden: 64, intermediate: 1056, residual: true, tokens: 2 },
];

webgpuTest(
  "slots and experts read packed weights by chunks like the CPU",
  (t) =>
    withRunner(async (runner) => {
      const profile = { ...runner.profile, software: false };
      const layers: readonly PackedOptions[] = [
        ...PACKED_FORMATS.map((format) => ({ format, hidden: 72, intermediate: 40, bias: true })),
        { format: "int8", block: [1, 8], hidden: 48, intermediate: 40 },
        { format: "int4", block: [1, 8], hidden: 48, intermediate: 40 },
        ...ORDERED,
      ];
      for (const options of layers) {
        for (const config of [CONFIGS.slots, CONFIGS.experts]) {
          await t.step(`${config.algorithm} ${JSON.stringify(options)}`, async () => {
            const lower = lowerWith(config);
            const layer = { ...packedLayer(options), lower, context: { profile } };
            const { got, expected } = await runOp(runner, layer);
            const error = relativeError(numbersOf(got[0]), numbersOf(expected[0]));
            assert.ok(error <= TOLERANCES.moeF32, `off by ${error}`);
          });
        }
      }
    }),
);
