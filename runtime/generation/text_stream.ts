/**
 * Text from tokens as they come: whole characters only, and nothing that may still turn out to be
 * part of a stop string.
 *
 * @module
 */

/** Turns token ids into text, special tokens left out. */
export type DecodeTokens = (ids: readonly number[]) => string;

/** Stands for bytes that are not a character, or not a whole one yet. */
const REPLACEMENT = "\uFFFD";

/** Tokens that may wait for the rest of a character; more of them cannot be a character. */
const MOST_HELD = 8;

/**
 * Text of a growing list of tokens.
 *
 * Tokens are decoded together with the ones before, because a token's text may depend on them (a
 * character in several byte tokens, the space in front of a word).
 *
 * @example
 * ```ts
 * import { TextStream } from "./text_stream.ts";
 * const stream = new TextStream((ids) => String.fromCharCode(...ids), ["END"]);
 * const pieces = [..."go ENd END more"].map((letter) => stream.push(letter.charCodeAt(0)));
 * console.assert(pieces.map((piece) => piece.text).join("") === "go ENd ");
 * ```
 */
export class TextStream {
  readonly #ids: number[] = [];
  /** Tokens before this one are no longer decoded. */
  #from = 0;
  /** Tokens before this one have given their text. */
  #done = 0;
  /** Text that may be the beginning of a stop string. */
  #held = "";
  #stopped = false;

  constructor(readonly decode: DecodeTokens, readonly stop: readonly string[] = []) {}

  /** Adds a token; gives the text that is certain now, and whether a stop string has come. */
  push(token: number): { readonly text: string; readonly stopped: boolean } {
    if (this.#stopped) return { text: "", stopped: true };
    this.#ids.push(token);
    return this.#release(this.#newText(false), false);
  }

  /** What is left at the end: half characters and beginnings of stop strings. */
  flush(): string {
    if (this.#stopped) return "";
    return this.#release(this.#newText(true), true).text;
  }

  #newText(final: boolean): string {
    const known = this.decode(this.#ids.slice(this.#from, this.#done));
    const all = this.decode(this.#ids.slice(this.#from));
    const held = this.#ids.length - this.#done;
    const incomplete = !final && held <= MOST_HELD && all.endsWith(REPLACEMENT);
    if (all.length <= known.length || incomplete) {
      // Tokens without a text, such as special ones, would be decoded with all that follow.
      if (held > MOST_HELD && all === known) this.#ids.length = this.#done;
      return "";
    }
    this.#from = this.#done;
    this.#done = this.#ids.length;
    return all.slice(known.length);
  }

  #release(added: string, final: boolean): { text: string; stopped: boolean } {
    const text = this.#held + added;
    const at = firstOf(text, this.stop);
    if (at >= 0) {
      this.#stopped = true;
      this.#held = "";
      return { text: text.slice(0, at), stopped: true };
    }
    const keep = final ? 0 : longestBeginning(text, this.stop);
    this.#held = text.slice(text.length - keep);
    return { text: text.slice(0, text.length - keep), stopped: false };
  }
}

/** Index of the first stop string in a text, or -1. */
function firstOf(text: string, stop: readonly string[]): number {
  const places = stop.map((each) => text.indexOf(each)).filter((place) => place >= 0);
  return places.length === 0 ? -1 : Math.min(...places);
}

/** Length of the longest end of a text with which a stop string begins. */
function longestBeginning(text: string, stop: readonly string[]): number {
  let longest = 0;
  for (const each of stop) {
    for (let length = Math.min(each.length - 1, text.length); length > longest; length--) {
      if (text.endsWith(each.slice(0, length))) longest = length;
    }
  }
  return longest;
}
