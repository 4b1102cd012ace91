/**
 * The dialects in which checkpoints describe their quantization. A new one is a file in `dialects/` and
 * a line here.
 *
 * @module
 */

import { awq } from "./dialects/awq.ts";
import { compressedTensors } from "./dialects/compressed_tensors.ts";
import { fp8 } from "./dialects/fp8.ts";
import { gptq } from "./dialects/gptq.ts";
import { modelOpt } from "./dialects/modelopt.ts";
import { mxfp4 } from "./dialects/mxfp4.ts";
import type { Dialect } from "./quantization.ts";

/** All dialects, in the order of the documentation. */
export const DIALECTS: readonly Dialect[] = [fp8, compressedTensors, modelOpt, mxfp4, gptq, awq];
