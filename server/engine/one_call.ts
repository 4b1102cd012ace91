/**
 * Answers that end after their first call of a tool (`parallel_tool_calls: false`).
 *
 * @module
 */

import type { Piece } from "../../runtime/mod.ts";

/** The pieces up to the first call; leaving the loop ends the generation. */
export async function* untilFirstCall(pieces: AsyncIterable<Piece>): AsyncGenerator<Piece, void> {
  for await (const piece of pieces) {
    const [first] = piece.toolCalls ?? [];
    if (first === undefined) yield piece;
    else return yield { ...piece, toolCalls: [first] };
  }
}
