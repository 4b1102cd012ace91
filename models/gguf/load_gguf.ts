/**
 * Opens a GGUF file as a model.
 *
 * @module
 */

import { basename } from "node:path";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import type { Model } from "../architecture.ts";
import { findArchitecture } from "../architectures.ts";
import { normalizeConfig } from "../config/hf_config.ts";
import { ggufCheckpoint } from "./gguf_checkpoint.ts";
import { GgufSplits } from "./gguf_splits.ts";
import { findGgufFamily } from "./gguf_families.ts";
import { commonConfig, withoutUndefined } from "./gguf_family.ts";
import { GgufMetadata } from "./gguf_metadata.ts";
import { ggufChatTemplate, ggufGeneration, ggufTokenizer } from "./gguf_tokenizer.ts";

/** True for the path of a GGUF file. */
export function isGgufPath(path: string): boolean {
  return path.toLowerCase().endsWith(".gguf");
}

/** Opens a GGUF file, or the first of its splits: reads the headers, no weights. */
export async function loadGguf(path: string): Promise<Model> {
  const splits = await GgufSplits.open(path);
  try {
    const opened = openParts(splits, path);
    const { metadata, checkpoint, quantization, architecture, config, notes, build } = opened;
    const tokenizer = ggufTokenizer(metadata);
    return {
      path,
      name: basename(path),
      architecture,
      config,
      checkpoint,
      tokenizer,
      chatTemplate: ggufChatTemplate(metadata, tokenizer),
      generation: ggufGeneration(metadata),
      bytes: checkpoint.bytes,
      quantization,
      notes: [...notes, ...checkpoint.notes],
      build: (options) => build(checkpoint, quantization, options),
    };
  } catch (error) {
    await splits.close();
    throw error;
  }
}

/** The tensors of a GGUF file alone. */
export async function openGgufCheckpoint(path: string): Promise<Checkpoint> {
  const splits = await GgufSplits.open(path);
  try {
    return openParts(splits, path).checkpoint;
  } catch (error) {
    await splits.close();
    throw error;
  }
}

function openParts(splits: GgufSplits, path: string) {
  const metadata = new GgufMetadata(path, splits.files[0].metadata);
  const family = findGgufFamily(metadata.architecture, path);
  const facts = splits.facts();
  const common = commonConfig(family, metadata, facts);
  // A family leaves a common key out by `undefined`, which no config.json can hold.
  const said = withoutUndefined({ ...common, ...family.config(metadata, facts) });
  const raw = normalizeConfig(said, path);
  const architecture = findArchitecture(raw, path);
  const { config, notes, build } = architecture.configure(raw, path);
  const heads = { q: config.num_attention_heads, k: config.num_key_value_heads };
  const opened = ggufCheckpoint(splits, family, heads);
  return { metadata, architecture, config, notes, build, ...opened };
}
