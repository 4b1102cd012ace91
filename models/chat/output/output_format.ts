/**
 * What an output format is: how a family of models marks its reasoning and its calls of tools
 * within the text it generates.
 *
 * @module
 */

import type { CallableTool, TextForm } from "./text_form.ts";

/** A call of a tool that the model asks for. */
export interface ToolCall {
  /** Of the function. */
  readonly name: string;
  /** As the model wrote them, by name. */
  readonly arguments: Readonly<Record<string, unknown>>;
}

/** What became certain with some text; absent fields have nothing new. */
export interface OutputPart {
  /** Text of the answer. */
  readonly text?: string;
  /** Text of what the model thought before it answered. */
  readonly reasoning?: string;
  readonly toolCalls?: readonly ToolCall[];
}

/**
 * Splits one answer while it comes. However a text is cut into pieces, the parts add up to the same
 * result, and malformed parts are given as text.
 */
export interface OutputParser {
  push(text: string): OutputPart;
  /** What was held back; the answer has ended. */
  end(): OutputPart;
}

/** What a parser begins with. */
export interface OutputStart {
  /** The prompt; its end may have opened a section already. */
  readonly prompt: string;
  /** Tools of the request, whose schemas say which arguments are texts. */
  readonly tools?: readonly unknown[];
}

/** One way to mark an answer. */
export interface OutputFormat {
  readonly name: string;
  /** One phrase for docs and `inspect`. */
  readonly summary: string;
  /** Marks; those that are special tokens must stay in the text that is parsed. */
  readonly marks: readonly string[];
  /** Whether the models of a template or of a `model_type` answer in this format. */
  recognizes(template: string, modelType: string): boolean;
  open(start: OutputStart): OutputParser;
  /** What may come before the answer after such a prompt: reasoning. Absent where there is none. */
  reasoning?(prompt: string): TextForm;
  /** What an answer in some form looks like. Absent where it is the bare text. */
  answer?(form: TextForm): TextForm;
  /** Calls of these tools, one or several, as the models of a template write them. Absent where they call none. */
  calls?(tools: readonly CallableTool[], options: CallOptions): TextForm;
}

/** How calls are written. */
export interface CallOptions {
  /** An answer may hold several. */
  readonly several: boolean;
  /** The chat template, whose own calls show which notation of a family it has. */
  readonly template: string;
}

/** Makes a format; a function so that all format files have the same form. */
export function defineOutputFormat(format: OutputFormat): OutputFormat {
  return format;
}
