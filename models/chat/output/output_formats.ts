/**
 * The output formats that are known. A format is one file and one line here.
 *
 * @module
 */

import { deepseek } from "./formats/deepseek.ts";
import { glm } from "./formats/glm.ts";
import { harmony } from "./formats/harmony.ts";
import { kimi } from "./formats/kimi.ts";
import { minimax } from "./formats/minimax.ts";
import { mistral } from "./formats/mistral.ts";
import { qwen } from "./formats/qwen.ts";
import { thinking } from "./formats/thinking.ts";
import type { OutputFormat } from "./output_format.ts";

/** In the order in which they are asked; those with rarer marks come first. */
export const OUTPUT_FORMATS: readonly OutputFormat[] = [
  harmony,
  deepseek,
  mistral,
  kimi,
  minimax,
  glm,
  qwen,
  thinking,
];

/** The format in which the models of a template answer; undefined for plain text. */
export function findOutputFormat(template: string, modelType: string): OutputFormat | undefined {
  return OUTPUT_FORMATS.find((format) => format.recognizes(template, modelType));
}
