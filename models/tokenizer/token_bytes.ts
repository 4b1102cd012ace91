/**
 * What single tokens add to a text, as bytes: a token may hold a part of a character.
 *
 * @module
 */

import type { Vocabulary } from "./tokenizer.ts";

/**
 * Bytes of a token that a vocabulary of this kind writes as `text`. Added tokens, such as
 * `<tool_call>`, are written as they are, by whatever kind.
 *
 * @example
 * ```ts
 * import { tokenBytes } from "./token_bytes.ts";
 * const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
 * console.assert(text(tokenBytes("byte_level", "Ġfox")) === " fox");
 * console.assert(text(tokenBytes("byte_fallback", "▁fox")) === " fox");
 * console.assert(tokenBytes("byte_fallback", "<0xF0>")[0] === 0xf0); // the first of four
 * ```
 */
export function tokenBytes(kind: Vocabulary["kind"], text: string): Uint8Array {
  if (kind === "byte_level") return standInBytes(text);
  const byte = kind === "byte_fallback" ? /^<0x([0-9A-Fa-f]{2})>$/.exec(text)?.[1] : undefined;
  if (byte !== undefined) return Uint8Array.of(parseInt(byte, 16));
  return new TextEncoder().encode(kind === "byte_fallback" ? text.replaceAll("▁", " ") : text);
}

/** The bytes behind GPT-2's stand-ins; a character that stands for none has those of UTF-8. */
function standInBytes(text: string): Uint8Array {
  const characters = [...text];
  const bytes = characters.map((character) => STAND_INS.get(character));
  return Uint8Array.from(
    bytes.flatMap((byte, i) => byte ?? [...new TextEncoder().encode(characters[i])]),
  );
}

/** How many bytes are printable. */
const PRINTABLE = 188;

/** GPT-2's `bytes_to_unicode`: printable bytes stand for themselves, others for U+0100 and on. */
const STAND_INS: ReadonlyMap<string, number> = new Map(
  Array.from({ length: 256 }, (_, byte) => byte)
    .sort((a, b) => Number(isPrintable(b)) - Number(isPrintable(a)) || a - b)
    .map((byte, place) => {
      const code = isPrintable(byte) ? byte : 256 + place - PRINTABLE;
      return [String.fromCharCode(code), byte];
    }),
);

function isPrintable(byte: number): boolean {
  return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xff && byte !== 0xad);
}
