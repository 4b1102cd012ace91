/**
 * Where the prompts of `deploy` come from: flags, files, standard input, token ids.
 *
 * @module
 */

import { ConfigError, messageOf } from "../graph/mod.ts";

/** The values of the flags, as commander gives them. */
export interface PromptFlags {
  readonly prompt?: readonly string[];
  readonly promptFile?: readonly string[];
  readonly tokenIds?: readonly number[][];
  readonly chat?: boolean;
}

/** A prompt, and how it is shown. */
export interface GivenPrompt {
  readonly shown: string;
  readonly input: string | Int32Array;
}

/** What `--prompt` means that is read from standard input. */
const STANDARD_INPUT = "-";

/** Reads `--token-ids 1,2,3`, repeatable. */
export function collectTokenIds(text: string, before: number[][] = []): number[][] {
  const ids = text.split(",").map((each) => /^\s*\d+\s*$/.test(each) ? Number(each) : NaN);
  if (ids.every(Number.isSafeInteger)) return [...before, ids];
  throw flagError("--token-ids", "whole numbers from 0, with commas", `"${text}"`);
}

/** The prompts, in the order of texts, files and token ids; `fallback` when there is none. */
export async function readPrompts(flags: PromptFlags, fallback: string): Promise<GivenPrompt[]> {
  const { prompt = [], promptFile = [], tokenIds = [], chat } = flags;
  if (chat && tokenIds.length > 0) {
    throw flagError("--token-ids", "prompts of a chat as texts", "token ids");
  }
  if (prompt.filter((text) => text === STANDARD_INPUT).length > 1) {
    throw flagError(
      "--prompt",
      `"${STANDARD_INPUT}" once: standard input is read once`,
      "it again",
    );
  }
  const texts = await Promise.all([
    ...prompt.map((text) => text === STANDARD_INPUT ? readStandardInput() : text),
    ...promptFile.map(readFile),
  ]);
  const given = [
    ...texts.map((text): GivenPrompt => ({ shown: text, input: text })),
    ...tokenIds.map((ids): GivenPrompt => ({
      shown: `[${ids.join(", ")}]`,
      input: Int32Array.from(ids),
    })),
  ];
  return given.length > 0 ? given : [{ shown: fallback, input: fallback }];
}

async function readStandardInput(): Promise<string> {
  return withoutLastBreak(await new Response(Deno.stdin.readable).text());
}

async function readFile(path: string): Promise<string> {
  try {
    return withoutLastBreak(await Deno.readTextFile(path));
  } catch (error) {
    throw flagError("--prompt-file", "a text file", `"${path}": ${messageOf(error)}`);
  }
}

/** Editors and `echo` end a text with a line break that is no part of it. */
function withoutLastBreak(text: string): string {
  return text.replace(/\r?\n$/, "");
}

function flagError(flag: string, expected: string, got: string): ConfigError {
  return new ConfigError(
    "cli/invalid-value",
    `Cannot read flag "${flag}": expected ${expected}, got ${got}`,
    { details: { flag } },
  );
}
