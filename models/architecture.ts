/**
 * What an architecture is: how its `config.json` reads and how its eager graph is built.
 *
 * @module
 */

import type { z } from "../deps/zod.ts";
import { Graph, GraphBuilder } from "../graph/mod.ts";
import type { Checkpoint } from "./checkpoint/checkpoint.ts";
import { checkConfig, checkWindow } from "./config/config_checks.ts";
import type { GenerationConfig } from "./config/generation_config.ts";
import {
  checkGroups,
  checkSizes,
  type ConfigReading,
  type ModelConfig,
  parseConfig,
  readConfig,
} from "./config/hf_config.ts";
import { leftoverTensors } from "./weights/leftover_tensors.ts";
import { settleRope } from "./config/rope_length.ts";
import { unreadKeys } from "./config/unread_keys.ts";
import { type IgnoredTensors, ModelWeights } from "./weights/model_weights.ts";
import type { ChatTemplate } from "./chat/chat_template.ts";
import type { Quantization } from "./quantization/quantization.ts";
import type { Tokenizer } from "./tokenizer/tokenizer.ts";

/** What an architecture file defines. */
export interface ArchitectureDefinition<Schema extends z.ZodType<ModelConfig>> {
  /** Short name, as transformers' `model_type`. */
  readonly name: string;
  /** Names under `architectures` in config.json. */
  readonly hfNames: readonly string[];
  /** What of the family is implemented, one phrase each, for `inspect` and the docs. */
  readonly features: readonly string[];
  /** What a user of any of its models should know, one sentence each. */
  readonly notes?: readonly string[];
  /** How transformers' class reads config.json: defaults, other names, the rotary embedding. */
  readonly reading?: ConfigReading;
  /** Keys of the config as read; unknown keys pass, unsupported values do not. */
  readonly config: Schema;
  /** What a user should know of a config.json, its missing keys filled in; one sentence each. */
  remarks?(config: Readonly<Record<string, unknown>>): readonly string[];
  /** Values that keys must have which the class does not read; others are worth a note. */
  readonly assumes?: Readonly<Record<string, unknown>>;
  /**
   * Tensors that checkpoints of this family may hold and the graph does not need, besides what those of
   * every family may hold: rotary buffers, scales that quantizers leave, a vision or audio model, ..
   */
  readonly ignoredTensors?: readonly IgnoredTensors[];
  /** Adds inputs, nodes and the output "logits". */
  build(
    b: GraphBuilder,
    config: z.output<Schema>,
    weights: ModelWeights,
    options: Required<BuildOptions>,
  ): void;
}

/** What a graph may depend on besides the model. */
export interface BuildOptions {
  /** Tokens of the longest sequence that will be served; by default what the model was made for. */
  readonly maxSeqLen?: number;
}

/** An architecture, ready for the registry. */
export interface Architecture {
  /** Short name, as transformers' `model_type`. */
  readonly name: string;
  /** Names under `architectures` in config.json. */
  readonly hfNames: readonly string[];
  /** What of the family is implemented, one phrase each. */
  readonly features: readonly string[];
  /**
   * Reads a normalised config.json; throws a CheckpointError that names key and `file`.
   *
   * @internal
   */
  configure(config: Record<string, unknown>, file: string): ConfiguredArchitecture;
}

/** An architecture with the sizes of one model. */
export interface ConfiguredArchitecture {
  /** The checked config. */
  readonly config: ModelConfig;
  /** What a user should know about the config, one sentence each. */
  readonly notes: readonly string[];
  /** The eager graph over the tensors of a checkpoint, which it checks for presence and shape. */
  build(checkpoint: Checkpoint, quantization?: Quantization, options?: BuildOptions): EagerGraph;
}

/** An eager graph, and what it leaves of the checkpoint. */
export interface EagerGraph {
  readonly graph: Graph;
  readonly unusedTensors: readonly UnusedTensor[];
}

/** A tensor of the checkpoint that the graph does not read. */
export interface UnusedTensor {
  readonly name: string;
  /** Why it is not needed; undefined when it is not known, which is reported as a warning. */
  readonly reason: string | undefined;
}

/** Makes an architecture; a function so that the type of its config is inferred. */
export function defineArchitecture<Schema extends z.ZodType<ModelConfig>>(
  definition: ArchitectureDefinition<Schema>,
): Architecture {
  const { name, hfNames, features, ignoredTensors = [], notes = [] } = definition;
  return {
    name,
    hfNames,
    features,
    configure(raw, file) {
      const reading = definition.reading ?? NO_READING;
      // Without `architectures`, model_type has chosen: the class has its own name.
      const architectures = raw.architectures ?? hfNames.slice(0, 1);
      const read = readConfig({ ...raw, architectures }, reading, file);
      const config = parseConfig(definition.config, read.config, file);
      checkConfig(definition.config, read.config, file);
      checkWindow(definition.config, read.config, file);
      checkSizes(config, file);
      checkGroups(definition.config, config, file);
      return {
        config,
        notes: [
          ...notes,
          ...read.notes,
          ...(definition.remarks?.(read.config) ?? []),
          ...unreadKeys(definition.config, read.config, definition),
        ],
        build(checkpoint, quantization, options = {}) {
          const weights = new ModelWeights(checkpoint, quantization);
          const graph = new Graph(config.architectures[0]);
          const { maxSeqLen = config.max_position_embeddings } = options;
          const settled = settleRope(config, maxSeqLen, reading.rope?.anyLength);
          definition.build(new GraphBuilder(graph), settled, weights, { maxSeqLen });
          return {
            graph,
            unusedTensors: weights.unused([...ignoredTensors, ...leftoverTensors(read.config)]),
          };
        },
      };
    },
  };
}

/** A definition without a class says all of its keys itself. */
const NO_READING: ConfigReading = { defaults: { theta: 10000, aliases: {}, fields: {} } };

/** An opened model folder. */
export interface Model {
  /** The folder. */
  readonly path: string;
  /** Last part of the path or hub id. */
  readonly name: string;
  readonly architecture: Architecture;
  readonly config: ModelConfig;
  readonly checkpoint: Checkpoint;
  readonly tokenizer: Tokenizer;
  readonly chatTemplate: ChatTemplate | undefined;
  readonly generation: GenerationConfig;
  /** How the checkpoint is quantized; undefined when it is not. */
  readonly quantization: Quantization | undefined;
  /** Bytes of all tensors. */
  readonly bytes: number;
  /** Notes about the config and the files for the user, one sentence each. */
  readonly notes: readonly string[];
  /** Builds the eager graph anew. */
  build(options?: BuildOptions): EagerGraph;
}
