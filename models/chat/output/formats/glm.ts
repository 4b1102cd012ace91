import { defineOutputFormat, type ToolCall } from "../output_format.ts";
import { sections, THINK } from "../section_parser.ts";
import { type CallableTool, calls, inOrder, namedArguments, type TextForm } from "../text_form.ts";
import { allCalls, argumentOf } from "../tool_calls.ts";

const ARGUMENT = /<arg_key>([^]*?)<\/arg_key>\s*<arg_value>([^]*?)<\/arg_value>/g;

/** GLM-4.5 and later: `<tool_call>name`, then `<arg_key>` and `<arg_value>` alternately. */
export const glm = defineOutputFormat({
  name: "glm",
  summary: "calls in <tool_call>name<arg_key>..</arg_key><arg_value>.., and <think>..</think>",
  marks: [
    ...["<think>", "</think>", "<tool_call>", "</tool_call>"],
    ...["<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"],
  ],
  recognizes: (template) => template.includes("<arg_key>"),
  ...sections(THINK, (tools) => ({
    open: "<tool_call>",
    close: "</tool_call>",
    read: (body) => allCalls([callIn(body, tools)]),
  })),
  calls: (tools, { several }) => calls(tools, callForm, several ? "\n" : undefined),
});

function callIn(body: string, tools: readonly unknown[]): ToolCall | undefined {
  const name = body.replaceAll(ARGUMENT, "").trim();
  if (name === "" || /[\s<>{}]/.test(name)) return undefined;
  const entries = [...body.matchAll(ARGUMENT)]
    .map(([, key, value]) => [key.trim(), argumentOf(value, key.trim(), name, tools)]);
  return { name, arguments: Object.fromEntries(entries) };
}

function callForm(tool: CallableTool): TextForm {
  return inOrder(
    `<tool_call>${tool.name}\n`,
    namedArguments(tool, {
      begin: (name) => `<arg_key>${name}</arg_key>\n<arg_value>`,
      end: "</arg_value>\n",
    }),
    "</tool_call>",
  );
}
