/**
 * The blocks with experts of an eager graph, alone: from the block's input to its output.
 *
 * @module
 */

import {
  type Graph,
  GraphBuilder,
  invariant,
  isOp,
  nodeInputs,
  type Value,
} from "../../graph/mod.ts";

const LAYER = /^(?:model\.layers|transformer\.blocks)\.(\d+)(?=\.|$)/;
// In memory A.X-K1's module has the norm behind its experts inside.
const BLOCK = /^\.(?:mlp|ffn|feed_forward|block_sparse_moe)(?=\.|$)(?!\.post_mlp_layernorm)/;
/** The first and the last module of Gemma 4's block, which has no module of its own. */
const [FIRST, BEHIND] = [".pre_feedforward_layernorm", ".post_feedforward_layernorm"];

/**
 * Leaves of a graph its blocks with experts: the inputs `x.{l}` and `beside.{l}` [T, H], and the outputs
 * `y.{l}`, the block's with `beside` added, as a layer adds its residual. Returns the layers.
 */
export function cutMoeBlocks(graph: Graph): number[] {
  const layers = [...new Set(graph.nodes.filter(isChoice).map(({ scope }) => layerOf(scope)))];
  const b = new GraphBuilder(graph);
  const outputs = layers.map((layer): [string, Value] => {
    const { x, y } = endsOf(graph, layer);
    const type = { dtype: x.dtype, shape: x.shape };
    const beside = graph.addInput(`beside.${layer}`, type);
    graph.replaceAllUses(x, graph.addInput(`x.${layer}`, type));
    return [`y.${layer}`, b.op("add", { a: beside, b: y })];
  });
  const { inputs, ...rest } = graph.snapshot();
  const given = inputs.filter(({ name }) => name.includes("."));
  graph.restore({ ...rest, inputs: given, outputs: new Map(outputs) });
  graph.eliminateDeadCode();
  return layers;
}

function isChoice(node: Graph["nodes"][number]): boolean {
  return (isOp(node, "topk") || isOp(node, "sparse_mixer")) && LAYER.test(node.scope);
}

function layerOf(scope: string): number {
  return Number(LAYER.exec(scope)?.[1]);
}

/** The value that the block reads, and the one that it gives. */
function endsOf(graph: Graph, layer: number): { x: Value; y: Value } {
  const nodes = graph.nodes.filter(({ scope }) => layerOf(scope) === layer);
  const inner = (scope: string) => scope.replace(LAYER, "");
  const behind = nodes.find(({ scope }) => inner(scope) === BEHIND);
  const isGemma = nodes.some(({ scope }) => inner(scope).startsWith(`${BEHIND}_1`));
  const block = nodes.filter(({ scope }) =>
    isGemma ? inner(scope) === FIRST : BLOCK.test(inner(scope))
  );
  const x = block[0] && readBy(block[0]);
  const y = isGemma ? behind && readBy(behind) : block.at(-1)?.outputs[0];
  invariant(x && y, `layer ${layer} has a block with experts`);
  return { x, y };
}

/** What a node reads that other nodes make. */
function readBy(node: Graph["nodes"][number]): Value | undefined {
  return nodeInputs(node).find(({ kind }) => kind === "node");
}
