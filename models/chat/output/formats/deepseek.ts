import { defineOutputFormat, type ToolCall } from "../output_format.ts";
import { sections, THINK } from "../section_parser.ts";
import { type CallableTool, calls, inOrder, jsonCall } from "../text_form.ts";
import { allCalls, callWith } from "../tool_calls.ts";

const MARK = (name: string) => `<\uFF5Ctool\u2581${name}\uFF5C>`;
const BEGIN = MARK("calls\u2581begin");
const END = MARK("calls\u2581end");
const CALL_BEGIN = MARK("call\u2581begin");
const CALL_END = MARK("call\u2581end");
const SEPARATOR = MARK("sep");

/** V3 and R1: type, separator, name, and the arguments in a fence; V3.1: name, separator, arguments. */
const FENCED = /^function\s*$/;
const FENCE = /^([^\n]+)\n```json\n([^]*?)\n```\s*$/;

/** DeepSeek-V3, R1 and V3.1: calls between marks with U+FF5C and U+2581. */
export const deepseek = defineOutputFormat({
  name: "deepseek",
  summary: `calls in ${BEGIN}..${END}, and <think>..</think>`,
  marks: ["<think>", "</think>", BEGIN, END, CALL_BEGIN, CALL_END, SEPARATOR],
  recognizes: (template) => template.includes(BEGIN),
  ...sections(THINK, () => ({ open: BEGIN, close: END, read: callsIn })),
  calls: (tools, { several, template }) => {
    const isFenced = template.includes("```json");
    const write = (tool: CallableTool) =>
      isFenced
        ? jsonCall(`function${SEPARATOR}${tool.name}\n\`\`\`json\n`, tool, "\n```")
        : jsonCall(`${tool.name}${SEPARATOR}`, tool, "");
    const between = `${CALL_END}${isFenced ? "\n" : ""}${CALL_BEGIN}`;
    return inOrder(
      BEGIN + CALL_BEGIN,
      calls(tools, write, several ? between : undefined),
      CALL_END + END,
    );
  },
});

function callsIn(body: string): ToolCall[] | undefined {
  const [before, ...calls] = body.split(CALL_BEGIN);
  if (before.trim() !== "") return undefined;
  return allCalls(calls.map((call) => callIn(call.replace(CALL_END, ""))));
}

function callIn(call: string): ToolCall | undefined {
  const at = call.indexOf(SEPARATOR);
  if (at < 0) return undefined;
  const [first, second] = [call.slice(0, at), call.slice(at + SEPARATOR.length)];
  if (!FENCED.test(first)) return callWith(first.trim(), second);
  const [, name, json] = second.match(FENCE) ?? [];
  return name === undefined ? undefined : callWith(name.trim(), json);
}
