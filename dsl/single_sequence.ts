/**
 * The logits of one sequence, by a program that nothing else uses: it takes the first pages.
 *
 * @module
 */

import type { Program, StepRequest } from "../runtime/mod.ts";

/** A sequence in steps of `chunk` tokens. */
export interface Steps {
  readonly tokenIds: Int32Array<ArrayBuffer>;
  readonly chunk: number;
  readonly pageSize: number;
}

/** Logits `[tokens, vocab]` of a sequence. */
export async function logitsOf(program: Program, steps: Steps): Promise<Float32Array> {
  const parts: Float32Array[] = [];
  for (const request of requestsOf(steps)) {
    const { logits } = await program.step(request);
    if (logits) parts.push(logits);
  }
  if (parts.length === 1) return parts[0];
  const all = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let end = 0;
  for (const part of parts) {
    all.set(part, end);
    end += part.length;
  }
  return all;
}

/** The steps of the sequence, each with the logits of all its tokens. */
export function requestsOf({ tokenIds, chunk, pageSize }: Steps): StepRequest[] {
  return Array.from({ length: Math.ceil(tokenIds.length / chunk) }, (_, i) => {
    const part = tokenIds.slice(i * chunk, (i + 1) * chunk);
    const pages = Math.ceil((i * chunk + part.length) / pageSize);
    return {
      tokenIds: part,
      positions: count(part.length, i * chunk),
      sequenceIds: new Int32Array(part.length),
      blockTable: { data: count(pages), sequences: 1, pages },
      logitsRows: count(part.length),
      want: "logits",
      repeat: 1,
    };
  });
}

function count(length: number, first = 0): Int32Array<ArrayBuffer> {
  return Int32Array.from({ length }, (_, i) => first + i);
}
