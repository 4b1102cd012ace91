/**
 * The views of `inspect`, each as text for people and as a document for programs.
 *
 * @module
 */

import { type Graph, graphToDot, nodeCost, type OpCost, printGraph } from "../graph/mod.ts";
import type { Model } from "../models/mod.ts";
import { formatTransform } from "./deploy_view.ts";
import { count, formatBytes, formatTable } from "./format.ts";
import { checkTransform, runTransforms, type Subject } from "./run_transforms.ts";

/** Flags of `inspect` alone. */
export interface InspectFlags {
  readonly at?: string;
  readonly dot?: boolean;
  readonly weights?: boolean;
  readonly tokens?: number;
}

/** One view, for people and for programs. */
export interface View {
  readonly text: string;
  /** JSON-safe. */
  readonly document: unknown;
}

/** Every tensor of the checkpoint, in the order of its name. */
export function listTensors({ checkpoint }: Model): View {
  const tensors = [...checkpoint.tensors.values()].sort((a, b) => a.name < b.name ? -1 : 1);
  const rows = tensors.map(({ name, dtype, shape, byteLength }) => [
    name,
    dtype,
    `[${shape.join(", ")}]`,
    formatBytes(byteLength),
  ]);
  return { document: tensors, text: `${formatTable(rows)}\n` };
}

/** The matches, near misses and notes of each transform. */
export async function listTransforms(subject: Subject): Promise<View> {
  const { history } = await runTransforms(subject, () => {});
  const lines = history.flatMap((record) => [
    record.skipped && record.error === undefined
      ? `${record.key.padEnd(28)} ${record.enabled ? "skipped" : "off"}`
      : formatTransform(record),
    ...record.notes.map((note) => `    ${note}`),
    ...record.nearMisses.map(({ node, reason }) => `    almost: ${node}: ${reason}`),
  ]);
  return { document: history, text: `${lines.join("\n")}\n` };
}

/** The graph after a transform, or at the end. */
export async function showGraph(subject: Subject, flags: InspectFlags): Promise<View> {
  const print = (graph: Graph) =>
    flags.dot ? graphToDot(graph) : printGraph(graph, { weights: flags.weights ?? false });
  const at = flags.at?.replaceAll("-", "_");
  if (at !== undefined) checkTransform("--at", at, subject.resolved);
  let text: string | undefined;
  const { graph } = await runTransforms(subject, (graph, key) => {
    if (key === at) text = print(graph);
  });
  text ??= print(graph);
  return { text, document: { at: at ?? null, graph: text } };
}

/** Arithmetic and weight bytes of the final graph in one step, by op. */
export async function listCosts(subject: Subject, { tokens = 1 }: InspectFlags): Promise<View> {
  const { graph } = await runTransforms(subject, () => {});
  const sizes = { T: tokens, R: 1, S: 1, P: 1 };
  const ops = [...Map.groupBy(graph.nodes, ({ op }) => op)].map(([op, nodes]) => {
    const costs = nodes.map((node) => nodeCost(node, sizes));
    const sum = (pick: (cost: OpCost) => number) =>
      costs.reduce((total, cost) => total + pick(cost), 0);
    return {
      op,
      nodes: nodes.length,
      flops: sum(({ flops }) => flops),
      weightBytes: sum(({ weightBytes }) => weightBytes),
    };
  }).sort((a, b) => b.weightBytes - a.weightBytes || b.flops - a.flops);
  const total = {
    nodes: graph.nodes.length,
    flops: ops.reduce((sum, { flops }) => sum + flops, 0),
    weightBytes: ops.reduce((sum, { weightBytes }) => sum + weightBytes, 0),
  };
  const row = (name: string, { nodes, flops, weightBytes }: typeof total) => [
    name,
    String(nodes),
    (flops / 1e6).toFixed(2),
    formatBytes(Math.round(weightBytes)),
  ];
  const rows = [
    ["op", "nodes", "MFLOP", "weights read"],
    ...ops.map((cost) => row(cost.op, cost)),
    row("all", total),
  ];
  const title = `A step of ${count(tokens, "token")}, one row of logits, without attention's ` +
    `products over the cache; at most as many experts as there are choices:`;
  return { document: { tokens, ops, total }, text: `${title}\n${formatTable(rows)}\n` };
}
