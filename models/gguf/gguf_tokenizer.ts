/**
 * The tokenizer and the chat template in the metadata of a GGUF file.
 *
 * @module
 */

import { CheckpointError } from "../../graph/mod.ts";
import { ChatTemplate } from "../chat/chat_template.ts";
import type { GenerationConfig } from "../config/generation_config.ts";
import { beginWith, PIECE, sentencePieceTokenizer } from "../tokenizer/sentencepiece.ts";
import { Tokenizer } from "../tokenizer/tokenizer.ts";
import type { GgufMetadata } from "./gguf_metadata.ts";
import { PRE_TOKENIZERS } from "./pre_tokenizers.ts";

const KEY = "tokenizer.ggml";

/**
 * Texts that end a turn or a text in the families that are read. Files name one end token, and models
 * use several.
 */
const END_TEXTS = new Set([
  ...["<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|end|>"],
  ...["<|return|>", "<|call|>", "<|EOT|>", "</s>", "<｜end▁of▁sentence｜>", "<|user|>"],
  ...["<|observation|>", "<end_of_turn>"],
]);

/** `<|end|>` ends a message of gpt-oss, and others follow. */
const HARMONY_MESSAGE_END = "<|end|>";

/** The tokenizer; one that cannot be made refuses texts with the reason. */
export function ggufTokenizer(metadata: GgufMetadata): Tokenizer {
  const tokens = metadata.texts(`${KEY}.tokens`);
  const textOf = (key: string) => {
    const id = metadata.plainNumber(`${KEY}.${key}_token_id`);
    return id === undefined ? undefined : tokens?.[id];
  };
  const config = {
    bos_token: textOf("bos"),
    eos_token: textOf("eos"),
    unk_token: textOf("unknown"),
    pad_token: textOf("padding"),
    chat_template: templateOf(metadata),
  };
  return new Tokenizer(contentOf(metadata, tokens), config);
}

/** The chat template; undefined when there is none. */
export function ggufChatTemplate(
  metadata: GgufMetadata,
  tokenizer: Tokenizer,
): ChatTemplate | undefined {
  return ChatTemplate.fromConfig(tokenizer.config, metadata.path);
}

/** End tokens and defaults of a generation; makers' samplers are in newer files. */
export function ggufGeneration(metadata: GgufMetadata): GenerationConfig {
  const tokens = metadata.texts(`${KEY}.tokens`) ?? [];
  const kinds = metadata.numbers(`${KEY}.token_type`) ?? [];
  const named = ["eos", "eot", "eom"].flatMap((name) =>
    metadata.plainNumber(`${KEY}.${name}_token_id`) ?? []
  );
  const isHarmony = tokens.includes("<|return|>");
  const found = tokens.flatMap((text, id) =>
    END_TEXTS.has(text) && [PIECE.control, PIECE.userDefined].includes(kinds[id]) &&
      !(isHarmony && text === HARMONY_MESSAGE_END)
      ? [id]
      : []
  );
  const sampler = (name: string) => metadata.plainNumber(`general.sampling.${name}`);
  return {
    temperature: sampler("temp") ?? 0,
    topK: sampler("top_k") ?? 0,
    topP: sampler("top_p") ?? 1,
    minP: sampler("min_p") ?? 0,
    repetitionPenalty: sampler("penalty_repeat") ?? 1,
    eosTokenIds: [...new Set([...named, ...found])],
    maxNewTokens: undefined,
  };
}

function templateOf(metadata: GgufMetadata): unknown {
  const main = metadata.plainText("tokenizer.chat_template");
  const tools = metadata.plainText("tokenizer.chat_template.tool_use");
  if (tools === undefined || main === undefined) return main ?? tools;
  return [{ name: "default", template: main }, { name: "tool_use", template: tools }];
}

function contentOf(
  metadata: GgufMetadata,
  tokens: readonly string[] | undefined,
): unknown {
  const kind = metadata.plainText(`${KEY}.model`);
  if (!tokens || kind === undefined) {
    return refused(metadata, "a tokenizer in the metadata", "none");
  }
  if (kind === "llama") return sentencePieceOf(metadata, tokens);
  if (kind === "gpt2") return bytePairOf(metadata, tokens);
  return refused(metadata, 'a tokenizer of kind "gpt2" or "llama"', `"${kind}"`);
}

function sentencePieceOf(metadata: GgufMetadata, tokens: readonly string[]): unknown {
  const scores = metadata.numbers(`${KEY}.scores`) ?? [];
  const kinds = metadata.numbers(`${KEY}.token_type`) ?? [];
  const addsBos = metadata.plainBoolean(`${KEY}.add_bos_token`) ?? true;
  const model = {
    pieces: tokens.map((text, id) => ({
      text,
      score: scores[id] ?? -id,
      kind: kinds[id] ?? PIECE.normal,
    })),
    algorithm: "BPE" as const,
    bosId: addsBos ? metadata.plainNumber(`${KEY}.bos_token_id`) ?? 1 : -1,
    addsSpace: metadata.plainBoolean(`${KEY}.add_space_prefix`) ?? true,
    normalizes: false,
  };
  return sentencePieceTokenizer(model, true);
}

function bytePairOf(metadata: GgufMetadata, tokens: readonly string[]): unknown {
  const pre = metadata.plainText(`${KEY}.pre`) ?? "default";
  if (!Object.hasOwn(PRE_TOKENIZERS, pre)) {
    const known = Object.keys(PRE_TOKENIZERS).join(", ");
    return refused(metadata, `a splitting of texts such as ${known}`, `"${pre}"`);
  }
  const rules = PRE_TOKENIZERS[pre];
  const merges = metadata.texts(`${KEY}.merges`);
  if (!merges) return refused(metadata, `merges under "${KEY}.merges"`, "none");
  const kinds = metadata.numbers(`${KEY}.token_type`) ?? [];
  const bos = metadata.plainNumber(`${KEY}.bos_token_id`);
  const addsBos = metadata.plainBoolean(`${KEY}.add_bos_token`) ?? rules.addsBos ?? false;
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: false };
  return {
    model: {
      type: "BPE",
      vocab: Object.fromEntries(tokens.map((text, id) => [text, id])),
      merges,
      ignore_merges: rules.ignoreMerges ?? false,
    },
    added_tokens: tokens.flatMap((content, id) =>
      [PIECE.unknown, PIECE.control, PIECE.userDefined].includes(kinds[id])
        ? [{ id, content, normalized: false, special: kinds[id] !== PIECE.userDefined }]
        : []
    ),
    normalizer: rules.nfc ? { type: "NFC" } : null,
    pre_tokenizer: rules.patterns.length === 0 ? { ...byteLevel, use_regex: true } : {
      type: "Sequence",
      pretokenizers: [
        ...rules.patterns.map((Regex) => ({
          type: "Split",
          pattern: { Regex },
          behavior: "Isolated",
          invert: false,
        })),
        { ...byteLevel, use_regex: false },
      ],
    },
    post_processor: addsBos && bos !== undefined && bos < tokens.length
      ? beginWith(tokens[bos], bos)
      : null,
    decoder: { ...byteLevel, use_regex: true },
  };
}

function refused({ path }: GgufMetadata, expected: string, got: string): CheckpointError {
  return new CheckpointError(
    "checkpoint/tokenizer-format",
    `Cannot open tokenizer of "${path}": expected ${expected}, got ${got}`,
    { hint: "Work with token ids, or use the model's safetensors", details: { path } },
  );
}
