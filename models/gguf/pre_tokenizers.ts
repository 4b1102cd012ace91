/**
 * How texts are split before byte-pair merges, by the values of `tokenizer.ggml.pre`.
 *
 * Patterns: those of the models' own tokenizer.json files; which name is whose:
 * https://github.com/ggml-org/llama.cpp/blob/master/src/llama-vocab.cpp.
 *
 * @module
 */

/** How one kind of vocabulary splits. */
export interface PreTokenizer {
  /** Patterns, applied one after the other; GPT-2's own when there is none. */
  readonly patterns: readonly string[];
  /** Texts are composed first (NFC). */
  readonly nfc?: boolean;
  /** A word that is a token stays one, whatever the merges say. */
  readonly ignoreMerges?: boolean;
  /** A BOS comes first unless the file says otherwise. */
  readonly addsBos?: boolean;
}

const CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const SPACES = String.raw`\s*[\r\n]+|\s+(?!\S)|\s+`;
const UPPER = String.raw`[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`;
const LOWER = String.raw`[\p{Ll}\p{Lm}\p{Lo}\p{M}]`;

/** Words, up to so many digits, and punctuation with line ends: cl100k and its relatives. */
function words(digits: string): string {
  return String
    .raw`${CONTRACTIONS}|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}${digits}| ?[^\s\p{L}\p{N}]+[\r\n]*|${SPACES}`;
}

/** Words by their case: o200k and tekken. */
function casedWords(end: string, digits: string): string {
  const start = String.raw`[^\r\n\p{L}\p{N}]?`;
  return String
    .raw`${start}${UPPER}*${LOWER}+${end}|${start}${UPPER}+${LOWER}*${end}|\p{N}${digits}| ?[^\s\p{L}\p{N}]+[\r\n/]*|${SPACES}`;
}

const LLAMA3: PreTokenizer = { patterns: [words("{1,3}")], ignoreMerges: true, addsBos: true };
const GPT2: PreTokenizer = { patterns: [] };
const DEEPSEEK3: PreTokenizer = {
  patterns: [
    String.raw`\p{N}{1,3}`,
    String.raw`[一-龥぀-ゟ゠-ヿ]+`,
    String
      .raw`[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_${"`"}{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|${SPACES}`,
  ],
};

/** By name. */
export const PRE_TOKENIZERS: Readonly<Record<string, PreTokenizer>> = {
  "qwen2": { patterns: [words("")], nfc: true },
  "llama3": LLAMA3,
  "llama-v3": LLAMA3,
  "llama-bpe": LLAMA3,
  "glm4": { patterns: [words("{1,3}")] },
  "chatglm-bpe": { patterns: [words("{1,3}")] },
  "gpt-4o": { patterns: [casedWords(`${CONTRACTIONS}?`, "{1,3}")] },
  "tekken": { patterns: [casedWords("", "")], ignoreMerges: true, addsBos: true },
  "deepseek-v3": DEEPSEEK3,
  "gpt-2": GPT2,
  "olmo": { ...GPT2, nfc: true },
  "default": GPT2,
};
