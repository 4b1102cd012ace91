import { defineOutputFormat } from "../output_format.ts";
import { sections, THINK } from "../section_parser.ts";

/** Models that think in `<think>..</think>` and call no tools in a form that is known. */
export const thinking = defineOutputFormat({
  name: "thinking",
  summary: "reasoning in <think>..</think>",
  marks: ["<think>", "</think>"],
  recognizes: (template) => template.includes("</think>"),
  ...sections(THINK),
});
