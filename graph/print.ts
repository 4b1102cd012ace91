/**
 * Text forms of a graph: a stable listing for people, snapshots and diffs, and Graphviz DOT.
 *
 * @module
 */

import { type Graph, type Node, nodeInputs, type Value } from "./graph.ts";
import { formatType } from "./ops/definition.ts";
import { opDefinition } from "./ops.ts";
import { tensorBytes } from "./tensor.ts";
import { formatWeight } from "./weight.ts";

/** What {@linkcode printGraph} shows. */
export interface PrintOptions {
  /** Lists every weight with its expression below the nodes; default true. */
  readonly weights?: boolean;
  /** Shows all of a long list of inputs instead of its ends; default false. */
  readonly full?: boolean;
}

/**
 * The listing of a graph, one node a line under its scope. Values are numbered in order of
 * appearance, so equal graphs print equally whatever their history.
 *
 * @example
 * ```ts
 * import { GraphBuilder } from "./builder.ts";
 * import { Graph } from "./graph.ts";
 * import { printGraph } from "./print.ts";
 * const b = new GraphBuilder(new Graph("tiny"));
 * b.graph.setOutput("y", b.op("silu", { x: b.input("x", { dtype: "f32", shape: ["T", 8] }) }));
 * console.assert(printGraph(b.graph) === `graph "tiny" (x: f32[T, 8])
 *   %0 = silu(x) : f32[T, 8]
 * return y = %0
 * `);
 * ```
 */
export function printGraph(graph: Graph, options: PrintOptions = {}): string {
  const names = new ValueNames(graph);
  const inputs = graph.inputs.map((value) => `${value.name}: ${formatType(value)}`);
  const lines = [`graph "${graph.name}" (${inputs.join(", ")})`];
  let scope = "";
  for (const node of graph.nodes) {
    if (node.scope !== scope) lines.push(`  # ${scope = node.scope}`.trimEnd());
    lines.push(`  ${formatNode(node, names, options.full ?? false)}`);
  }
  for (const cache of graph.caches) lines.push(`cache ${JSON.stringify(cache)}`);
  const outputs = [...graph.outputs].map(([name, value]) => `${name} = ${names.of(value)}`);
  lines.push(`return ${outputs.join(", ")}`);
  if (options.weights ?? true) {
    for (const value of names.weights()) {
      const expression = value.weight ? formatWeight(value.weight) : "";
      lines.push(`${names.of(value)} : ${formatType(value)} = ${expression}`);
    }
  }
  return lines.join("\n") + "\n";
}

/**
 * One node as {@linkcode printGraph} lists it, with its values named by their ids, which no rewrite
 * elsewhere changes.
 */
export function printNode(node: Node): string {
  return formatNode(node, NAMES_BY_ID, false);
}

/** The graph in Graphviz's language: one cluster per layer, an edge for every value except weights. */
export function graphToDot(graph: Graph): string {
  const names = new ValueNames(graph);
  const clusters = Map.groupBy(graph.nodes, (node) => layerScope(node.scope));
  const lines = [
    `digraph ${quote(graph.name)} {`,
    `  node [shape=box, style=rounded, fontname="sans-serif", fontsize=10];`,
    ...graph.inputs.map((value) => `  v${value.id} [label=${quote(value.name)}, shape=ellipse];`),
  ];
  for (const [layer, nodes] of clusters) {
    if (layer !== "") lines.push(`  subgraph ${quote(`cluster_${layer}`)} {`);
    if (layer !== "") lines.push(`    label=${quote(layer)}; color=gray;`);
    for (const node of nodes) {
      lines.push(`    n${node.id} [label=${quote(dotLabel(node, names))}];`);
    }
    if (layer !== "") lines.push("  }");
  }
  for (const node of graph.nodes) {
    for (const value of new Set(nodeInputs(node).filter((value) => value.kind !== "weight"))) {
      const from = graph.producer(value);
      const label = from ? ` [label=${quote(formatType(value))}, fontsize=8]` : "";
      lines.push(`  ${from ? `n${from.id}` : `v${value.id}`} -> n${node.id}${label};`);
    }
  }
  for (const [name, value] of graph.outputs) {
    lines.push(`  out_${value.id} [label=${quote(name)}, shape=ellipse];`);
    const from = graph.producer(value);
    lines.push(`  ${from ? `n${from.id}` : `v${value.id}`} -> out_${value.id};`);
  }
  return [...lines, "}", ""].join("\n");
}

/** Bytes of the weights that the graph's nodes read; one that has two names (tied) counts once. */
export function graphWeightBytes(graph: Graph): number {
  const distinct = new Set(graph.weights.flatMap(({ weight }) => weight ?? []));
  return [...distinct].reduce((sum, weight) => sum + tensorBytes(weight), 0);
}

/** How a listing names values. */
interface Names {
  of(value: Value): string;
}

const NAMES_BY_ID: Names = {
  of(value) {
    if (value.kind === "input") return value.name;
    if (value.kind === "node") return `%${value.id}`;
    return value.weight && isScalar(value) ? formatWeight(value.weight) : `@${value.name}`;
  },
};

/** Names values in order of appearance: `%3`, `@model.norm.weight`, a number for a scalar. */
class ValueNames implements Names {
  readonly #names = new Map<number, string>();
  readonly #weights: Value[] = [];

  constructor(graph: Graph) {
    let next = 0;
    const taken = new Map<string, number>();
    for (const value of graph.inputs) this.#names.set(value.id, value.name);
    for (const node of graph.nodes) {
      for (const value of nodeInputs(node)) {
        if (value.kind !== "weight" || this.#names.has(value.id)) continue;
        this.#names.set(value.id, weightName(value, taken));
        if (!isScalar(value)) this.#weights.push(value);
      }
      for (const value of node.outputs) this.#names.set(value.id, `%${next++}`);
    }
  }

  of(value: Value): string {
    return this.#names.get(value.id) ?? value.name;
  }

  /** Weights that are not scalars, in order of appearance. */
  weights(): readonly Value[] {
    return this.#weights;
  }
}

function isScalar({ weight }: Value): boolean {
  return weight?.kind === "constant" && weight.data.length === 1;
}

/** Two weights of the same name, such as two readings of tied embeddings, get a number. */
function weightName(value: Value, taken: Map<string, number>): string {
  if (value.weight && isScalar(value)) return formatWeight(value.weight);
  const count = taken.get(value.name) ?? 0;
  taken.set(value.name, count + 1);
  return count === 0 ? `@${value.name}` : `@${value.name}#${count + 1}`;
}

function formatNode(node: Node, names: Names, full: boolean): string {
  const outputs = node.outputs.map((value) => names.of(value)).join(", ");
  const types = node.outputs.map(formatType).join(", ");
  return `${outputs} = ${node.op}(${formatInputs(node, names, full)})${
    formatAttrs(node)
  } : ${types}`;
}

function formatInputs(node: Node, names: Names, full: boolean): string {
  const declared = opDefinition(node.op).inputs;
  return declared.flatMap((declaration) => {
    const name = declaration.replace(/\?$|\[\]$/, "");
    const value = node.inputs[name];
    if (value === undefined || (Array.isArray(value) && value.length === 0)) return [];
    const text = Array.isArray(value)
      ? formatList(value.map((each: Value) => names.of(each)), full)
      : names.of(value as Value);
    return declared.length === 1 ? [text] : [`${name}: ${text}`];
  }).join(", ");
}

function formatList(items: readonly string[], full: boolean): string {
  if (full || items.length <= 4) return `[${items.join(", ")}]`;
  return `[${items[0]}, ${items[1]}, .. ${items.length} in all .., ${items[items.length - 1]}]`;
}

function formatAttrs(node: Node): string {
  const entries = Object.entries(node.attrs).filter(([, value]) => value !== undefined);
  if (entries.length === 0) return "";
  return ` {${entries.map(([name, value]) => `${name}: ${formatAttr(value)}`).join(", ")}}`;
}

function formatAttr(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(formatAttr).join(", ")}]`;
  if (typeof value === "object" && value !== null) {
    const entries = Object.entries(value).filter(([, field]) => field !== undefined);
    return `{${entries.map(([name, field]) => `${name}: ${formatAttr(field)}`).join(", ")}}`;
  }
  return String(value);
}

function dotLabel(node: Node, names: ValueNames): string {
  const weights = nodeInputs(node).filter((value) => value.kind === "weight");
  const shown = weights.slice(0, 3).map((value) => names.of(value));
  const rest = weights.length > 3 ? [`.. ${weights.length - 3} more`] : [];
  return [node.op + formatAttrs(node), ...shown, ...rest].join("\n");
}

/** The layer of a module path: `model.layers.3` of `model.layers.3.mlp.experts.0`; "" outside layers. */
export function layerScope(scope: string): string {
  return scope.match(/^(.*?\.\d+)(\.|$)/)?.[1] ?? "";
}

function quote(text: string): string {
  return `"${text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n")}"`;
}
