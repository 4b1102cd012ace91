/**
 * What a `tokenizer.json` says, together with tokenizer_config.json, in the form that the library
 * reads: files of all ages, and tokens that only the config has.
 *
 * @module
 */

import { z } from "../../deps/zod.ts";

/** A special token as tokenizer_config.json writes it: its text, or an object with the text. */
const specialToken = z.union([
  z.string(),
  z.looseObject({ content: z.string() }).transform(({ content }) => content),
]).nullish();

const addedToken = z.looseObject({ content: z.string() });

/** `tokenizer_config.json`, the keys that Mixline reads and all others. */
export interface TokenizerConfig {
  /** Texts of special tokens. */
  readonly bos_token?: string | null | undefined;
  readonly eos_token?: string | null | undefined;
  readonly unk_token?: string | null | undefined;
  readonly pad_token?: string | null | undefined;
  /** The class that transformers takes, which may put a BOS in front. */
  readonly tokenizer_class?: string | null | undefined;
  readonly add_bos_token?: boolean | null | undefined;
  /** Tokens by their ids, as the config claims them. */
  readonly added_tokens_decoder?:
    | Readonly<Record<string, { readonly content: string }>>
    | null
    | undefined;
  readonly clean_up_tokenization_spaces?: boolean | null | undefined;
  /** Everything else, such as the chat template. */
  readonly [key: string]: unknown;
}

/** The schema of {@linkcode TokenizerConfig}; other keys stay. */
export const configSchema: z.ZodType<TokenizerConfig> = z.looseObject({
  bos_token: specialToken,
  eos_token: specialToken,
  unk_token: specialToken,
  pad_token: specialToken,
  tokenizer_class: z.string().nullish().catch(undefined),
  add_bos_token: z.boolean().nullish().catch(undefined),
  added_tokens_decoder: z.record(z.string(), addedToken).nullish(),
  clean_up_tokenization_spaces: z.boolean().nullish(),
});

const part = z.looseObject({ type: z.string() }).nullish().transform((value) => value ?? null);

const fileSchema = z.looseObject({
  model: z.looseObject({
    type: z.string().optional(),
    vocab: z.union([z.record(z.string(), z.int()), z.array(z.tuple([z.string(), z.number()]))]),
    merges: z.array(z.union([z.string(), z.tuple([z.string(), z.string()])])).optional(),
  }),
  added_tokens: z.array(z.looseObject({ id: z.int().nonnegative(), content: z.string() }))
    .nullish().transform((tokens) => tokens ?? []),
  normalizer: part,
  pre_tokenizer: part,
  post_processor: part,
  decoder: part,
});

/** A tokenizer.json that was checked, with nothing left out. */
export type TokenizerFile = z.output<typeof fileSchema>;

/**
 * Reads the content of a tokenizer.json; raises a ZodError that names what is wrong with it.
 *
 * Tokens of `added_tokens_decoder` that the file lacks get the next free ids, in the order of the
 * ids that the config claims, as `AutoTokenizer` gives them.
 */
export function readTokenizerFile(content: unknown, config: TokenizerConfig): TokenizerFile {
  const file = fileSchema.parse(content);
  const model = { ...file.model, type: file.model.type ?? modelType(file.model) };
  return { ...file, model, added_tokens: addTokens(file, config) };
}

/** Files of before 2020 do not name the algorithm; what they hold tells. */
function modelType(model: TokenizerFile["model"]): string {
  if (Array.isArray(model.vocab)) return "Unigram";
  return model.merges === undefined ? "WordPiece" : "BPE";
}

function addTokens(file: TokenizerFile, config: TokenizerConfig): TokenizerFile["added_tokens"] {
  const ids = vocabularyOf(file.model.vocab);
  const added = new Map(file.added_tokens.map((token) => [token.content, token]));
  for (const { id, content } of added.values()) ids.set(content, id);
  let next = 0;
  for (const id of ids.values()) next = Math.max(next, id + 1);
  const place = (content: string) => ids.get(content) ?? next++;
  const claimed = Object.entries(config.added_tokens_decoder ?? {})
    .sort(([a], [b]) => Number(a) - Number(b));
  for (const [, token] of claimed) {
    if (added.has(token.content)) continue;
    const id = place(token.content);
    ids.set(token.content, id);
    added.set(token.content, { ...token, id });
  }
  for (const content of [config.bos_token, config.eos_token, config.unk_token, config.pad_token]) {
    const id = typeof content === "string" ? ids.get(content) : undefined;
    if (typeof content !== "string" || id === undefined || added.has(content)) continue;
    added.set(content, { id, content, special: true });
  }
  return [...added.values()];
}

function vocabularyOf(vocab: TokenizerFile["model"]["vocab"]): Map<string, number> {
  if (Array.isArray(vocab)) return new Map(vocab.map(([token], id) => [token, id]));
  return new Map(Object.entries(vocab));
}

/** Classes that put a BOS in front because the config says so, whatever tokenizer.json has. */
const BOS_BY_CONFIG = /^(Code)?(Llama|Gemma)Tokenizer(Fast)?$/;

/** Whether the config alone decides about a BOS; undefined where tokenizer.json does. */
export function bosByConfig(config: TokenizerConfig): boolean | undefined {
  if (!BOS_BY_CONFIG.test(config.tokenizer_class ?? "")) return undefined;
  return config.add_bos_token ?? undefined;
}
