/**
 * Prompts in, text as it streams out, and how fast it was.
 *
 * @module
 */

import type { Engine, GenerateOptions, Prompt } from "../runtime/mod.ts";
import { count, formatDuration, formatRate } from "./format.ts";
import type { Terminal } from "./terminal.ts";

/** The result of one prompt; JSON-safe. */
export interface GeneratedText {
  readonly prompt: string;
  readonly text: string;
  readonly tokens: readonly number[];
  readonly promptTokens: number;
  /** `stop` for an end token or a stop text, `length` for the limit of tokens. */
  readonly finishReason: string;
  /** Repeats this text when given as `--seed`. */
  readonly seed: number;
  readonly firstTokenMs: number;
  /** Of the tokens after the first one. */
  readonly tokensPerSecond: number;
}

/**
 * Continues the prompts one after the other. Text goes to stdout as it comes, after its prompt
 * unless it answers one (`chat`); a line on stderr says how fast.
 */
export async function generateTexts(
  engine: Engine,
  prompts: readonly string[],
  options: GenerateOptions & { readonly chat: boolean },
  terminal: Terminal,
): Promise<GeneratedText[]> {
  const results: GeneratedText[] = [];
  for (const prompt of prompts) {
    if (results.length > 0 && !terminal.json) terminal.result("\n");
    const result = await generateText(engine, prompt, options, terminal);
    results.push(result);
    terminal.progress(terminal.style.dim(summarize(result, options.temperature === 0)));
  }
  return results;
}

async function generateText(
  engine: Engine,
  prompt: string,
  { chat, ...options }: GenerateOptions & { readonly chat: boolean },
  terminal: Terminal,
): Promise<GeneratedText> {
  const show = (text: string) => terminal.json || terminal.result(text);
  const start = performance.now();
  let firstToken = start;
  let text = "";
  const tokens: number[] = [];
  const input: Prompt = chat ? [{ role: "user", content: prompt }] : prompt;
  const generation = engine.generate(input, options);
  for await (const piece of generation) {
    if (tokens.length === 0) {
      firstToken = performance.now();
      if (!chat) show(terminal.resultStyle.dim(prompt));
    }
    tokens.push(piece.token);
    text += piece.text;
    show(piece.text);
  }
  show("\n");
  return {
    prompt,
    text,
    tokens,
    promptTokens: generation.promptTokens ?? 0,
    finishReason: generation.finishReason ?? "stop",
    seed: generation.seed ?? 0,
    firstTokenMs: firstToken - start,
    tokensPerSecond: tokens.length < 2
      ? 0
      : (tokens.length - 1) / (performance.now() - firstToken) * 1000,
  };
}

function summarize(result: GeneratedText, isGreedy: boolean): string {
  const { tokens, promptTokens, firstTokenMs, tokensPerSecond, finishReason, seed } = result;
  const speed = tokensPerSecond > 0 ? `, ${formatRate(tokensPerSecond)} tokens/s` : "";
  const end = finishReason === "length" ? ", stopped at its limit of tokens" : "";
  return `${count(tokens.length, "token")} after ${promptTokens}${speed}, ` +
    `first after ${formatDuration(firstTokenMs)}${end}` +
    (isGreedy ? "" : `, seed ${seed}`);
}
