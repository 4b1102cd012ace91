import { defineOutputFormat, type ToolCall } from "../output_format.ts";
import { type Section, sections } from "../section_parser.ts";
import { type CallableTool, calls, inOrder, jsonCall } from "../text_form.ts";
import { allCalls, callOf, callWith, parseJson } from "../tool_calls.ts";

const CALLS = "[TOOL_CALLS]";
const ARGUMENTS = "[ARGS]";
const REASONING: Section = { open: "[THINK]", close: "[/THINK]" };

/** Mistral: `[TOOL_CALLS][{"name": .., "arguments": {..}}]`, later `[TOOL_CALLS]name[ARGS]{..}`. */
export const mistral = defineOutputFormat({
  name: "mistral",
  summary: "calls after [TOOL_CALLS], and [THINK]..[/THINK]",
  marks: [CALLS, ARGUMENTS, "[THINK]", "[/THINK]"],
  recognizes: (template) => template.includes(CALLS),
  ...sections(REASONING, () => ({ open: CALLS, read: callsIn })),
  calls: (tools, { several, template }) => {
    if (template.includes(ARGUMENTS)) {
      const write = (tool: CallableTool) => jsonCall(`${tool.name}${ARGUMENTS}`, tool, "");
      return inOrder(CALLS, calls(tools, write, several ? CALLS : undefined));
    }
    const write = (tool: CallableTool) =>
      jsonCall(`{"name": "${tool.name}", "arguments": `, tool, "}");
    return inOrder(`${CALLS}[`, calls(tools, write, several ? ", " : undefined), "]");
  },
});

function callsIn(body: string): ToolCall[] | undefined {
  const list = parseJson(body);
  if (Array.isArray(list)) return allCalls(list.map(callOf));
  return allCalls(
    body.split(CALLS).map((call) => {
      const at = call.indexOf(ARGUMENTS);
      if (at >= 0) return callWith(call.slice(0, at).trim(), call.slice(at + ARGUMENTS.length));
      const [, name, json] = call.match(/^\s*([\w.-]+)\s*(\{[^]*\})\s*$/) ?? [];
      return name === undefined ? undefined : callWith(name, json);
    }),
  );
}
