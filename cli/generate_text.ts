/**
 * Prompts in, text as it streams out, and how fast it was.
 *
 * @module
 */

import type { TokenLogprobs } from "../graph/mod.ts";
import type { Engine, GenerateOptions, Piece } from "../runtime/mod.ts";
import type { ToolCall } from "../models/mod.ts";
import type { ChatRequest } from "./chat_flags.ts";
import { count, formatDuration, formatRate } from "./format.ts";
import type { GivenPrompt } from "./prompt_flags.ts";
import type { Terminal } from "./terminal.ts";

/** The result of one prompt; JSON-safe. */
export interface GeneratedText {
  readonly prompt: string;
  readonly text: string;
  /** What the model thought, and the tools it calls; of chats, where the model marks them. */
  readonly reasoning?: string;
  readonly toolCalls?: readonly ToolCall[];
  readonly tokens: readonly number[];
  /** Of each token, with `--logprobs`. */
  readonly logprobs?: readonly TokenLogprobs[];
  readonly promptTokens: number;
  readonly usage: {
    readonly promptTokens: number;
    readonly completionTokens: number;
    readonly totalTokens: number;
  };
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
 * unless it answers one (`chat`), and calls of tools as lines of JSON; reasoning goes to stderr, and a
 * line that says how fast.
 */
export async function generateTexts(
  engine: Engine,
  prompts: readonly GivenPrompt[],
  options: GenerateOptions,
  chat: ChatRequest | undefined,
  terminal: Terminal,
): Promise<GeneratedText[]> {
  const results: GeneratedText[] = [];
  for (const prompt of prompts) {
    if (results.length > 0 && !terminal.json) terminal.result("\n");
    const result = await generateText(engine, prompt, options, chat, terminal);
    results.push(result);
    terminal.progress(terminal.style.dim(summarize(result, options.temperature === 0)));
  }
  return results;
}

async function generateText(
  engine: Engine,
  { shown, input }: GivenPrompt,
  options: GenerateOptions,
  chat: ChatRequest | undefined,
  terminal: Terminal,
): Promise<GeneratedText> {
  const answer = new AnswerView(terminal);
  const start = performance.now();
  let firstToken = start;
  const tokens: number[] = [];
  const logprobs: TokenLogprobs[] = [];
  const generation = engine.generate(
    chat ? chat.messagesOf(shown) : input,
    { ...options, ...chat?.options },
  );
  for await (const piece of generation) {
    if (tokens.length === 0) {
      firstToken = performance.now();
      if (!chat) answer.show(terminal.resultStyle.dim(shown));
    }
    tokens.push(piece.token);
    if (piece.logprobs) logprobs.push(piece.logprobs);
    answer.add(piece);
  }
  answer.end();
  const { promptTokens = 0 } = generation;
  return {
    prompt: shown,
    ...answer.parts,
    tokens,
    ...(options.logprobs !== undefined && { logprobs }),
    promptTokens,
    usage: {
      promptTokens,
      completionTokens: tokens.length,
      totalTokens: promptTokens + tokens.length,
    },
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

/** Shows an answer while it comes, and keeps it. */
class AnswerView {
  #text = "";
  #reasoning = "";
  readonly #toolCalls: ToolCall[] = [];
  /** A line of reasoning that has not ended. */
  #line = "";

  constructor(readonly terminal: Terminal) {}

  get parts(): Pick<GeneratedText, "text" | "reasoning" | "toolCalls"> {
    return {
      text: this.#text,
      ...(this.#reasoning && { reasoning: this.#reasoning }),
      ...(this.#toolCalls.length > 0 && { toolCalls: this.#toolCalls }),
    };
  }

  show(text: string): void {
    if (!this.terminal.json && text !== "") this.terminal.result(text);
  }

  add({ text, reasoning = "", toolCalls = [] }: Piece): void {
    this.#think(reasoning);
    if (text !== "") this.#endLine();
    this.#text += text;
    this.show(text);
    for (const call of toolCalls) {
      this.#toolCalls.push(call);
      this.show(`${JSON.stringify(call)}\n`);
    }
  }

  end(): void {
    this.#endLine();
    this.show("\n");
  }

  #think(text: string): void {
    this.#reasoning += text;
    const lines = (this.#line + text).split("\n");
    this.#line = lines.pop() ?? "";
    lines.forEach((line) => this.terminal.progress(this.terminal.style.dim(line)));
  }

  #endLine(): void {
    if (this.#line !== "") this.terminal.progress(this.terminal.style.dim(this.#line));
    this.#line = "";
  }
}
