/**
 * Text to token ids and back, from a `tokenizer.json`.
 *
 * @module
 */

import { join } from "node:path";
import {
  ByteFallbackDecoder,
  type Decoder,
  SequenceDecoder,
  Tokenizer as Library,
} from "../deps/tokenizers.ts";
import { z } from "../deps/zod.ts";
import { CheckpointError, messageOf } from "../graph/mod.ts";
import { isFile, readJson, readOptionalJson } from "./json_file.ts";

/** A special token as tokenizer_config.json writes it: its text, or an object with the text. */
const specialToken = z.union([
  z.string(),
  z.looseObject({ content: z.string() }).transform(({ content }) => content),
]).nullish();

const configSchema = z.looseObject({
  bos_token: specialToken,
  eos_token: specialToken,
  clean_up_tokenization_spaces: z.boolean().nullish(),
});

const tokenizerSchema = z.looseObject({
  model: z.looseObject({ type: z.string() }),
  added_tokens: z.array(z.looseObject({ id: z.int(), content: z.string() })).default([]),
});

/** `tokenizer_config.json`, the keys that Mixline reads and all others. */
export type TokenizerConfig = z.output<typeof configSchema>;

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
 *
 * @example
 * ```ts
 * import { Tokenizer } from "./tokenizer.ts";
 * const tokenizer = await Tokenizer.open("demo/storyteller");
 * const ids = tokenizer.encode("Once upon a time");
 * console.assert(tokenizer.decode(ids) === "Once upon a time");
 * console.assert(tokenizer.decode([...ids, 2]) === "Once upon a time"); // 2 is <|im_end|>
 * ```
 */
export class Tokenizer {
  readonly #library: Library | CheckpointError;
  readonly config: TokenizerConfig;

  /** Takes the contents of `tokenizer.json` (or why there is none) and `tokenizer_config.json`. */
  constructor(tokenizer: unknown, config: unknown = {}) {
    this.config = configSchema.parse(config);
    this.#library = tokenizer instanceof CheckpointError
      ? tokenizer
      : openLibrary(tokenizer, this.config);
  }

  /** Reads `tokenizer.json` and, where there is one, `tokenizer_config.json` of a folder. */
  static async open(folder: string): Promise<Tokenizer> {
    const path = join(folder, "tokenizer.json");
    const tokenizer = await isFile(path) ? await readJson(path) : missing(path);
    const config = await readOptionalJson(join(folder, "tokenizer_config.json"));
    try {
      return new Tokenizer(tokenizer, config);
    } catch (cause) {
      throw new CheckpointError(
        "checkpoint/tokenizer",
        `Cannot open tokenizer "${path}": expected a tokenizer of the tokenizers library, got: ${
          reason(cause)
        }`,
        { hint: "Download the tokenizer's files again", cause, details: { path } },
      );
    }
  }

  /** Why there is no text, only token ids; undefined when there is a tokenizer. */
  get unavailable(): CheckpointError | undefined {
    return this.#library instanceof CheckpointError ? this.#library : undefined;
  }

  /** Token ids of a text. */
  encode(text: string, { addSpecialTokens = true }: EncodeOptions = {}): number[] {
    // A character that the vocabulary lacks, and no unknown token stands for, has no id.
    return this.#opened().encode(text, { add_special_tokens: addSpecialTokens }).ids
      .filter((id) => id !== undefined);
  }

  /** Text of token ids; ids that the vocabulary lacks (padding of the head) have none. */
  decode(ids: Iterable<number>, { skipSpecialTokens = true }: DecodeOptions = {}): string {
    const known = Array.from(ids).filter((id) => this.tokenOf(id) !== undefined);
    if (known.length === 0) return "";
    return this.#opened().decode(known, { skip_special_tokens: skipSpecialTokens });
  }

  /** Id of a token by its exact text, such as `<|im_end|>`. */
  idOf(token: string): number | undefined {
    return this.#opened().token_to_id(token);
  }

  /** Token of an id, as the vocabulary writes it. */
  tokenOf(id: number): string | undefined {
    return this.#opened().id_to_token(id);
  }

  /** Id of the token that begins a text, if the tokenizer has one. */
  get bosTokenId(): number | undefined {
    return this.#idOfSpecial(this.config.bos_token);
  }

  /** Id of the token that ends a text, if the tokenizer has one. */
  get eosTokenId(): number | undefined {
    return this.#idOfSpecial(this.config.eos_token);
  }

  #idOfSpecial(token: string | null | undefined): number | undefined {
    return typeof token === "string" && !this.unavailable ? this.idOf(token) : undefined;
  }

  #opened(): Library {
    if (this.#library instanceof CheckpointError) throw this.#library;
    return this.#library;
  }
}

function missing(path: string): CheckpointError {
  return new CheckpointError(
    "checkpoint/missing-tokenizer",
    `Cannot open tokenizer "${path}": expected a file, got none`,
    {
      hint: "Download tokenizer.json into the model folder, or work with token ids",
      details: { path },
    },
  );
}

function openLibrary(content: unknown, config: TokenizerConfig): Library {
  const library = new Library(tokenizerSchema.parse(content), {
    ...config,
    clean_up_tokenization_spaces: config.clean_up_tokenization_spaces ?? false,
  });
  if (library.decoder) decodeBytesAsReference(library.decoder);
  return library;
}

/**
 * The reference replaces every byte of a run that is no UTF-8 by a mark of its own, and keeps a
 * byte-order mark; the JavaScript library merges marks and drops a byte-order mark.
 */
class ByteRunDecoder extends TextDecoder {
  constructor() {
    super("utf-8", { fatal: true, ignoreBOM: true });
  }

  override decode(bytes: Uint8Array<ArrayBuffer>): string {
    try {
      return super.decode(bytes);
    } catch {
      return "\uFFFD".repeat(bytes.length);
    }
  }
}

function decodeBytesAsReference(decoder: Decoder): void {
  if (decoder instanceof ByteFallbackDecoder) decoder.text_decoder = new ByteRunDecoder();
  if (decoder instanceof SequenceDecoder) decoder.decoders.forEach(decodeBytesAsReference);
}

function reason(cause: unknown): string {
  if (!(cause instanceof z.ZodError)) return messageOf(cause);
  const [{ message, path }] = cause.issues;
  return `${message} at "${path.join(".")}"`;
}
