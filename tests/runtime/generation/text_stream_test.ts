import assert from "node:assert/strict";
import fc from "../../../deps/fast_check.ts";
import { TextStream } from "../../../runtime/generation/text_stream.ts";

const bytes = (ids: readonly number[]) => new TextDecoder().decode(Uint8Array.from(ids));

function read(stream: TextStream, ids: Iterable<number>): { pieces: string[]; stopped: boolean } {
  const pieces: string[] = [];
  for (const id of ids) {
    const { text, stopped } = stream.push(id);
    pieces.push(text);
    if (stopped) return { pieces, stopped };
  }
  pieces.push(stream.flush());
  return { pieces, stopped: false };
}

Deno.test("push() gives whole characters of byte tokens", () => {
  const text = "naïve café, 日本語, 👩‍🚀!";
  const { pieces } = read(new TextStream(bytes), new TextEncoder().encode(text));
  assert.equal(pieces.join(""), text);
  assert(pieces.every((piece) => !piece.includes("\uFFFD")));
});

Deno.test("flush() gives what never became a character", () => {
  const { pieces } = read(new TextStream(bytes), [0x61, 0xe2, 0x82]);
  assert.equal(pieces.join(""), "a\uFFFD");
});

Deno.test("push() does not wait for ever for a character that never comes", () => {
  const stream = new TextStream(bytes);
  const pieces = Array.from({ length: 30 }, () => stream.push(0xff).text);
  assert.equal(pieces.slice(0, 8).join(""), "");
  assert.equal(pieces[8], "\uFFFD".repeat(9));
  assert.equal(stream.push(0x61).text.at(-1), "a");
});

Deno.test("push() keeps the space that a decoder strips from a beginning", () => {
  const words = ["▁Once", "▁upon", "", "▁a", "▁time", "."];
  const decode = (ids: readonly number[]) =>
    ids.map((id) => words[id]).join("").replaceAll("▁", " ").replace(/^ /, "");
  const { pieces } = read(new TextStream(decode), words.keys());
  assert.equal(pieces.join(""), "Once upon a time.");
});

Deno.test("push() does not decode tokens without a text again and again", () => {
  let decoded = 0;
  const decode = (ids: readonly number[]) => {
    decoded += ids.length;
    return bytes(ids.filter((id) => id !== 0));
  };
  const stream = new TextStream(decode);
  const ids = [0x61, ...new Array(1000).fill(0), 0xc3, 0, 0xa9, ...new Array(1000).fill(0), 0x62];
  assert.equal(read(stream, ids).pieces.join(""), "aéb");
  assert(decoded < 30 * ids.length, `${decoded} tokens`);
});

Deno.test("push() ends at the first stop string and never gives part of one", () => {
  const letters = fc.constantFrom("a", "b", "c");
  fc.assert(fc.property(
    fc.array(letters, { maxLength: 30 }).map((all) => all.join("")),
    fc.array(fc.array(letters, { minLength: 1, maxLength: 4 }).map((all) => all.join("")), {
      maxLength: 3,
    }),
    (text, stop) => {
      const ids = [...text].map((letter) => letter.charCodeAt(0));
      const { pieces, stopped } = read(new TextStream(bytes, stop), ids);
      const given = pieces.join("");
      assert.equal(stopped, stop.some((each) => text.includes(each)));
      if (!stopped) assert.equal(given, text);
      else {
        assert(text.startsWith(given));
        assert(stop.some((each) => text.startsWith(each, given.length)));
        assert(stop.every((each) => !given.includes(each)));
      }
    },
  ));
});
