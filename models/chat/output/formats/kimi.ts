import { defineOutputFormat, type ToolCall } from "../output_format.ts";
import { sections, THINK } from "../section_parser.ts";
import { calls, inOrder, json, oneOf } from "../text_form.ts";
import { allCalls, callWith } from "../tool_calls.ts";

const BEGIN = "<|tool_calls_section_begin|>";
const END = "<|tool_calls_section_end|>";
const CALL_BEGIN = "<|tool_call_begin|>";
const CALL_END = "<|tool_call_end|>";
const ARGUMENTS = "<|tool_call_argument_begin|>";

/** Kimi-K2: calls as `functions.name:0`, a mark, and the arguments as JSON. */
export const kimi = defineOutputFormat({
  name: "kimi",
  summary: `calls in ${BEGIN}..${END}, and <think>..</think>`,
  marks: ["<think>", "</think>", BEGIN, END, CALL_BEGIN, CALL_END, ARGUMENTS],
  recognizes: (template) => template.includes(BEGIN),
  ...sections(THINK, () => ({ open: BEGIN, close: END, read: callsIn })),
  calls: (tools, { several }) =>
    inOrder(
      BEGIN + CALL_BEGIN,
      calls(
        tools,
        ({ name, parameters }) =>
          inOrder(`functions.${name}:`, oneOf(..."0123456789"), ARGUMENTS, json(parameters)),
        several ? CALL_END + CALL_BEGIN : undefined,
      ),
      CALL_END + END,
    ),
});

function callsIn(body: string): ToolCall[] | undefined {
  const [before, ...calls] = body.split(CALL_BEGIN);
  if (before.trim() !== "") return undefined;
  return allCalls(calls.map((call) => {
    const at = call.indexOf(ARGUMENTS);
    if (at < 0) return undefined;
    const name = call.slice(0, at).trim().replace(/^functions\./, "").replace(/:\d+$/, "");
    return callWith(name, call.slice(at + ARGUMENTS.length).replace(CALL_END, ""));
  }));
}
