/**
 * Flags of `deploy`, and those that every command with a model has.
 *
 * @module
 */

import { Command, Option } from "../deps/commander.ts";
import { EXECUTOR_CHOICES, WEBGPU_CHOICES } from "../runtime/mod.ts";
import { collectVariable } from "./chat_flags.ts";
import { collect, countFlag, numberFlag } from "./flags.ts";
import { collectTokenIds } from "./prompt_flags.ts";

/** Prompt of a deployment without one. */
export const DEFAULT_PROMPT = "Once upon a time";

/** A command with the flags that choose a model and configure its pipeline. */
export function modelCommand(name: string, description: string) {
  return new Command(name)
    .description(description)
    .option(
      "-m, --model <path|hub-id>",
      "model folder, .gguf file or hub id (default: the bundled storyteller)",
    )
    .option("-c, --config <file...>", "YAML overlays, later ones win")
    .option("-s, --set <key=value...>", "single values, such as transforms.fuse_moe.backend=triton")
    .option("--plugin <file...>", "modules with transforms, MoE backends and architectures")
    .addOption(
      new Option("-x, --executor <name>", "where to run (default: auto)")
        .choices(EXECUTOR_CHOICES),
    )
    .addOption(
      new Option("--webgpu <name>", "whose WebGPU; dawn has tensor cores (default: native)")
        .choices(WEBGPU_CHOICES),
    )
    .addOption(
      new Option(
        "--kv-cache-dtype <type>",
        "element type of the KV cache; fp8 is E4M3 (default: f16)",
      )
        .choices(["f16", "f32", "fp8"] as const),
    )
    .option("--json", "one JSON document on stdout")
    .option("--quiet", "no progress on stderr")
    .option("--debug", "stack traces of errors");
}

/** The command `deploy` without its action. */
export function deployFlags() {
  return modelCommand("deploy", "Deploy a model and generate text with it")
    .option(
      "-p, --prompt <text>",
      `text to continue, repeatable; - is standard input (default: "${DEFAULT_PROMPT}")`,
      collect,
    )
    .option("--prompt-file <file>", "file with a text to continue, repeatable", collect)
    .option("--token-ids <list>", "prompt by its token ids, repeatable", collectTokenIds)
    .option("--chat", "take prompts as messages of a chat")
    .option("--system <text>", "system message of the chats")
    .addOption(
      new Option(
        "--thinking <on|off>",
        "let the model think first, where its template has a switch",
      )
        .choices(["on", "off"] as const),
    )
    .option(
      "--template-var <name=json>",
      "variable of the chat template, repeatable, such as reasoning_effort=high",
      collectVariable,
    )
    .option("--tools <file>", "JSON file with the tools that the model may call")
    .option(
      "-n, --max-new-tokens <n>",
      "tokens to generate at most",
      countFlag("--max-new-tokens", 1),
    )
    .option("--stop <text>", "text that ends the generation, repeatable", collect)
    .option(
      "--logprobs <n>",
      "with --json: log-probabilities of tokens and of the n likeliest",
      countFlag("--logprobs", 0),
    )
    .option("-t, --temperature <t>", "0 is greedy", numberFlag("--temperature"))
    .option("--top-k <k>", "sample among the k most likely tokens", countFlag("--top-k", 0))
    .option("--top-p <p>", "sample among the tokens that make up p", numberFlag("--top-p"))
    .option(
      "--min-p <p>",
      "lowest likelihood relative to the most likely token",
      numberFlag("--min-p"),
    )
    .option("--repetition-penalty <r>", "above 1 repeats less", numberFlag("--repetition-penalty"))
    .option(
      "--seed <n>",
      "seed of sampling; the same seed gives the same text",
      countFlag("--seed", 0, 2 ** 32 - 1),
    )
    .option(
      "--serve",
      "serve the model instead of generating: deno task serve --help has its flags",
    )
    .option("--benchmark", "measure tokens per second")
    .option("--dry-run", "show the resolved configuration and what set each value")
    .option("--changes", "with --dry-run: what each transform changes in this model")
    .option(
      "--verify",
      "compare each transform's logits with those before, and the device's with the CPU's",
    );
}

/** Parsed flags of `deploy`. */
export type DeployFlags = ReturnType<ReturnType<typeof deployFlags>["opts"]>;

/** Parsed flags of any command with a model. */
export type ModelFlags = ReturnType<ReturnType<typeof modelCommand>["opts"]>;
