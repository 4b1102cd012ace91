import { defineOutputFormat, type ToolCall } from "../output_format.ts";
import { sections, THINK } from "../section_parser.ts";
import { type CallableTool, calls, inOrder, namedArguments, type TextForm } from "../text_form.ts";
import { allCalls, argumentOf } from "../tool_calls.ts";

const BEGIN = "<minimax:tool_call>";
const END = "</minimax:tool_call>";
const INVOKE = /<invoke name="([^"]+)">([^]*?)<\/invoke>/g;
const PARAMETER = /<parameter name="([^"]+)">([^]*?)<\/parameter>/g;

/** MiniMax-M2: `<invoke name="f"><parameter name="k">v</parameter></invoke>` between its own marks. */
export const minimax = defineOutputFormat({
  name: "minimax",
  summary: `calls in ${BEGIN}<invoke name=..>, and <think>..</think>`,
  marks: ["<think>", "</think>", BEGIN, END],
  recognizes: (template) => template.includes(BEGIN),
  ...sections(
    THINK,
    (tools) => ({ open: BEGIN, close: END, read: (body) => callsIn(body, tools) }),
  ),
  calls: (tools, { several }) =>
    inOrder(`${BEGIN}\n`, calls(tools, callForm, several ? "\n" : undefined), `\n${END}`),
});

function callsIn(body: string, tools: readonly unknown[]): ToolCall[] | undefined {
  if (body.replaceAll(INVOKE, "").trim() !== "") return undefined;
  return allCalls([...body.matchAll(INVOKE)].map(([, name, inner]) => {
    if (inner.replaceAll(PARAMETER, "").trim() !== "") return undefined;
    const entries = [...inner.matchAll(PARAMETER)]
      .map(([, key, value]) => [key, argumentOf(value, key, name, tools)]);
    return { name, arguments: Object.fromEntries(entries) };
  }));
}

function callForm(tool: CallableTool): TextForm {
  return inOrder(
    `<invoke name="${tool.name}">\n`,
    namedArguments(tool, {
      begin: (name) => `<parameter name="${name}">`,
      end: "</parameter>\n",
    }),
    "</invoke>",
  );
}
