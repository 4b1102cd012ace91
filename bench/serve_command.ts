/**
 * The flags of `deno task bench:serve`.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { Command, InvalidArgumentError } from "../deps/commander.ts";

/** What they give. */
export interface ServeBenchFlags {
  readonly model: string;
  readonly executor?: string;
  readonly streams: readonly number[];
  readonly promptTokens: number;
  readonly newTokens: number;
  readonly rounds: number;
  readonly json?: true;
}

const MODEL = fileURLToPath(new URL("../demo/storyteller", import.meta.url));

/** The command, without what it does. */
export function serveBenchCommand() {
  return new Command("bench:serve")
    .description("Measure a served model with several streams, and its engine without HTTP")
    .option("--model <path>", "model folder", MODEL)
    .option("--executor <name>", "where to run (default: auto)")
    .option("--streams <list>", "numbers of streams", (text) => text.split(",").map(whole), [1, 8])
    .option("--prompt-tokens <n>", "tokens of each prompt", whole, 32)
    .option("--new-tokens <n>", "tokens of each answer", whole, 64)
    .option("--rounds <n>", "rounds, after one that warms up", whole, 5)
    .option("--json", "one JSON document on stdout")
    .exitOverride();
}

function whole(text: string): number {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value >= 1) return value;
  throw new InvalidArgumentError(`expected a whole number from 1, got "${text}"`);
}
