/**
 * Text to token ids and back, from a `tokenizer.json`.
 *
 * @module
 */

import { join } from "node:path";
import {
  ByteFallbackDecoder,
  ByteLevelDecoder,
  type Decoder,
  SequenceDecoder,
  Tokenizer as Library,
} from "../../deps/tokenizers.ts";
import { z } from "../../deps/zod.ts";
import { CheckpointError, messageOf } from "../../graph/mod.ts";
import { isFile, readJson, readOptionalJson } from "../checkpoint/json_file.ts";
import {
  bosByConfig,
  configSchema,
  readTokenizerFile,
  type TokenizerConfig,
} from "./tokenizer_file.ts";
import { openOtherTokenizer } from "./other_files.ts";

export type { TokenizerConfig };

/** Options of {@linkcode Tokenizer.encode}. */
export interface EncodeOptions {
  /** Add what the post-processor adds, such as a BOS token; default true. */
  readonly addSpecialTokens?: boolean;
}

/** Options of {@linkcode Tokenizer.decode}. */
export interface DecodeOptions {
  /** Leave special tokens out of the text; default true. */
  readonly skipSpecialTokens?: boolean;
  /** Special tokens that stay in the text nevertheless, such as the marks of an output format. */
  readonly keep?: ReadonlySet<string>;
}

/** The tokens of a model as its vocabulary writes them. */
export interface Vocabulary {
  /**
   * How bytes are written: as GPT-2's stand-in characters (`Ġ` for a space), as `▁` and `<0x0A>`, or
   * as they are.
   */
  readonly kind: "byte_level" | "byte_fallback" | "raw";
  /** By id; empty for special tokens and for ids without a token. */
  readonly texts: readonly string[];
  /** Ids of the tokens that are found whole in a text, such as `<tool_call>`, special ones too. */
  readonly added: ReadonlyMap<string, number>;
}

/**
 * Text to token ids and back. A folder without a tokenizer opens too, since token ids can be
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
  readonly #special: ReadonlySet<number>;
  readonly #bos: { readonly id: number; readonly wanted: boolean } | undefined;
  readonly config: TokenizerConfig;

  /** Takes the contents of `tokenizer.json` (or why there is none) and `tokenizer_config.json`. */
  constructor(tokenizer: unknown, config: unknown = {}) {
    this.config = configSchema.parse(config ?? {});
    this.#library = tokenizer instanceof CheckpointError
      ? tokenizer
      : openLibrary(tokenizer, this.config);
    const wanted = bosByConfig(this.config);
    const id = this.bosTokenId;
    this.#bos = wanted === undefined || id === undefined ? undefined : { id, wanted };
    this.#special = new Set(this.unavailable ? [] : this.#specialIds());
    if (!this.unavailable) this.#tryOut();
  }

  /**
   * Reads `tokenizer.json` of a folder, else a SentencePiece `tokenizer.model`, and
   * `tokenizer_config.json` and `special_tokens_map.json` where they are.
   */
  static async open(folder: string): Promise<Tokenizer> {
    const path = join(folder, "tokenizer.json");
    const special = await readOptionalJson(join(folder, "special_tokens_map.json"));
    const config = await readOptionalJson(join(folder, "tokenizer_config.json"));
    const tokenizer = await isFile(path)
      ? await readJson(path)
      : await openOtherTokenizer(folder, config) ?? missing(path);
    try {
      return new Tokenizer(tokenizer, mergeConfigs(special, config));
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

  /** Why texts cannot be used, only token ids; undefined when there is a tokenizer. */
  get unavailable(): CheckpointError | undefined {
    return this.#library instanceof CheckpointError ? this.#library : undefined;
  }

  /** Token ids of a text. */
  encode(text: string, { addSpecialTokens = true }: EncodeOptions = {}): number[] {
    // A character that is not in the vocabulary has no id, unless there is an unknown token.
    const ids = this.#opened().encode(text, { add_special_tokens: addSpecialTokens }).ids
      .filter((id) => id !== undefined);
    const bos = addSpecialTokens ? this.#bos : undefined;
    if (bos === undefined || (ids[0] === bos.id) === bos.wanted) return ids;
    return bos.wanted ? [bos.id, ...ids] : ids.slice(1);
  }

  /** Text of token ids; ids that are not in the vocabulary (padding of the head) have none. */
  decode(ids: Iterable<number>, options: DecodeOptions = {}): string {
    const { skipSpecialTokens = true, keep } = options;
    let known = Array.from(ids).filter((id) => this.tokenOf(id) !== undefined);
    if (keep && skipSpecialTokens) {
      known = known.filter((id) => !this.#special.has(id) || keep.has(this.tokenOf(id) ?? ""));
    }
    if (known.length === 0) return "";
    return this.#opened().decode(known, { skip_special_tokens: skipSpecialTokens && !keep });
  }

  /** Id of a token by its exact text, such as `<|im_end|>`. */
  idOf(token: string): number | undefined {
    return this.#opened().token_to_id(token);
  }

  /** Token of an id, as the vocabulary writes it. */
  tokenOf(id: number): string | undefined {
    return this.#opened().id_to_token(id);
  }

  /** What every id below `size` adds to a text, for those who match texts against a grammar. */
  vocabulary(size: number): Vocabulary {
    const text = (id: number) => this.#special.has(id) ? "" : this.tokenOf(id) ?? "";
    const { decoder } = this.#opened();
    return {
      kind: vocabularyKind(decoder ?? undefined),
      texts: Array.from({ length: size }, (_, id) => text(id)),
      added: new Map(this.#added(size)),
    };
  }

  /** Id of the token that begins a text, if the tokenizer has one. */
  get bosTokenId(): number | undefined {
    return this.#idOfSpecial(this.config.bos_token);
  }

  /** Id of the token that ends a text, if the tokenizer has one. */
  get eosTokenId(): number | undefined {
    return this.#idOfSpecial(this.config.eos_token);
  }

  *#added(size: number): Generator<[string, number]> {
    for (const [id, { content }] of this.#opened().get_added_tokens_decoder()) {
      if (id < size) yield [content, id];
    }
  }

  *#specialIds(): Generator<number> {
    for (const [id, token] of this.#opened().get_added_tokens_decoder()) {
      if (token.special) yield id;
    }
  }

  /** Encodes a text, so that a broken part of the file shows now rather than at each prompt. */
  #tryOut(): void {
    const library = this.#opened();
    const plain = library.encode("a", { add_special_tokens: false }).tokens;
    const unknown = library.encode("a").tokens
      .find((token) => !plain.includes(token) && this.idOf(token) === undefined);
    if (unknown === undefined) return;
    throw new Error(`a post_processor that adds "${unknown}", which is not in the vocabulary`);
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
  const file = readTokenizerFile(content, config);
  // Removing spaces before punctuation is for WordPiece, whose tokens have lost them. The texts of
  // BPE are exact, and code would change, whatever an old config says.
  const cleans = config.clean_up_tokenization_spaces === true && file.model.type !== "BPE";
  const library = new Library(file, { ...config, clean_up_tokenization_spaces: cleans });
  if (library.decoder) decodeBytesAsReference(library.decoder);
  return library;
}

/**
 * The reference replaces every byte of a run that is not UTF-8 by a mark of its own, and keeps a
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

/** The config with what an older `special_tokens_map.json` has and the config lacks. */
function mergeConfigs(special: unknown, config: unknown): unknown {
  const isObject = (value: unknown) => typeof value === "object" && value !== null;
  return isObject(special) && (isObject(config) || config === undefined)
    ? { ...special as object, ...config as object | undefined }
    : config;
}

/** How the tokens of a decoder write bytes. */
function vocabularyKind(decoder: Decoder | undefined): Vocabulary["kind"] {
  const parts = decoder instanceof SequenceDecoder ? decoder.decoders : decoder ? [decoder] : [];
  if (parts.some((part) => part instanceof ByteLevelDecoder)) return "byte_level";
  return parts.some((part) => part instanceof ByteFallbackDecoder) ? "byte_fallback" : "raw";
}
