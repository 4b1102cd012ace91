import assert from "node:assert/strict";
import { tokenBytes, Tokenizer } from "../../../models/mod.ts";

const FOLDER = new URL("../../golden/tokenizers/", import.meta.url).pathname;
const TEXT = "é😀 the fox's café — 漢字\n\tend  two";

Deno.test("tokenBytes() of a text's tokens are those of the text, whatever characters they cut", async () => {
  const folders = [...Deno.readDirSync(FOLDER)].filter(({ isDirectory }) => isDirectory);
  assert.ok(folders.length >= 5);
  for (const { name } of folders) {
    const tokenizer = await Tokenizer.open(FOLDER + name);
    const { kind, texts } = tokenizer.vocabulary(300_000);
    const ids = tokenizer.encode(TEXT, { addSpecialTokens: false });
    const bytes = ids.flatMap((id) => [...tokenBytes(kind, texts[id])]);
    const text = new TextDecoder("utf-8", { fatal: true }).decode(Uint8Array.from(bytes));
    // SentencePiece puts a space in front of a text.
    assert.equal(kind === "byte_fallback" ? text.slice(1) : text, TEXT, name);
  }
});

Deno.test("tokenBytes() knows all bytes of GPT-2's stand-ins", () => {
  const characters = Array.from({ length: 0x144 }, (_, code) => String.fromCharCode(code));
  const single = characters.map((character) => tokenBytes("byte_level", character))
    .filter((bytes) => bytes.length === 1).map(([byte]) => byte);
  assert.deepEqual(new Set(single), new Set(Array.from({ length: 256 }, (_, byte) => byte)));
  assert.deepEqual([...tokenBytes("byte_level", "漢")], [...new TextEncoder().encode("漢")]);
});
