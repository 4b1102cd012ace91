/**
 * What the page of a deployment shows, gathered from the graph and the running engine. JSON-safe.
 *
 * @module
 */

import { type Graph, messageOf, tensorBytes } from "../../graph/mod.ts";
import type { DispatchTiming, Engine, ExpertLoad } from "../../runtime/mod.ts";
import type { TransformRecord, WantedReport } from "../../transforms/mod.ts";
import { describeOperands, type OperandsChoice } from "../operands_choice.ts";
import type { VerifyRow } from "../verify.ts";
import { type GraphBlock, graphBlocks } from "./graph_blocks.ts";

/** Something that was measured, or why it was not. */
export type Measured<Value> = { readonly value: Value } | { readonly missing: string };

/** Bytes of the weights of one format. */
export interface FormatBytes {
  readonly format: string;
  readonly tensors: number;
  readonly bytes: number;
}

/** Dispatches that stand at the same place of every layer. */
export interface DispatchGroup {
  readonly kernel: string;
  /** Module path with `*` for the layer's number. */
  readonly scope: string;
  readonly count: number;
  /** Of all of them together. */
  readonly seconds: number;
}

/** All that the page shows. */
export interface ReportData {
  readonly title: string;
  /** Names and values for the head of the page. */
  readonly facts: readonly (readonly [string, string])[];
  readonly notes: readonly string[];
  readonly transforms: readonly TransformRecord[];
  readonly verification: readonly VerifyRow[];
  readonly blocks: readonly GraphBlock[];
  /** Bytes on the device by use: weights, caches, activations. */
  readonly memory: readonly (readonly [string, number])[];
  readonly formats: readonly FormatBytes[];
  readonly dispatches: Measured<readonly DispatchGroup[]>;
  /** The sample that the load of the experts belongs to. */
  readonly sample: string;
  readonly experts: Measured<readonly ExpertLoad[]>;
}

/** Tokens of context of the step whose dispatches are timed, as far as the caches reach. */
const PROFILED_CONTEXT = 256;
/** Tokens of a sample without a tokenizer. */
const SAMPLE_IDS = 32;
/** Steps that are timed; odd. */
const PROFILES = 5;

/** Gathers the data of a page; runs a step of one token and the sample. */
export async function reportData(
  graph: Graph,
  engine: Engine,
  wanted: WantedReport,
): Promise<ReportData> {
  // Without a tokenizer there is no text, and any tokens show that layers choose differently.
  const hasTokenizer = engine.vocabulary() !== undefined;
  const ids = Array.from({ length: Math.min(SAMPLE_IDS, engine.vocabSize) }, (_, id) => id);
  const sample = hasTokenizer
    ? wanted.sample
    : `Token ids 0 to ${ids.length - 1}, because the model has no tokenizer`;
  const { report } = engine;
  const transforms = listOf<TransformRecord>(report.transforms);
  const context = Math.min(PROFILED_CONTEXT, engine.maxSequenceTokens - 1);
  return {
    title: graph.name,
    facts: [...factsOf(engine), ["step that is timed", `1 token after ${context}`]],
    notes: listOf<string>(report.notes),
    transforms,
    verification: listOf<VerifyRow>(report.verification),
    blocks: graphBlocks(graph),
    memory: numbersOf(report.bytes).filter(([name]) => name !== "total"),
    formats: formatsOf(graph),
    dispatches: await attempt(
      async () => groupDispatches(await medianProfile(engine, context)),
      "the executor has no clock for single dispatches",
    ),
    sample,
    experts: await attempt(
      () => engine.expertLoad(hasTokenizer ? wanted.sample : ids),
      "no layer of the graph chooses among experts in one operation",
    ),
  };
}

/** Medians of several steps: the first ones may run at a lower clock. */
async function medianProfile(engine: Engine, context: number): Promise<readonly DispatchTiming[]> {
  const runs: (readonly DispatchTiming[])[] = [];
  for (let i = 0; i < PROFILES; i++) runs.push(await engine.profile(1, context) ?? []);
  return runs[0].map((dispatch, i) => {
    const sorted = runs.map((run) => run[i].seconds).sort((a, b) => a - b);
    return { ...dispatch, seconds: sorted[(PROFILES - 1) / 2] };
  });
}

/** Sums of the dispatches that differ in the layer's number alone, in order of first use. */
export function groupDispatches(
  timings: readonly Omit<DispatchTiming, "weightBytes">[],
): readonly DispatchGroup[] {
  const groups = new Map<
    string,
    { kernel: string; scope: string; count: number; seconds: number }
  >();
  for (const { kernel, scope: path, seconds } of timings) {
    const scope = path.replaceAll(/\.\d+(?=\.|$)/g, ".*");
    const key = `${scope} ${kernel}`;
    const group = groups.get(key) ?? { kernel, scope, count: 0, seconds: 0 };
    groups.set(key, { ...group, count: group.count + 1, seconds: group.seconds + seconds });
  }
  return [...groups.values()];
}

/** Bytes of the graph's weights by format, largest first. */
function formatsOf(graph: Graph): readonly FormatBytes[] {
  const distinct = new Set(graph.weights.flatMap(({ weight }) => weight ?? []));
  return [...Map.groupBy(distinct, ({ dtype }) => dtype)].map(([format, weights]) => ({
    format,
    tensors: weights.length,
    bytes: weights.reduce((sum, weight) => sum + tensorBytes(weight), 0),
  })).sort((a, b) => b.bytes - a.bytes);
}

function factsOf({ report }: Engine): (readonly [string, string])[] {
  const model = recordOf(report.model);
  const operands = listOf<OperandsChoice>(report.operands);
  const seconds = Object.entries(report.timings.seconds)
    .map(([step, time]) => `${step} ${time.toFixed(1)} s`);
  return [
    ["model", `${model.name} (${model.architecture})`],
    ["device", deviceAndReason(report)],
    ["longest sequence", `${report.limits.maxSequenceTokens} tokens`],
    ["sequences at once", String(report.limits.maxSequences)],
    ["pages of the cache", `${report.limits.pages} of ${report.limits.pageSize} tokens`],
    ...(operands.length > 0 ? [["operands", describeOperands(operands)] as const] : []),
    ["time to start", seconds.join(", ")],
  ];
}

/** A list that was measured, or why it is empty: that must not cost the rest of the page. */
async function attempt<Item>(
  work: () => Promise<readonly Item[]>,
  whyEmpty: string,
): Promise<Measured<readonly Item[]>> {
  try {
    const value = await work();
    return value.length > 0 ? { value } : { missing: whyEmpty };
  } catch (error) {
    return { missing: messageOf(error) };
  }
}

function recordOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null ? { ...value } : {};
}

function numbersOf(value: unknown): (readonly [string, number])[] {
  return Object.entries(recordOf(value)).flatMap(([name, number]) =>
    typeof number === "number" ? [[name, number] as const] : []
  );
}

function listOf<Item>(value: unknown): readonly Item[] {
  return Array.isArray(value) ? value : [];
}

/** The device, and why it was taken, which the device of a fallback says itself. */
function deviceAndReason({ device, executor: { reason } }: Engine["report"]): string {
  return device.includes(reason) ? device : `${device} (${reason})`;
}
