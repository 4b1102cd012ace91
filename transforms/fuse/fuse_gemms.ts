/**
 * `fuse_gemms`: linear layers that read the same value become one with their weights side by side.
 * Weights are expressions, so this copies nothing, and it is on by default (AutoDeploy's allocates
 * the copy, runs out of memory on large models, and is off).
 *
 * Before:
 * ```text
 * %1 = linear(x: x, w: @q_proj.weight)
 * %2 = linear(x: x, w: @k_proj.weight)
 * %3 = linear(x: x, w: @v_proj.weight)
 * ```
 * After:
 * ```text
 * %1 = linear(x: x, w: @q_proj+k_proj+v_proj.weight)
 * %2 = slice(%1) {dim: 1, start: 0, end: 64}
 * %3 = slice(%1) {dim: 1, start: 64, end: 96}
 * %4 = slice(%1) {dim: 1, start: 96, end: 128}
 * ```
 *
 * Packed weights with one scale each become one with a scale for so many rows as divide all of them; each
 * weight's scale is repeated.
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import {
  concat,
  constant,
  type Graph,
  GraphBuilder,
  input,
  isOp,
  isPacked,
  labelNode,
  type NearMiss,
  type Node,
  optionalInput,
  PACKED_LAYOUTS,
  packedShape,
  replaceNode,
  type ScaleBlock,
  type Value,
  type Weight,
} from "../../graph/mod.ts";
import { defineTransform } from "../core/transform.ts";

/** Linear layers with the same input, in graph order. */
type Group = readonly Node<"linear">[];

/** See the module's documentation. */
export const fuseGemms = defineTransform({
  key: "fuse_gemms",
  stage: "post_load_fusion",
  summary: "Join linear layers with the same input into one",
  config: z.object({}),
  plan(graph) {
    const linears = graph.nodes.filter((node) => isOp(node, "linear"));
    const matches: Group[] = [];
    const nearMisses: NearMiss[] = [];
    for (const group of Map.groupBy(linears, (node) => input(node, "x").id).values()) {
      const [alike, ...others] = Map.groupBy(group, formatOf).values();
      if (others.length > 0) {
        const formats = [...new Set(group.map(formatOf))].join(" and ");
        nearMisses.push({
          node: labelNode(group[0]),
          reason: `its readers have weights of different formats: ${formats}`,
        });
      }
      for (const nodes of [alike, ...others].filter(({ length }) => length > 1)) {
        const reason = unjoinable(nodes);
        if (reason === undefined) matches.push(nodes);
        else nearMisses.push({ node: labelNode(nodes[0]), reason });
      }
    }
    return { matches, nearMisses };
  },
  apply(graph, plan) {
    for (const group of plan.matches) fuseGroup(graph, group);
  },
});

/** Layers with equal text may share a weight. */
function formatOf(node: Node<"linear">): string {
  const { format } = node.attrs;
  if (format === undefined) return input(node, "w").dtype;
  const { block, ...attrs } = node.attrs;
  return `${format} ${JSON.stringify(hasOneScale(node) ? attrs : { ...attrs, block })}`;
}

/** Whether a weight is of a format whose scale may be that of the whole matrix, and has no other. */
function hasOneScale(node: Node<"linear">): boolean {
  const { format } = node.attrs;
  return format !== undefined && isPacked(format) &&
    PACKED_LAYOUTS[format].defaultBlock[0] === 0 &&
    input(node, "w_scale").shape.every((size) => size === 1);
}

/** Why packed weights cannot be concatenated. */
function unjoinable(nodes: Group): string | undefined {
  for (const node of nodes) {
    const { format, block } = node.attrs;
    if (format === undefined || !isPacked(format)) continue;
    if (node.inputs.w_scale_2) return `its ${format} weight has a scale of the whole matrix`;
    if (node.inputs.x_scale) return "its input is rounded with a scale of its own";
    if (hasOneScale(node)) continue;
    const [rows] = input(node, "w").shape.map(Number);
    const columns = Number(input(node, "x").shape.at(-1));
    const [blockRows] = packedShape(format, rows, columns, block).block;
    const whole = (block ?? PACKED_LAYOUTS[format].defaultBlock)[0] === 0;
    if (whole || rows % blockRows !== 0) {
      return `a block of its ${format} scales would cross from one weight into the next`;
    }
  }
}

function fuseGroup(graph: Graph, group: Group): void {
  const nodes = group.map((node) => graph.current(node));
  const { scope, names } = commonScope(group.map((node) => node.scope));
  const b = new GraphBuilder(graph, { scope, before: nodes[0] });
  const weights = group.map((node) => weightOf(input(node, "w")));
  const scales = nodes[0].inputs.w_scale && joinScales(group);
  const joined = b.op("linear", {
    x: input(nodes[0], "x"),
    w: b.weight(`${names}.weight`, concat(weights)),
    w_scale: scales && b.weight(`${names}.weight_scale`, scales.weight),
    bias: group.some((node) => node.inputs.bias)
      ? b.weight(`${names}.bias`, concat(group.map(biasOf)))
      : undefined,
  }, { ...group[0].attrs, ...(scales?.block && { block: scales.block }) });
  const dim = joined.shape.length - 1;
  let start = 0;
  const slices = nodes.map((node) => {
    const end = start + Number(input(node, "w").shape[0]);
    const slice = b.op("slice", { x: joined }, { dim, start, end });
    start = end;
    return slice;
  });
  nodes.forEach((node, i) => replaceNode(graph, node, slices[i]));
}

/** Scales one after the other; single ones each as often as the blocks of rows that all weights have. */
function joinScales(group: Group): { weight: Weight; block?: ScaleBlock } {
  const scales = group.map((node) => weightOf(input(node, "w_scale")));
  if (!group.every(hasOneScale)) return { weight: concat(scales) };
  const rows = group.map((node) => Number(input(node, "w").shape[0]));
  const blockRows = rows.reduce(greatestDivisor);
  const repeated = scales.flatMap((scale, i) => Array<Weight>(rows[i] / blockRows).fill(scale));
  const columns = Number(input(group[0], "x").shape.at(-1));
  return { weight: concat(repeated), block: [blockRows, columns] };
}

function greatestDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestDivisor(b, a % b);
}

/** A layer without a bias next to one with a bias gets zeros. */
function biasOf(node: Node): Weight {
  const bias = optionalInput(node, "bias");
  return bias ? weightOf(bias) : constant(new Float32Array(Number(input(node, "w").shape[0])));
}

function weightOf(value: Value): Weight {
  if (value.weight) return value.weight;
  throw new TypeError(`"${value.name}" is not a weight`);
}

/** The path that scopes share, and the rest of each, joined: `self_attn`, `q_proj+k_proj`. */
function commonScope(scopes: readonly string[]): { scope: string; names: string } {
  const paths = scopes.map((scope) => scope.split("."));
  let shared = 0;
  while (paths.every((path) => path.length > shared + 1 && path[shared] === paths[0][shared])) {
    shared++;
  }
  return {
    scope: paths[0].slice(0, shared).join("."),
    names: paths.map((path) => path.slice(shared).join(".") || "linear").join("+"),
  };
}
