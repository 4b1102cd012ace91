/**
 * The form of an answer that must be JSON or call tools, in the output format of a model.
 *
 * @module
 */

import { RequestError } from "../../graph/mod.ts";
import { isRecord } from "./messages.ts";
import type { OutputFormat } from "./output/output_format.ts";
import {
  type CallableTool,
  inOrder,
  json,
  type JsonSchema,
  oneOf,
  type TextForm,
} from "./output/text_form.ts";

/** What an answer must be; with both, either. */
export interface AnswerDemand {
  /** JSON of this schema. */
  readonly json?: JsonSchema;
  /** Calls of tools. */
  readonly calls?: {
    /** The one function; absent for any of the request's. */
    readonly name?: string;
    /** More than one call may come. */
    readonly several: boolean;
  };
}

/** Where a demand is met. */
export interface AnswerPlace {
  readonly format: OutputFormat | undefined;
  readonly template: string;
  readonly prompt: string;
  readonly tools: readonly unknown[];
}

/**
 * The form of an answer, reasoning before it included.
 *
 * @throws {RequestError} where the model's calls have no known form, or the tool is not one of the
 *   request's.
 */
export function answerForm(demand: AnswerDemand, place: AnswerPlace): TextForm {
  const { format } = place;
  const forms: TextForm[] = [];
  if (demand.json) forms.push(format?.answer?.(json(demand.json)) ?? json(demand.json));
  if (demand.calls) forms.push(callsForm(demand.calls, place));
  const answer = forms.length === 1 ? forms[0] : oneOf(...forms);
  return format?.reasoning ? inOrder(format.reasoning(place.prompt), answer) : answer;
}

function callsForm(
  { name, several }: NonNullable<AnswerDemand["calls"]>,
  { format, template, tools }: AnswerPlace,
): TextForm {
  if (!format?.calls) {
    throw cannotForce(
      "tool_choice",
      "a model whose calls have a known form (Qwen, Mistral, gpt-oss, DeepSeek, GLM, Kimi, MiniMax)",
      format ? `one that answers in the form "${format.name}"` : "one that answers in plain text",
    );
  }
  const callable = tools.flatMap(callableOf);
  const chosen = callable.filter((tool) => name === undefined || tool.name === name);
  if (chosen.length > 0) return format.calls(chosen, { several, template });
  const expected = callable.map((tool) => `"${tool.name}"`).join(", ") || "tools in the request";
  throw cannotForce("tool_choice", expected, name === undefined ? "none" : `"${name}"`);
}

/** A tool of OpenAI's form; one without parameters takes none. */
function callableOf(tool: unknown): CallableTool[] {
  const definition = isRecord(tool) && isRecord(tool.function) ? tool.function : tool;
  if (!isRecord(definition) || typeof definition.name !== "string") return [];
  const { name, parameters } = definition;
  const isEmpty = !isRecord(parameters) || Object.keys(parameters).length === 0;
  const none = { type: "object", properties: {}, additionalProperties: false };
  return [{ name, parameters: isEmpty ? none : parameters }];
}

function cannotForce(param: string, expected: string, got: string): RequestError {
  return new RequestError(
    "request/tool-choice",
    `Cannot force a call of a tool: expected ${expected}, got ${got}`,
    { details: { param } },
  );
}
