/**
 * A graph as a reader wants to see it: layers that are alike once, experts that are alike once.
 *
 * @module
 */

import {
  type Graph,
  layerScope,
  type Node,
  nodeInputs,
  tensorBytes,
  type Value,
} from "../../graph/mod.ts";

/** What a node is about; its colour in the picture. */
export type NodeKind = "attention" | "experts" | "linear" | "norm" | "other";

/** A node, or several that differ only in a number of their module path. */
export interface BlockNode {
  readonly op: string;
  readonly kind: NodeKind;
  /** Module path inside the block, numbers as `*`. */
  readonly scope: string;
  /** Nodes of one layer that it stands for. */
  readonly count: number;
  /** Types of its outputs. */
  readonly types: readonly string[];
  readonly attrs: readonly string[];
  /** Name and type of each weight; bytes of all that these nodes read. */
  readonly weights: readonly string[];
  readonly weightBytes: number;
}

/** Layers with the same nodes, or the part of a model outside of its layers. */
export interface GraphBlock {
  readonly title: string;
  /** Layers that it stands for. */
  readonly layers: number;
  /** Bytes of the weights of all of them. */
  readonly weightBytes: number;
  readonly nodes: readonly BlockNode[];
  /** Pairs of indices of `nodes`; -1 in front stands for what comes from outside. */
  readonly edges: readonly (readonly [number, number])[];
}

/** Weights that a node lists by name; an expert layer that is not fused has hundreds. */
const LISTED_WEIGHTS = 6;

/** The blocks of a graph in order of their first nodes. */
export function graphBlocks(graph: Graph): readonly GraphBlock[] {
  const parts: { layer: string; nodes: Node[] }[] = [];
  for (const node of graph.nodes) {
    const layer = layerScope(node.scope);
    if (parts.at(-1)?.layer !== layer) parts.push({ layer, nodes: [] });
    parts.at(-1)?.nodes.push(node);
  }
  const blocks = parts.map(({ layer, nodes }) => ({ layer, block: blockOf(graph, layer, nodes) }));
  const alike = Map.groupBy(blocks, ({ block }) => JSON.stringify(block));
  const firstLayer = parts.findIndex(({ layer }) => layer !== "");
  return [...alike.values()].map((group) => {
    const { block } = group[0];
    const layers = group.map(({ layer }) => layer);
    return {
      ...block,
      title: layers[0] === ""
        ? outsideTitle(blocks.indexOf(group[0]), firstLayer)
        : titleOf(layers),
      layers: group.length,
      weightBytes: group.length * block.nodes.reduce((sum, node) => sum + node.weightBytes, 0),
    };
  });
}

/** `model.layers.0 to 15`, with all numbers where they are not consecutive. */
function titleOf(layers: readonly string[]): string {
  const [first] = layers;
  if (layers.length === 1) return first;
  const stem = first.replace(/\d+$/, "");
  const numbers = layers.map((layer) => Number(layer.slice(stem.length)));
  const [low, high] = [numbers[0], numbers[numbers.length - 1]];
  const isRun = high - low + 1 === numbers.length;
  return isRun ? `${stem}${low} to ${high}` : `${stem}{${numbers.join(", ")}}`;
}

function outsideTitle(part: number, firstLayer: number): string {
  if (firstLayer < 0) return "all operations";
  return part < firstLayer ? "in front of the layers" : "behind the layers";
}

/** A block without the number of its layer, so that those of equal layers are equal. */
function blockOf(graph: Graph, layer: string, nodes: readonly Node[]) {
  const inside = (scope: string) => starred(scope.slice(layer.length).replace(/^\./, ""));
  const ordinals = new Map<string, number>();
  const classes = new Map<string, { node: Node; members: Node[] }>();
  const classOf = new Map<number, string>();
  for (const node of nodes) {
    const place = `${node.scope} ${node.op}`;
    const ordinal = ordinals.get(place) ?? 0;
    ordinals.set(place, ordinal + 1);
    const key = JSON.stringify([inside(node.scope), node.op, ordinal, node.outputs.map(typeText)]);
    const found = classes.get(key);
    if (found) found.members.push(node);
    else classes.set(key, { node, members: [node] });
    classOf.set(node.id, key);
  }
  const index = new Map([...classes.keys()].map((key, i) => [key, i]));
  const at = (node: Node) => index.get(classOf.get(node.id) ?? "") ?? -1;
  const edges = new Map<string, readonly [number, number]>();
  for (const node of nodes) {
    for (const value of nodeInputs(node)) {
      if (value.kind === "weight") continue;
      const from = graph.producer(value);
      const edge = [from ? at(from) : -1, at(node)] as const;
      if (edge[0] !== edge[1]) edges.set(String(edge), edge);
    }
  }
  return {
    nodes: [...classes.values()].map(({ node, members }) =>
      describe(node, members, inside(node.scope), layer)
    ),
    edges: [...edges.values()],
  };
}

function describe(node: Node, members: readonly Node[], scope: string, layer: string): BlockNode {
  const weights = nodeInputs(node).filter(isTensorWeight);
  const shown = weights.slice(0, LISTED_WEIGHTS).map((value) =>
    starred(`${value.name.replace(`${layer}.`, "")}: ${typeText(value)}`)
  );
  const rest = weights.length > LISTED_WEIGHTS
    ? [`and ${weights.length - LISTED_WEIGHTS} more`]
    : [];
  return {
    op: node.op,
    kind: kindOf(node.op),
    scope,
    count: members.length,
    types: node.outputs.map(typeText),
    attrs: Object.entries(node.attrs).flatMap(([name, value]) =>
      value === undefined ? [] : [`${name}: ${starred(JSON.stringify(value))}`]
    ),
    weights: [...shown, ...rest],
    weightBytes: bytesOf(members),
  };
}

function bytesOf(nodes: readonly Node[]): number {
  const distinct = new Set(nodes.flatMap(nodeInputs).flatMap(({ weight }) => weight ?? []));
  return [...distinct].reduce((sum, weight) => sum + tensorBytes(weight), 0);
}

function isTensorWeight({ weight }: Value): boolean {
  return weight !== undefined && !(weight.kind === "constant" && weight.data.length === 1);
}

function kindOf(op: string): NodeKind {
  if (/moe|router|expert|mixer/.test(op)) return "experts";
  if (/attention|rope|cache/.test(op)) return "attention";
  if (/norm/.test(op)) return "norm";
  if (/linear|mlp|matmul|gemm/.test(op)) return "linear";
  return "other";
}

function typeText({ dtype, shape }: Value): string {
  return `${dtype}[${shape.join(", ")}]`;
}

/** Numbers of layers and experts as `*`, so that paths of like places are equal. */
function starred(text: string): string {
  return text.replaceAll(
    /(?<=[.\w])\.\d+(?=[.":]|$)|^\d+(?=\.|$)/g,
    (part) => part.startsWith(".") ? ".*" : "*",
  );
}
