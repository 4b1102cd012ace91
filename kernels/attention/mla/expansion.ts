/**
 * When latent attention makes keys and values of latents (the expanded form): which sequences of a step,
 * by the arithmetic it takes, and in how many stretches, by the memory it may take.
 *
 * @module
 */

import type { StepSizes } from "../../kernel.ts";
import { prefillTile } from "../matrix_tiles.ts";
import { WIDEST_VALUES } from "../prefill.ts";
import type { Expansion, MlaProblem } from "./problem.ts";

/** Bytes of keys and values that are there at a time, where no sequence is too long for it. */
const WANTED_BYTES = 2 ** 26;
/** Stretches of the longest sequence, and at least of all sequences of a step together. */
const MOST_STRETCHES = 16;
const LEAST_STRETCHES = 4;
/** Stretches are a multiple of so many tokens. */
const UNIT = 64;
/** Tokens of a tile of queries, and tiles of all heads that keep an H100's 132 processors busy. */
const TILE = 64;
const ENOUGH_TILES = 128;
/** Tokens of a sequence in a step below which a tile of queries would be mostly empty. */
const LEAST_TOKENS = 32;
/** Sequences whose tokens a workgroup counts. */
const MOST_SEQUENCES = 2048;
/** The widest key heads that tiles of queries take. */
const WIDEST_KEYS = 512;

/** Why keys and values of heads of these sizes are not made, or undefined where they can be. */
function refusal({ attrs, context: { profile, maxSequences = 0 } }: MlaProblem) {
  const { nopeDim, ropeDim, valueDim, latentDim } = attrs;
  const odd = [nopeDim, ropeDim, valueDim, latentDim].find((size) => size % 8 !== 0);
  if (odd !== undefined) return `it takes heads and latents of a multiple of 8, not ${odd}`;
  if (valueDim > WIDEST_VALUES) return `it takes values of up to ${WIDEST_VALUES}`;
  if (nopeDim + ropeDim > WIDEST_KEYS) return `it takes keys of up to ${WIDEST_KEYS}`;
  if (maxSequences > MOST_SEQUENCES) return `it takes up to ${MOST_SEQUENCES} sequences`;
  if (profile.maxStorageBuffers < 8) return "it takes 8 storage buffers";
  return undefined;
}

/** The expansion of a node's steps; undefined where all of them keep the absorbed form. */
export function expansionOf(problem: MlaProblem): Expansion | undefined {
  const { attrs, context } = problem;
  const { tokens, maxSequences, maxSequenceTokens, note } = context;
  const decodes = tokens.single || tokens.max === 1;
  if (decodes || maxSequences === undefined || maxSequenceTokens === undefined) return undefined;
  const { heads, nopeDim, ropeDim, valueDim } = attrs;
  const sizes = { heads, headDim: nopeDim + ropeDim, valueDim };
  const matrices = prefillTile(sizes, context, problem.cacheFormat);
  // Halves where matrices multiply them, so that f32 stays f32 everywhere else.
  const format = matrices ? "f16" : "f32";
  const rule = ruleOf(problem, format);
  if (!rule || rule.least > tokens.max) return undefined;
  const reason = refusal(problem);
  if (reason !== undefined) {
    // Whoever asks for it by a number is told; elsewhere the report says it.
    const kind = attrs.expandFrom === undefined ? undefined : "notice";
    note(`prompts keep the absorbed form: ${reason}`, kind);
    return undefined;
  }
  return {
    ...rule,
    ...stretchesOf(problem, format, maxSequences, maxSequenceTokens),
    ...{ format, slots: maxSequences, ...(matrices && { matrices }) },
  };
}

/**
 * From how many tokens on it pays: as the settings say; where matrices multiply, from a tile of queries
 * on, as an H100 takes a third to a sixteenth of the time then; elsewhere by arithmetic, where tiles are
 * enough to keep a GPU busy, as with fewer of them it takes up to twice as long for the same products.
 */
function ruleOf(
  { attrs, context: { profile } }: MlaProblem,
  format: Expansion["format"],
): Pick<Expansion, "least" | "sure" | "perToken" | "perPair"> | undefined {
  const { heads, nopeDim, ropeDim, valueDim, latentDim, expandFrom } = attrs;
  if (expandFrom === "never") return undefined;
  const always = expandFrom ?? (format === "f16" ? TILE : undefined);
  if (always !== undefined) return { least: always, sure: always, perToken: 0, perPair: 1 };
  const perToken = latentDim * (nopeDim + valueDim);
  const perPair = 2 * latentDim + ropeDim - (nopeDim + ropeDim + valueDim);
  if (perPair <= 0) return undefined;
  const busy = profile.software ? 0 : TILE * Math.ceil(ENOUGH_TILES / heads);
  const least = Math.max(LEAST_TOKENS, busy);
  return { least, sure: Math.max(least, Math.ceil(perToken / perPair)), perToken, perPair };
}

/** Bytes of a number of keys and values. */
export function numberBytes({ format }: Pick<Expansion, "format">): number {
  return format === "f16" ? 2 : 4;
}

/** Bytes that a token takes in a stretch: its latent, and keys and values of all heads. */
function tokenBytes({ attrs }: MlaProblem, format: Expansion["format"]): number {
  const { heads, nopeDim, ropeDim, valueDim, latentDim } = attrs;
  return heads * (nopeDim + ropeDim + valueDim) * numberBytes({ format }) + 4 * latentDim;
}

/** Bytes that the stretch of an expansion takes. */
export function stretchBytes(problem: MlaProblem, { rows, format }: Expansion): number {
  return rows * tokenBytes(problem, format);
}

/**
 * As many tokens as the wanted bytes hold, or more where a sequence would have too many stretches, but no
 * more than can be bound, nor than there are.
 */
function stretchesOf(
  problem: MlaProblem,
  format: Expansion["format"],
  sequences: number,
  longest: number,
): Pick<Expansion, "rows" | "stretches"> {
  const { attrs: { heads, nopeDim, ropeDim, valueDim }, context: { profile } } = problem;
  const all = sequences * longest;
  const wanted = Math.max(WANTED_BYTES / tokenBytes(problem, format), longest / MOST_STRETCHES);
  const widest = heads * Math.max(nopeDim + ropeDim, valueDim) * numberBytes({ format });
  const bindable = Math.floor(profile.maxBindingBytes / widest / UNIT);
  const units = Math.min(Math.ceil(wanted / UNIT), Math.ceil(all / UNIT), bindable);
  const rows = UNIT * Math.max(1, units);
  const most = Math.min(all, Math.max(longest, LEAST_STRETCHES * rows));
  return { rows, stretches: Math.min(MOST_STRETCHES, Math.ceil(most / rows)) };
}

/** Tokens whose keys and values a step may have, at most. */
export function mostRows(
  { context: { pageSize } }: MlaProblem,
  { least, rows, stretches }: Expansion,
  { T, S, P }: StepSizes,
): number {
  const sequences = Math.min(S, Math.floor(T / least));
  return Math.min(stretches * rows, sequences * P * pageSize);
}

/** Whether a step has nothing to do in the absorbed form, as far as the host knows. */
export function allExpanded(problem: MlaProblem, expansion: Expansion, sizes: StepSizes): boolean {
  const { S, T, P } = sizes;
  const { sure, rows, stretches } = expansion;
  return S === 1 && T >= sure && P * problem.context.pageSize <= rows * stretches;
}
