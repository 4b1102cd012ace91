/**
 * An engine without a model: letters are tokens, and a {@linkcode FakeProgram} makes the next ones.
 *
 * @module
 */

import { createEngine, type Engine, type EngineParts } from "../../runtime/engine.ts";
import { FakeProgram, type NextToken } from "./fake_program.ts";

/** Codes of letters are below this. */
export const VOCAB = 128;

/** Limits of a small engine. */
const LIMITS = {
  ...{ maxTokens: 8, maxRows: 4, maxSequences: 3 },
  ...{ maxSequenceTokens: 64, pages: 24, pageSize: 8 },
};

/** A codec whose tokens are letters. */
export const LETTERS = {
  encode: (text: string) => Array.from(text, (letter) => letter.charCodeAt(0)),
  decode: (ids: readonly number[]) => String.fromCharCode(...ids),
} satisfies EngineParts["codec"];

/** A printable letter that the length of what is before it decides. */
const byLength: NextToken = (before) => 33 + before.length % 60;

/** An engine over a fake program, whose parts are those that are given, else a small engine's. */
export function fakeEngine(
  parts: Partial<Omit<EngineParts, "program" | "vocabSize">> = {},
  { next = byLength, repeat = 1 }: { readonly next?: NextToken; readonly repeat?: number } = {},
): { program: FakeProgram; engine: Engine } {
  const { limits = LIMITS } = parts;
  const program = new FakeProgram(VOCAB, next, limits.pageSize, repeat);
  const engine = createEngine({
    ...{ program, codec: LETTERS, vocabSize: VOCAB, limits },
    defaults: { eosTokenIds: [], maxNewTokens: 8 },
    executor: { kind: "cpu", description: "fake", reason: "test" },
    ...parts,
  });
  return { program, engine };
}
