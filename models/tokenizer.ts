/**
 * Text to token ids and back, from a `tokenizer.json`.
 *
 * @module
 */

import { join } from "node:path";
import { Tokenizer as Library } from "@huggingface/tokenizers";
import { z } from "zod";
import { CheckpointError, messageOf } from "../graph/mod.ts";
import { isFile, readJson, readOptionalJson } from "./json_file.ts";

const objectSchema = z.record(z.string(), z.unknown());

/** Options of {@linkcode Tokenizer.encode}. */
export interface EncodeOptions {
  /** Add what the post-processor adds, such as a BOS token; default true. */
  readonly addSpecialTokens?: boolean;
}

/** Options of {@linkcode Tokenizer.decode}. */
export interface DecodeOptions {
  /** Leave special tokens out of the text; default true. */
  readonly skipSpecialTokens?: boolean;
}

/**
 * Text to token ids and back. A folder without `tokenizer.json` opens too, since token ids can be
 * run without one; text is refused then, with the error in {@linkcode Tokenizer.unavailable}.
 */
export class Tokenizer {
  readonly #library: Library | CheckpointError;

  constructor(
    tokenizer: Record<string, unknown> | CheckpointError,
    readonly config: Record<string, unknown> = {},
  ) {
    this.#library = tokenizer instanceof CheckpointError
      ? tokenizer
      : new Library(tokenizer, config);
  }

  /** Reads `tokenizer.json` and, where there is one, `tokenizer_config.json`. */
  static async open(folder: string): Promise<Tokenizer> {
    const path = join(folder, "tokenizer.json");
    const config = objectSchema.safeParse(
      await readOptionalJson(join(folder, "tokenizer_config.json")) ?? {},
    );
    if (!await isFile(path)) {
      const missing = new CheckpointError(
        "checkpoint/missing-tokenizer",
        `Cannot open tokenizer "${path}": expected a file, got none`,
        {
          hint: "Download tokenizer.json into the model folder, or work with token ids",
          details: { path },
        },
      );
      return new Tokenizer(missing, config.success ? config.data : {});
    }
    try {
      const content = objectSchema.parse(await readJson(path));
      return new Tokenizer(content, config.success ? config.data : {});
    } catch (cause) {
      if (cause instanceof CheckpointError) throw cause;
      throw new CheckpointError(
        "checkpoint/tokenizer",
        `Cannot open tokenizer "${path}": expected a supported tokenizer, got: ${messageOf(cause)}`,
        { cause, details: { path } },
      );
    }
  }

  /** Why there is no text, only token ids; undefined when there is a tokenizer. */
  get unavailable(): CheckpointError | undefined {
    return this.#library instanceof CheckpointError ? this.#library : undefined;
  }

  /** Token ids of a text. */
  encode(text: string, { addSpecialTokens = true }: EncodeOptions = {}): number[] {
    return this.#opened().encode(text, { add_special_tokens: addSpecialTokens }).ids;
  }

  /** Text of token ids. */
  decode(ids: ArrayLike<number>, { skipSpecialTokens = true }: DecodeOptions = {}): string {
    if (ids.length === 0) return "";
    return this.#opened().decode(Array.from(ids), { skip_special_tokens: skipSpecialTokens });
  }

  #opened(): Library {
    if (this.#library instanceof CheckpointError) throw this.#library;
    return this.#library;
  }
}
