/**
 * The tokens of a step: their checks, and the tokens of the next step.
 *
 * @module
 */

import { hasDetails, RequestError } from "../graph/mod.ts";
import type { CompileOptions, StepRequest } from "./executor.ts";

/** The tokens of a step; without `repeat` and `want`. */
export type StepTokens = Pick<
  StepRequest,
  "tokenIds" | "positions" | "sequenceIds" | "blockTable" | "logitsRows"
>;

/** Refuses steps that do not fit together, or are larger than the program was compiled for. */
export function checkStep(request: StepRequest, { maxTokens }: CompileOptions): void {
  const { tokenIds, positions, sequenceIds, blockTable, logitsRows, want, repeat } = request;
  const { sequences, pages, data } = blockTable;
  const tokens = tokenIds.length;
  const rows = logitsRows.length;
  const cells = sequences * pages;
  expectStep(tokens >= 1 && tokens <= maxTokens, `1 to ${maxTokens} tokens`, tokens);
  expectStep(positions.length === tokens, `${tokens} positions`, positions.length);
  expectStep(sequenceIds.length === tokens, `${tokens} sequence ids`, sequenceIds.length);
  expectStep(data.length === cells, `a block table of ${sequences} x ${pages}`, data.length);
  for (const row of logitsRows) {
    expectStep(row >= 0 && row < tokens, `rows from 0 to ${tokens - 1}`, row);
  }
  if (want !== "logits") expectStep(want.length === rows, `sampling for ${rows} rows`, want.length);
  if (repeat === 1) return;
  const alone = new Set(logitsRows).size === tokens && new Set(sequenceIds).size === tokens;
  expectStep(repeat >= 1 && want !== "logits", "at least one repetition, with sampling", repeat);
  expectStep(
    want === "logits" || !want.some(hasDetails),
    "one step for draws with details",
    repeat,
  );
  expectStep(
    alone,
    "one token and one row per sequence to repeat",
    `${tokens} tokens and ${rows} rows`,
  );
}

/** Without a cache every step has to contain all tokens of its sequence. */
export function checkWholeSequence({ positions, sequenceIds, repeat }: StepRequest): void {
  const whole = repeat === 1 && positions.every((position, i) => position === i) &&
    sequenceIds.every((id) => id === sequenceIds[0]);
  if (whole) return;
  throw new RequestError(
    "request/no-cache",
    `Cannot run a step of a graph without KV cache: expected all tokens of one sequence from position 0, got ${positions.length} from position ${
      positions[0]
    }`,
    {
      hint: "Enable insert_cached_attention and initialize_cache, or pass all tokens in every step",
    },
  );
}

function expectStep(condition: boolean, expected: string, got: number | string): void {
  if (condition) return;
  throw new RequestError(
    "request/step-size",
    `Cannot run a step: expected ${expected}, got ${got}`,
    {
      hint: "Split the step, or compile for larger ones",
    },
  );
}

/**
 * Each sequence's sample as its next token; row i of a repeated step is token `logitsRows[i]`. A row
 * without a sample goes on with token 0, as on the device.
 */
export function nextTokens(tokens: StepTokens, samples: Int32Array<ArrayBuffer>): StepTokens {
  const tokenIds = tokens.tokenIds.slice();
  tokens.logitsRows.forEach((row, i) => {
    tokenIds[row] = Math.max(0, samples[i]);
  });
  return { ...tokens, tokenIds, positions: tokens.positions.map((position) => position + 1) };
}
