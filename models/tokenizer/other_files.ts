/**
 * Tokenizers of folders without `tokenizer.json`: SentencePiece models load, and other files are
 * named with what to convert.
 *
 * @module
 */

import { join } from "node:path";
import { CheckpointError, messageOf } from "../../graph/mod.ts";
import { isFile } from "../checkpoint/json_file.ts";
import { readSentencePiece, sentencePieceTokenizer } from "./sentencepiece.ts";

const SENTENCEPIECE = ["tokenizer.model", "spiece.model", "sentencepiece.bpe.model"];

/** Files of tokenizers whose rules for splitting a text stand in no file. */
const NOT_ENOUGH: readonly [file: string, what: string][] = [
  ["tiktoken.model", "ranks of tiktoken"],
  ["qwen.tiktoken", "ranks of tiktoken"],
  ["tekken.json", "a vocabulary of Mistral's tekken"],
  ["vocab.json", "a vocabulary without its rules"],
];

const CONVERT =
  'Convert it once: AutoTokenizer.from_pretrained(".").save_pretrained(".") of Python\'s transformers writes tokenizer.json';

/**
 * The content of a tokenizer.json made of other files of a folder, an error that says what to
 * convert, or undefined when the folder has no tokenizer at all.
 */
export async function openOtherTokenizer(folder: string, config: unknown): Promise<unknown> {
  for (const name of SENTENCEPIECE) {
    const path = join(folder, name);
    if (await isFile(path)) return openSentencePiece(path, await Deno.readFile(path), config);
  }
  for (const [name, what] of NOT_ENOUGH) {
    const path = join(folder, name);
    if (await isFile(path)) return notEnough(path, what);
  }
}

function openSentencePiece(path: string, bytes: Uint8Array, config: unknown): unknown {
  // Llama 3 calls its list of base64 and rank by the same name.
  const start = new TextDecoder().decode(bytes.subarray(0, 200));
  if (/^[A-Za-z0-9+/]+=* \d+\n/.test(start)) return notEnough(path, "ranks of tiktoken");
  try {
    const model = readSentencePiece(bytes);
    if (model.algorithm === "other") return notEnough(path, "a model of words or characters");
    if (model.normalizes) return notEnough(path, "a model that normalizes texts");
    const legacy = typeof config === "object" && config !== null
      ? Reflect.get(config, "legacy") !== false
      : true;
    return sentencePieceTokenizer(model, legacy);
  } catch (cause) {
    return new CheckpointError(
      "checkpoint/tokenizer",
      `Cannot open tokenizer "${path}": expected a SentencePiece model, got ${messageOf(cause)}`,
      { hint: "Download the file again", cause, details: { path } },
    );
  }
}

function notEnough(path: string, what: string): CheckpointError {
  return new CheckpointError(
    "checkpoint/tokenizer-format",
    `Cannot open tokenizer "${path}": expected a tokenizer.json beside it, got only ${what}`,
    { hint: CONVERT, details: { path } },
  );
}
