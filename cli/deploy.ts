/**
 * `deploy`: makes a model ready on the device, and generates text with it.
 *
 * @module
 */

import type { Pipeline } from "../dsl/mod.ts";
import { ConfigError } from "../graph/mod.ts";
import { checkOptions, type Engine, type PlannedRequest } from "../runtime/mod.ts";
import { benchmark, BENCHMARK_TEXT, formatBenchmark } from "./benchmark.ts";
import { readChatFlags } from "./chat_flags.ts";
import type { CommandContext } from "./command.ts";
import { requireModel } from "./bundled_model.ts";
import { configure } from "./configure.ts";
import { DEFAULT_PROMPT, type DeployFlags, deployFlags } from "./deploy_flags.ts";
import { DeployView } from "./deploy_view.ts";
import { showChanges, showDryRun } from "./dry_run.ts";
import { formatDuration } from "./format.ts";
import { generateTexts } from "./generate_text.ts";
import { type GivenPrompt, readPrompts } from "./prompt_flags.ts";

/** Sizes of `--benchmark`, where the model has room for them. */
const BENCHMARK = { promptTokens: 512, newTokens: 128, runs: 5 };

/** The command. */
export function deployCommand(context: CommandContext) {
  return deployFlags().action((flags) => deploy(flags, context));
}

async function deploy(flags: DeployFlags, context: CommandContext): Promise<void> {
  const { terminal, signal } = context;
  const pipeline = configure(flags);
  if (flags.changes && !flags.dryRun) throw changesWithoutDryRun();
  if (flags.dryRun) {
    return flags.changes ? await showChanges(pipeline, context) : showDryRun(pipeline, terminal);
  }
  const chat = await readChatFlags(flags);
  checkLogprobs(flags);
  // What an engine would refuse after the weights are read is refused now.
  const options = generateOptions(flags, signal);
  checkOptions(options);
  await requireModel("deploy", pipeline.resolve().settings.model);
  const prompts = await readPrompts(flags, flags.benchmark ? BENCHMARK_TEXT : DEFAULT_PROMPT);
  const requests = flags.benchmark ? [] : prompts.map(({ shown, input }) => ({
    prompt: chat ? chat.messagesOf(shown) : input,
    options: { ...options, ...chat?.options },
  }));
  await using engine = await start(pipeline, flags, requests, context);
  const result = flags.benchmark
    ? { benchmark: await runBenchmark(engine, prompts, flags, context) }
    : {
      results: await generateTexts(
        engine,
        prompts,
        options,
        chat,
        terminal,
      ),
    };
  if (terminal.json) {
    terminal.result(`${JSON.stringify({ ...result, report: engine.report }, null, 2)}\n`);
  }
}

async function start(
  pipeline: Pipeline,
  flags: DeployFlags,
  requests: readonly PlannedRequest[],
  { terminal, signal }: CommandContext,
): Promise<Engine> {
  const view = new DeployView(terminal);
  const begin = performance.now();
  try {
    const engine = await pipeline.deploy({
      signal,
      verify: flags.verify ?? false,
      requests,
      onProgress: (event) => view.show(event),
    });
    view.ready(performance.now() - begin);
    return engine;
  } finally {
    view.close();
  }
}

function changesWithoutDryRun(): ConfigError {
  return new ConfigError(
    "cli/invalid-value",
    'Cannot read flag "--changes": expected --dry-run beside it, got none',
    { details: { flag: "--changes" } },
  );
}

/** Log-probabilities are for programs: text has no place for them. */
function checkLogprobs({ logprobs, json }: DeployFlags): void {
  if (logprobs === undefined || json) return;
  throw new ConfigError(
    "cli/invalid-value",
    'Cannot read flag "--logprobs": expected --json beside it, got none',
    { details: { flag: "--logprobs" } },
  );
}

function generateOptions(flags: DeployFlags, signal: AbortSignal) {
  const { maxNewTokens, temperature, topK, topP, minP, repetitionPenalty, seed } = flags;
  const { stop, logprobs } = flags;
  return {
    ...{ maxNewTokens, temperature, topK, topP, minP, repetitionPenalty, seed, signal },
    ...{ stop, logprobs },
  };
}

async function runBenchmark(
  engine: Engine,
  prompts: readonly GivenPrompt[],
  flags: DeployFlags,
  { terminal, signal }: CommandContext,
) {
  const { maxSequenceTokens } = engine.report.limits;
  // One token comes from the prefill; decoding begins with the second one.
  const newTokens = Math.max(
    2,
    Math.min(flags.maxNewTokens ?? BENCHMARK.newTokens, maxSequenceTokens >> 1),
  );
  const result = await benchmark(engine, {
    prompt: Int32Array.from(
      prompts.flatMap(({ input }) => [...typeof input === "string" ? engine.encode(input) : input]),
    ),
    promptTokens: Math.min(BENCHMARK.promptTokens, maxSequenceTokens - newTokens),
    newTokens,
    runs: BENCHMARK.runs,
    signal,
    onRun: (run, milliseconds) =>
      terminal.progress(
        `${run === 0 ? "warm-up" : `run ${run} of ${BENCHMARK.runs}`}: ${
          formatDuration(milliseconds)
        }`,
      ),
  });
  if (!terminal.json) terminal.result(formatBenchmark(result));
  return result;
}
