/**
 * From a resolved pipeline to an engine: the model's folder is opened, its graph goes through the
 * transforms, an executor compiles it.
 *
 * @module
 */

import { ConfigError, type Graph, messageOf, watchExperts } from "../graph/mod.ts";
import { Chat, loadModel, type Model } from "../models/mod.ts";
import {
  checkOutputFile,
  compileSizes,
  compileWithPages,
  createEngine,
  type Engine,
  longestSequence,
  openExecutor,
  type PlannedRequest,
  PromptReader,
  type SizeSettings,
  type StepLimits,
  stepLimits,
  type TextCodec,
} from "../runtime/mod.ts";
import {
  cacheNotes,
  optimize,
  type TransformContext,
  type TransformRecord,
  type WantedReport,
  wantedReport,
} from "../transforms/mod.ts";
import { writeReport } from "./report/page.ts";
import { describeOperands, operandsChoices } from "./operands_choice.ts";
import { openSamplers } from "./open_samplers.ts";
import type { ResolvedPipeline } from "./resolve.ts";
import { compareProgram } from "./verify_program.ts";
import { TransformVerifier, type VerifyRow } from "./verify.ts";

/** What happens while a model is deployed, in this order. */
export type DeployEvent =
  /** A model of the hub is being downloaded, one file after the other. */
  | {
    readonly kind: "download";
    readonly file: string;
    readonly bytes: number;
    readonly totalBytes: number;
  }
  | {
    readonly kind: "model";
    readonly name: string;
    readonly path: string;
    readonly architecture: string;
    readonly bytes: number;
  }
  | {
    readonly kind: "executor";
    readonly executor: "cpu" | "webgpu";
    readonly description: string;
    readonly reason: string;
  }
  | { readonly kind: "transform"; readonly record: TransformRecord }
  | { readonly kind: "verify"; readonly row: VerifyRow }
  | {
    readonly kind: "weights";
    readonly bytes: number;
    readonly totalBytes: number;
    readonly weight: string;
  }
  /** One sentence about something that was chosen or left out. */
  | { readonly kind: "note"; readonly message: string };

/** How a resolved pipeline is deployed. */
export interface DeployOptions {
  /** Ends the deployment with an AbortError. */
  readonly signal?: AbortSignal;
  /** Called as the deployment goes on; what it throws ends it. */
  readonly onProgress?: (event: DeployEvent) => void;
  /**
   * Compare the logits before and after every transform on the CPU, and those of the compiled program
   * with the CPU's; a text, or true for a default one.
   */
  readonly verify?: boolean | string;
  /**
   * Requests that will be made: one that the engine would refuse ends the deployment before weights
   * are read.
   */
  readonly requests?: readonly PlannedRequest[];
  /**
   * Make the choices of experts readable for `engine.expertLoad` and `engine.recentExpertLoad`; some
   * small buffers then live longer. Default false.
   */
  readonly watchExperts?: boolean;
}

/** Default tokens of the longest sequence, and of the largest step. */
const DEFAULT_SEQUENCE = 4096;
const DEFAULT_STEP = 2048;

/** What `verify: true` reads, and how much of a text `verify` takes. */
const VERIFY_TEXT = "The quick brown fox jumps over the lazy dog. Once upon a time";
const VERIFY_TOKENS = 32;

/** Deploys; everything opened on the way is closed again when it fails. */
export async function deployResolved(
  resolved: ResolvedPipeline,
  options: DeployOptions,
): Promise<Engine> {
  try {
    return await deployStages(resolved, options);
  } catch (error) {
    // Whatever an abort broke off, it ends in the signal's own reason.
    options.signal?.throwIfAborted();
    throw error;
  }
}

async function deployStages(resolved: ResolvedPipeline, options: DeployOptions): Promise<Engine> {
  const { signal, onProgress = () => {} } = options;
  const log = (message: string) => onProgress({ kind: "note", message });
  await using opened = new AsyncDisposableStack();
  const clock = new StepClock(signal);
  resolved.notes.forEach(log);

  const model = await clock.time("model", () => openModel(resolved, options));
  opened.defer(() => model.checkpoint.close());
  onProgress({ kind: "model", ...describeModel(model) });
  model.notes.forEach(log);
  const unreadable = model.chatTemplate?.unavailable;
  if (unreadable) log(`${unreadable.message}; messages are refused, plain prompts are not`);
  const settings = chooseSizes(resolved, model, log);

  const { executor: choice, webgpu } = resolved.settings;
  const chosen = await clock.time("executor", () => openExecutor(choice, { webgpu }));
  opened.defer(() => chosen.executor.dispose());
  const { executor: { kind, description }, reason, profile } = chosen;
  onProgress({ kind: "executor", executor: kind, description, reason });

  const verifier = options.verify ? verifierOf(model, options.verify) : undefined;
  const target = { executor: kind, ...(profile && { profile }) };
  const { graph, history } = await clock.time(
    "transforms",
    () => runTransforms(resolved, { model, settings, log, target }, options, verifier),
  );

  const operands = operandsChoices(resolved, history, target);
  if (kind === "webgpu" && operands.some((choice) => choice.operands !== "f32")) {
    log(`operands: ${describeOperands(operands)}`);
  }
  if (cacheNotes(graph).freeMemRatio) {
    log("free_mem_ratio has no effect: WebGPU does not say how much memory is free");
  }
  const page = wantedReport(graph);
  if (page?.isRequired) checkOutputFile(page.path);
  const samplers = openSamplers(graph, model);
  const watchedExperts = page || options.watchExperts ? watchExperts(graph) : [];
  const wanted = {
    ...stepLimits(graph, settings, profile),
    maxWaiting: resolved.settings.maxQueueSize,
    reusePrefixes: resolved.settings.prefixReuse && !keysDependOnLength(graph, log),
  };
  const codec = codecOf(model);
  const vocabSize = Number(graph.outputs.get("logits")?.shape[1]);
  const reader = new PromptReader(codec, vocabSize);
  for (const request of options.requests ?? []) {
    reader.plan(request, model.generation, longestSequence(wanted));
  }
  const compile = (limits: StepLimits) =>
    chosen.executor.compile(graph, {
      source: model.checkpoint,
      ...compileSizes(limits),
      ...(signal && { signal }),
      onProgress: (done) => onProgress({ kind: "weights", ...done }),
    });
  const { program, limits } = await clock.time(
    "weights",
    () =>
      compileWithPages(wanted, compile, {
        fewerSequences: resolved.originOf("max_batch_size")?.layer === "definition",
        note: log,
      }),
  );
  [...model.checkpoint.findings, ...program.notices ?? []].forEach(log);
  if (verifier) {
    const { executor } = chosen;
    const { source, tokenIds, logits, rows } = verifier;
    const compiled = { graph, program, executor, limits, source, tokenIds, logits };
    const added = await compareProgram(compiled);
    rows.push(...added);
    added.forEach((row) => onProgress({ kind: "verify", row }));
  }
  const resources = opened.move();
  const facts: Record<string, unknown> = {
    model: describeModel(model),
    settings: { ...resolved.settings, ...settings, maxBatchSize: limits.maxSequences },
    operands,
    transforms: history,
    notes: resolved.notes,
    ...(verifier && { verification: verifier.rows }),
  };
  const engine = createEngine({
    program,
    watchedExperts,
    samplers,
    codec,
    vocabSize,
    limits,
    defaults: model.generation,
    executor: { kind, description, reason },
    facts,
    seconds: clock.seconds,
    onClose: () => resources.disposeAsync(),
  });
  try {
    if (page) facts.page = await writePage(graph, engine, page, log);
    return engine;
  } catch (error) {
    await engine.close();
    throw error;
  }
}

/** Writes the report's page and gives its path, or says why there is none; throws where it is required. */
async function writePage(
  graph: Graph,
  engine: Engine,
  page: WantedReport,
  log: (message: string) => void,
): Promise<string | undefined> {
  try {
    await writeReport(graph, engine, page);
  } catch (error) {
    if (page.isRequired) throw error;
    log(`There is no report of this deployment: ${messageOf(error)}`);
    return undefined;
  }
  log(`The report of this deployment is in "${page.path}"`);
  return page.path;
}

/** Keys turned for the length of one sequence are not those of another with the same beginning. */
function keysDependOnLength(graph: Graph, log: (message: string) => void): boolean {
  const depends = graph.nodes.some(({ op }) => op === "dynamic_rope");
  if (depends) {
    log(
      "RoPE of type dynamic turns tokens for the length at the end of their step: prefixes are not reused, and a prompt in several steps differs from one in a single step",
    );
  }
  return depends;
}

/** Seconds by step; stops between steps when the signal says so. */
class StepClock {
  readonly seconds: Record<string, number> = {};

  constructor(readonly signal?: AbortSignal) {}

  async time<Result>(step: string, work: () => Promise<Result>): Promise<Result> {
    this.signal?.throwIfAborted();
    const start = performance.now();
    const result = await work();
    this.seconds[step] = (performance.now() - start) / 1000;
    return result;
  }
}

function openModel(
  { settings: { model } }: ResolvedPipeline,
  { signal, onProgress }: DeployOptions,
): Promise<Model> {
  if (model !== null) {
    return loadModel(model, {
      ...(signal && { signal }),
      onProgress: (done) => onProgress?.({ kind: "download", ...done }),
    });
  }
  throw new ConfigError("config/no-model", "Cannot deploy a pipeline: expected a model, got none", {
    hint: 'Give one: deploy({ model: "demo/storyteller" }), or model: in the YAML',
  });
}

function describeModel({ name, path, architecture, bytes }: Model) {
  return { name, path, architecture: architecture.name, bytes };
}

/** Sizes of sequences and steps: what was asked for, else what the model allows. */
function chooseSizes(
  { settings, originOf }: ResolvedPipeline,
  { config }: Model,
  log: (message: string) => void,
): SizeSettings {
  const positions = config.max_position_embeddings;
  const maxSeqLen = settings.maxSeqLen ?? Math.min(positions, DEFAULT_SEQUENCE);
  if (maxSeqLen > positions) {
    log(`max_seq_len is ${maxSeqLen}, the model was made for ${positions} positions`);
  }
  const maxNumTokens = settings.maxNumTokens ?? Math.min(maxSeqLen, DEFAULT_STEP);
  const { maxBatchSize } = settings;
  if (settings.maxNumTokens === null || maxBatchSize <= maxNumTokens) {
    return { maxSeqLen, maxBatchSize, maxNumTokens: Math.max(maxNumTokens, maxBatchSize) };
  }
  if (originOf("max_batch_size")?.layer === "definition") {
    log(`max_batch_size is ${maxNumTokens}: a step holds no more than max_num_tokens`);
    return { maxSeqLen, maxBatchSize: maxNumTokens, maxNumTokens };
  }
  throw new ConfigError(
    "config/step-size",
    `Cannot plan steps: expected max_batch_size of at most max_num_tokens (${maxNumTokens}), got ${maxBatchSize}`,
    {
      hint:
        "Lower max_batch_size, or raise max_num_tokens: every sequence adds a token to each step",
    },
  );
}

async function runTransforms(
  { transforms }: ResolvedPipeline,
  context: TransformContext,
  { signal, onProgress = () => {} }: DeployOptions,
  verifier: TransformVerifier | undefined,
) {
  const result = await optimize({
    steps: transforms,
    context,
    ...(signal && { signal }),
    onTransform: (record) => onProgress({ kind: "transform", record }),
    async afterTransform(graph, record) {
      if (verifier) onProgress({ kind: "verify", row: await verifier.compare(graph, record) });
    },
  });
  if (result.graph.outputs.has("logits")) return result;
  throw new ConfigError(
    "config/no-graph",
    "Cannot deploy a pipeline: expected transforms that make logits, got a graph without",
    { hint: "Enable build_model and export_to_gm" },
  );
}

/** Reads the start of a text, which has to have one token at least. */
function verifierOf(model: Model, verify: string | true): TransformVerifier {
  const text = verify === true ? VERIFY_TEXT : verify;
  const ids = model.tokenizer.encode(text).slice(0, VERIFY_TOKENS);
  if (ids.length > 0) return new TransformVerifier(model.checkpoint, Int32Array.from(ids));
  throw new ConfigError(
    "config/verify-text",
    "Cannot verify transforms: expected a text of at least 1 token, got 0",
  );
}

function codecOf({ tokenizer, chatTemplate, config }: Model): TextCodec {
  const chat = chatTemplate && new Chat(chatTemplate, tokenizer, config.model_type);
  return {
    encode: (text, options) => tokenizer.encode(text, options),
    decode: (ids) => tokenizer.decode(ids),
    isTextless: tokenizer.unavailable !== undefined,
    ...(!tokenizer.unavailable && { vocabulary: (size) => tokenizer.vocabulary(size) }),
    canSwitchThinking: chatTemplate?.thinkingVariable !== undefined,
    ...(chat && { renderChat: (messages, wishes) => chat.prompt(messages, wishes) }),
  };
}
