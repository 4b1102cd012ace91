import { defineOutputFormat, type ToolCall } from "../output_format.ts";
import { sections, THINK } from "../section_parser.ts";
import {
  type CallableTool,
  calls,
  inOrder,
  jsonCall,
  namedArguments,
  type TextForm,
} from "../text_form.ts";
import { allCalls, argumentOf, callOf, parseJson } from "../tool_calls.ts";

const FUNCTION = /^\s*<function=([^>\n]+)>([^]*?)(?:<\/function>)?\s*$/;
const PARAMETER = /<parameter=([^>\n]+)>\n?([^]*?)\n?<\/parameter>/g;

/**
 * Qwen3 and Hermes: `<tool_call>{"name": .., "arguments": {..}}</tool_call>`; Qwen3-Coder writes
 * `<function=name><parameter=key>value</parameter></function>` within.
 */
export const qwen = defineOutputFormat({
  name: "qwen",
  summary: "calls in <tool_call>..</tool_call>, JSON or <function=..>, and <think>..</think>",
  marks: ["<think>", "</think>", "<tool_call>", "</tool_call>"],
  recognizes: (template) => template.includes("<tool_call>"),
  ...sections(THINK, (tools) => ({
    open: "<tool_call>",
    close: "</tool_call>",
    read: (body) => allCalls([callOf(parseJson(body)) ?? functionCall(body, tools)]),
  })),
  calls: (tools, { several, template }) =>
    calls(
      tools,
      template.includes("<function=") ? functionForm : jsonForm,
      several ? "\n" : undefined,
    ),
});

function functionCall(body: string, tools: readonly unknown[]): ToolCall | undefined {
  const [, name, inner] = body.match(FUNCTION) ?? [];
  if (name === undefined || inner.replaceAll(PARAMETER, "").trim() !== "") return undefined;
  const entries = [...inner.matchAll(PARAMETER)]
    .map(([, key, value]) => [key, argumentOf(value, key, name, tools)]);
  return { name, arguments: Object.fromEntries(entries) };
}

function jsonForm(tool: CallableTool): TextForm {
  const begin = `<tool_call>\n{"name": "${tool.name}", "arguments": `;
  return jsonCall(begin, tool, "}\n</tool_call>");
}

function functionForm(tool: CallableTool): TextForm {
  return inOrder(
    `<tool_call>\n<function=${tool.name}>\n`,
    namedArguments(tool, {
      begin: (name) => `<parameter=${name}>\n`,
      end: "\n</parameter>\n",
    }),
    "</function>\n</tool_call>",
  );
}
