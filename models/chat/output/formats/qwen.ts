import { defineOutputFormat, type ToolCall } from "../output_format.ts";
import { endsWithOpen, type Section, SectionParser, THINK } from "../section_parser.ts";
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
  open({ prompt, tools = [] }) {
    const calls: Section = {
      open: "<tool_call>",
      close: "</tool_call>",
      read: (body) => allCalls([callOf(parseJson(body)) ?? functionCall(body, tools)]),
    };
    return new SectionParser([THINK, calls], endsWithOpen(prompt, THINK) ? THINK : undefined);
  },
});

function functionCall(body: string, tools: readonly unknown[]): ToolCall | undefined {
  const [, name, inner] = body.match(FUNCTION) ?? [];
  if (name === undefined || inner.replaceAll(PARAMETER, "").trim() !== "") return undefined;
  const entries = [...inner.matchAll(PARAMETER)]
    .map(([, key, value]) => [key, argumentOf(value, key, name, tools)]);
  return { name, arguments: Object.fromEntries(entries) };
}
