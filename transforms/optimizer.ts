/**
 * Runs transforms over a graph in stage order. Each one is applied completely or not at all.
 *
 * @module
 */

import {
  Graph,
  GraphError,
  graphWeightBytes,
  messageOf,
  MixlineError,
  verifyGraph,
} from "../graph/mod.ts";
import type { AnyConfig, AnyTransform } from "./core/config.ts";
import { notApplicable } from "./core/not_applicable.ts";
import { orderSteps, type PipelineStep, type ResolvedStep } from "./order.ts";
import type { TransformRecord } from "./core/record.ts";
import type { TransformContext, TransformPlan } from "./core/transform.ts";

/** What {@linkcode optimize} takes. */
export interface OptimizeOptions {
  /** Transforms in the order of the resolved configuration; stages are sorted here. */
  readonly steps: readonly PipelineStep[];
  readonly context: TransformContext;
  /** The graph to start from; default an empty one, which `export_to_gm` fills. */
  readonly graph?: Graph;
  /** Called after every transform, also after skipped ones. */
  readonly onTransform?: (record: TransformRecord) => void;
  /** Awaited after every transform that ran, with the graph it left: to verify or to draw. */
  readonly afterTransform?: (graph: Graph, record: TransformRecord) => void | Promise<void>;
  /** Aborts between two transforms. */
  readonly signal?: AbortSignal;
}

/** What {@linkcode optimize} gives back. */
export interface Optimized {
  readonly graph: Graph;
  /** One record per transform, in execution order. */
  readonly history: readonly TransformRecord[];
}

/**
 * Runs the steps. A transform that fails leaves the graph exactly as it found it; with
 * `skip_on_error` it is recorded as skipped and the next one runs.
 *
 * @throws {ConfigError} for unknown keys or fields and for broken `after` / `before` constraints,
 * before anything runs.
 * @throws {GraphError} `transform/refused` or `transform/failed`; its trail names the transform.
 */
export async function optimize(options: OptimizeOptions): Promise<Optimized> {
  const steps = orderSteps(options.steps);
  const graph = options.graph ?? new Graph(options.context.model.name);
  const history: TransformRecord[] = [];
  let state: State = { is_clean: false, has_valid_shapes: false };
  for (const step of steps) {
    options.signal?.throwIfAborted();
    const record = await runStep(graph, step, state, options.context);
    history.push(record);
    state = record;
    options.onTransform?.(record);
    if (!record.skipped) await options.afterTransform?.(graph, record);
  }
  return { graph, history };
}

type State = Pick<TransformRecord, "is_clean" | "has_valid_shapes">;

/** Runs one step and measures it. */
async function runStep(
  graph: Graph,
  step: ResolvedStep,
  before: State,
  context: TransformContext,
): Promise<TransformRecord> {
  const { key, stage } = step;
  const start = performance.now();
  const bytes = graphWeightBytes(graph);
  const nodes = graph.nodes.length;
  const finish = (result: Partial<TransformRecord>): TransformRecord => ({
    key,
    stage,
    enabled: true,
    skipped: false,
    num_matches: 0,
    is_clean: before.is_clean,
    has_valid_shapes: before.has_valid_shapes,
    milliseconds: performance.now() - start,
    weightBytesBefore: bytes,
    weightBytesAfter: result.num_matches ? graphWeightBytes(graph) : bytes,
    nodesBefore: nodes,
    nodesAfter: graph.nodes.length,
    nearMisses: [],
    notes: [],
    ...result,
  });
  if (step.definition === undefined) {
    const note = `Not applicable on WebGPU: ${notApplicable(key)?.reason}`;
    return finish({ enabled: step.enabled, skipped: true, notes: [note] });
  }
  if (!step.config.enabled) return finish({ enabled: false, skipped: true });
  const snapshot = graph.snapshot();
  try {
    return finish(await runTransform(graph, step.definition, step.config, before, context));
  } catch (error) {
    graph.restore(snapshot);
    if (!step.config.skip_on_error) throw withTrail(error, key);
    context.log(`Transform ${key} failed and was skipped: ${messageOf(error)}`);
    return finish({ skipped: true, error: messageOf(error) });
  }
}

/**
 * Clean up, plan, apply, verify, clean up. After an error the graph may be half changed; the caller
 * restores it.
 */
async function runTransform(
  graph: Graph,
  transform: AnyTransform,
  config: AnyConfig,
  before: State,
  context: TransformContext,
): Promise<Partial<TransformRecord>> {
  if (config.requires_clean_graph && !before.is_clean) graph.eliminateDeadCode();
  if (config.requires_shape_prop) verifyGraph(graph, { again: true });
  const plan = await transform.plan(graph, config, context);
  throwRefusals(transform.key, plan);
  if (plan.matches.length > 0) await transform.apply(graph, plan, config, context);
  if (config.run_graph_cleanup) graph.eliminateDeadCode();
  verifyGraph(graph, { again: config.run_shape_prop });
  return {
    num_matches: plan.matches.length,
    is_clean: config.run_graph_cleanup || (plan.matches.length === 0 && before.is_clean),
    has_valid_shapes: true,
    skipped: plan.skipped !== undefined,
    nearMisses: plan.nearMisses ?? [],
    notes: [...plan.notes ?? [], ...plan.skipped === undefined ? [] : [plan.skipped]],
  };
}

function throwRefusals(key: string, { refusals = [] }: TransformPlan): void {
  if (refusals.length === 0) return;
  const [first] = refusals;
  const more = refusals.length === 1 ? "" : ` (and ${refusals.length - 1} more)`;
  throw new GraphError(
    "transform/refused",
    `Cannot run transform "${key}" on "${first.node}": ${first.reason}${more}`,
    { details: { transform: key, refusals } },
  );
}

function withTrail(error: unknown, key: string): unknown {
  const place = `transform ${key}`;
  if (error instanceof MixlineError) return error.within(place);
  if (error instanceof DOMException && error.name === "AbortError") return error;
  return new GraphError("transform/failed", `Cannot run transform "${key}": ${messageOf(error)}`, {
    details: { transform: key },
    cause: error,
  }).within(place);
}
