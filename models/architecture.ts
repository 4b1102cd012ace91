/**
 * What an architecture is: how its `config.json` reads and how its eager graph is built.
 *
 * @module
 */

import type { z } from "../deps/zod.ts";
import { Graph, GraphBuilder } from "../graph/mod.ts";
import type { Checkpoint } from "./checkpoint.ts";
import type { GenerationConfig } from "./generation_config.ts";
import { checkSizes, type ModelConfig, parseConfig } from "./hf_config.ts";
import { leftoverTensors } from "./leftover_tensors.ts";
import { type IgnoredTensors, ModelWeights } from "./model_weights.ts";
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
  /** Keys of the normalised config.json; unknown keys pass, unsupported values do not. */
  readonly config: Schema;
  /** Tensors that checkpoints may hold and the graph does not need. */
  readonly ignoredTensors?: readonly IgnoredTensors[];
  /** Adds inputs, nodes and the output "logits". */
  build(b: GraphBuilder, config: z.output<Schema>, weights: ModelWeights): void;
}

/** An architecture, ready for the registry. */
export interface Architecture {
  readonly name: string;
  readonly hfNames: readonly string[];
  readonly features: readonly string[];
  /** Reads a normalised config.json; throws a CheckpointError that names key and `file`. */
  configure(config: Record<string, unknown>, file: string): ConfiguredArchitecture;
}

/** An architecture with the sizes of one model. */
export interface ConfiguredArchitecture {
  readonly config: ModelConfig;
  /** The eager graph over the tensors of a checkpoint, which it checks for presence and shape. */
  build(checkpoint: Checkpoint, quantization?: Quantization): EagerGraph;
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
  const { name, hfNames, features, ignoredTensors = [] } = definition;
  return {
    name,
    hfNames,
    features,
    configure(raw, file) {
      const config = parseConfig(definition.config, raw, file);
      checkSizes(config, file);
      return {
        config,
        build(checkpoint, quantization) {
          const weights = new ModelWeights(checkpoint, quantization);
          const graph = new Graph(config.architectures[0]);
          definition.build(new GraphBuilder(graph), config, weights);
          return {
            graph,
            unusedTensors: weights.unused([...ignoredTensors, ...leftoverTensors(raw)]),
          };
        },
      };
    },
  };
}

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
  /** Notes about the files for the user. */
  readonly notes: readonly string[];
  /** Builds the eager graph anew. */
  build(): EagerGraph;
}
