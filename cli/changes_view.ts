/**
 * What transforms change: the nodes of one transform before and after it, and a summary of all.
 *
 * @module
 */

import {
  diffGraphs,
  type GraphDiff,
  type GraphSnapshot,
  layerScope,
  type Node,
  printNode,
} from "../graph/mod.ts";
import type { TransformRecord } from "../transforms/mod.ts";
import { formatTransform } from "./deploy_view.ts";
import { count } from "./format.ts";
import type { View } from "./inspect_views.ts";
import { checkTransform, runTransforms, type Subject } from "./run_transforms.ts";
import type { Style } from "./terminal.ts";

/** One line of a diff. */
interface DiffLine {
  readonly sign: "-" | "+" | "~";
  readonly scope: string;
  readonly node: string;
}

/** Changes of one layer, and of the layers with the same ones. */
interface LayerDiff {
  /** Module paths of the layers; "" outside them. */
  readonly layers: readonly string[];
  /** Of the first of them. */
  readonly lines: readonly DiffLine[];
}

/** Lines of a layer that are printed; an expert layer that is not fused has hundreds. */
const MOST_LINES = 40;
/** Near misses of a transform that are printed. */
const MOST_MISSES = 5;

/** `inspect --diff`: the graph before and after one transform. */
export async function showDiff(subject: Subject, transform: string, style: Style): Promise<View> {
  const key = transform.replaceAll("-", "_");
  checkTransform("--diff", key, subject.resolved);
  let layers: readonly LayerDiff[] = [];
  const { history } = await runWithDiffs(subject, (diff, at) => {
    if (at === key) layers = diffByLayer(diff);
  });
  const record = history.find((each) => each.key === key);
  const head = record ? formatTransform(record) : key;
  const body = layers.flatMap((each) => formatLayer(each, style));
  const text = [head, ...(body.length > 0 ? body : ["no node was changed"])].join("\n");
  return { text: `${text}\n`, document: { transform: key, record: record ?? null, layers } };
}

/** `deploy --dry-run --changes`: what each transform changes in this model. */
export async function listChanges(subject: Subject): Promise<View> {
  const changes: { record: TransformRecord; removed: OpCounts; added: OpCounts }[] = [];
  const { history } = await runWithDiffs(subject, ({ removed, added }, key) => {
    const [before, after] = [removed, added].map(countOps);
    changes.push({ record: { key } as TransformRecord, removed: before, added: after });
  });
  const transforms = history.map((record) => {
    const found = changes.find((each) => each.record.key === record.key);
    return { ...record, removed: found?.removed ?? {}, added: found?.added ?? {} };
  });
  const lines = transforms.filter(({ num_matches, nearMisses, error }) =>
    num_matches > 0 || nearMisses.length > 0 || error !== undefined
  ).flatMap(({ removed, added, ...record }) => [
    formatTransform(record),
    ...formatOps("-", removed),
    ...formatOps("+", added),
    ...record.notes.map((note) => `    ${note}`),
    ...formatMisses(record),
  ]);
  return { document: { transforms }, text: `${lines.join("\n")}\n` };
}

type OpCounts = Readonly<Record<string, number>>;

/** Runs all transforms; hands over what each of them changed. */
async function runWithDiffs(subject: Subject, onDiff: (diff: GraphDiff, key: string) => void) {
  let before: Pick<GraphSnapshot, "nodes"> = { nodes: [] };
  return await runTransforms(subject, (graph, key) => {
    onDiff(diffGraphs(before, graph), key);
    before = graph.snapshot();
  });
}

function countOps(nodes: readonly Node[]): OpCounts {
  const groups = [...Map.groupBy(nodes, ({ op }) => op)];
  return Object.fromEntries(
    groups.map(([op, { length }]) => [op, length] as const).sort((a, b) => b[1] - a[1]),
  );
}

function formatOps(sign: "-" | "+", ops: OpCounts): string[] {
  const entries = Object.entries(ops).map(([op, number]) => `${number} ${op}`);
  return entries.length === 0 ? [] : [`  ${sign} ${entries.join(", ")}`];
}

function formatMisses({ nearMisses }: TransformRecord): string[] {
  const rest = nearMisses.length - MOST_MISSES;
  return [
    ...nearMisses.slice(0, MOST_MISSES).map(({ node, reason }) => `    almost: ${node}: ${reason}`),
    ...(rest > 0 ? [`    and ${rest} more near misses; --json has all`] : []),
  ];
}

function diffByLayer({ removed, added, changed }: GraphDiff): LayerDiff[] {
  const line = (sign: DiffLine["sign"]) => (node: Node) => ({
    sign,
    scope: node.scope,
    node: printNode(node),
  });
  const lines = [
    ...removed.map(line("-")),
    ...changed.map(({ after }) => after).map(line("~")),
    ...added.map(line("+")),
  ];
  const byLayer = [...Map.groupBy(lines, ({ scope }) => layerScope(scope))];
  // Layers are alike when their lines differ in numbers of layers and values alone.
  const alike = Map.groupBy(
    byLayer,
    ([layer, own]) => JSON.stringify(own).replaceAll(layer, "").replaceAll(/%\d+|\d+(?=")/g, "%"),
  );
  return [...alike.values()].map((group) => ({
    layers: group.map(([layer]) => layer),
    lines: group[0][1],
  }));
}

function formatLayer({ layers, lines }: LayerDiff, style: Style): string[] {
  const paint = { "-": style.red, "+": style.green, "~": style.yellow };
  const others = layers.length > 1
    ? `, and alike in ${count(layers.length - 1, "other layer")}`
    : "";
  const rest = lines.length - MOST_LINES;
  return [
    `# ${layers[0] || "outside the layers"}${others}`,
    ...lines.slice(0, MOST_LINES).map(({ sign, node, scope }) =>
      `${paint[sign](`${sign} ${node}`)}  # ${scope}`
    ),
    ...(rest > 0 ? [`  and ${rest} more lines; --json has all`] : []),
  ];
}
