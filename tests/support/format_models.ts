/**
 * Copies of the bundled model whose tokenizer and chat template have the marks of an output format:
 * they know nothing of tools, so that a call of theirs is valid only if it was forced.
 *
 * @module
 */

import { OUTPUT_FORMATS } from "../../models/mod.ts";
import { makeModelFolder, STORYTELLER } from "./model_folder.ts";

/** A way to write calls. */
export interface Notation {
  readonly name: string;
  /** Name of the output format. */
  readonly format: string;
  /** What the template holds by which it is recognized. */
  readonly sign: string;
  /** What the prompt ends with, such as the mark that opens reasoning. */
  readonly opening?: string;
}

/** Every way in which the models that are known write calls. */
export const NOTATIONS: readonly Notation[] = [
  { name: "qwen", format: "qwen", sign: "<tool_call>" },
  { name: "qwen-coder", format: "qwen", sign: "<tool_call> <function=" },
  { name: "mistral", format: "mistral", sign: "[TOOL_CALLS]" },
  { name: "mistral-args", format: "mistral", sign: "[TOOL_CALLS] [ARGS]" },
  { name: "harmony", format: "harmony", sign: "<|channel|>", opening: "<|start|>assistant" },
  { name: "deepseek", format: "deepseek", sign: "<｜tool▁calls▁begin｜> ```json" },
  { name: "deepseek-v3.1", format: "deepseek", sign: "<｜tool▁calls▁begin｜>" },
  { name: "glm", format: "glm", sign: "<tool_call> <arg_key>" },
  { name: "kimi", format: "kimi", sign: "<|tool_calls_section_begin|>" },
  { name: "minimax", format: "minimax", sign: "<minimax:tool_call>" },
];

/** Writes the model's folder. `asTokens`: its marks are tokens, or only texts. */
export async function makeNotationModel(
  root: string,
  notation: Notation,
  { asTokens = true }: { readonly asTokens?: boolean } = {},
): Promise<string> {
  const config = JSON.parse(await read("tokenizer_config.json"));
  config.chat_template = templateOf(notation, config.chat_template);
  const marks = OUTPUT_FORMATS.find(({ name }) => name === notation.format)?.marks ?? [];
  return await makeModelFolder(root, {
    "tokenizer_config.json": JSON.stringify(config),
    ...(asTokens && { "tokenizer.json": await tokenizerWith(marks) }),
  });
}

function templateOf({ sign, opening = "" }: Notation, template: string): string {
  return `{# ${sign} #}{% if tools %}{{ tools | length }}{% endif %}${template}` +
    `{% if add_generation_prompt %}${opening}{% endif %}`;
}

/** The tokenizer with marks in place of its last words, which no other word is made of. */
async function tokenizerWith(marks: readonly string[]): Promise<string> {
  const tokenizer = JSON.parse(await read("tokenizer.json"));
  const { vocab, merges }: { vocab: Record<string, number>; merges: [string, string][] } =
    tokenizer.model;
  const size = Object.keys(vocab).length;
  const words = Object.entries(vocab).filter(([, id]) => id >= size - marks.length);
  for (const [word, id] of words) {
    const mark = marks[id - size + marks.length];
    delete vocab[word];
    vocab[mark] = id;
    tokenizer.added_tokens.push({
      ...{ id, content: mark, single_word: false, lstrip: false, rstrip: false },
      ...{ normalized: false, special: id % 2 === 0 },
    });
  }
  const gone = new Set(words.map(([word]) => word));
  tokenizer.model.merges = merges.filter(([a, b]) => ![a, b, a + b].some((part) => gone.has(part)));
  return JSON.stringify(tokenizer);
}

function read(name: string): Promise<string> {
  return Deno.readTextFile(`${STORYTELLER}/${name}`);
}
