/**
 * `linear` and `fused_linear`: few rows of x are a matrix-vector product, many rows a tiled matrix
 * product.
 *
 * @module
 */

import { input, type Node, optionalInput, type Value, type WeightFormat } from "../../graph/mod.ts";
import { defineKernel, type Dispatch, type LoweringContext, type Scratch } from "../kernel.ts";
import type { WeightSpec } from "../format_access.ts";
import { readableFormats } from "../weight_access.ts";
import { dataDependent, extentOf, largestExtent } from "./extent.ts";
import { gemmDispatches, gemmShape } from "./gemm.ts";
import { gemvDispatches, gemvShape } from "./gemv.ts";
import type { LinearProblem } from "./linear_problem.ts";
import { normDispatch } from "./norm.ts";

/**
 * Rows of x up to which a weight is read once for every 8 rows instead of through tiles: a tile of
 * few rows leaves most of a GPU without work.
 */
export const GEMV_MAX_ROWS = 16;

/** Why a plain weight cannot be read, or undefined when it can. */
export function unreadableWeight(weight: Value): string | undefined {
  if (weight.shape.some((dim) => typeof dim === "string")) {
    return `"${weight.name}" is computed, not a weight`;
  }
  const readable: readonly string[] = readableFormats();
  return readable.includes(weight.dtype) ? undefined : `no access to ${weight.dtype} weights`;
}

/** The dispatches of a linear problem by its number of rows. */
export function linearDispatches(problem: LinearProblem, context: LoweringContext): Dispatch[] {
  const { profile } = context;
  if (problem.largestRows <= GEMV_MAX_ROWS) {
    const shape = gemvShape(problem, profile);
    context.note(`gemv, ${shape.rows} rows x ${shape.columns} columns, ${shape.threads} threads`);
    return gemvDispatches(problem, profile, shape);
  }
  const shape = gemmShape(problem, profile);
  context.note(`gemm, tiles of ${shape.tileM} x ${shape.tileN} x ${shape.tileK}`);
  const { norm, ...product } = problem;
  if (!norm) return gemmDispatches(product, profile, { shape });
  const normed = scratchRows("normed", problem.largestRows, problem.weight.columns);
  const { x, rows, weight } = problem;
  return [
    normDispatch(
      { x, weight: norm.weight, y: normed, rows, columns: weight.columns, eps: norm.eps },
      profile,
    ),
    ...gemmDispatches({ ...product, x: normed }, profile, { shape }),
  ];
}

/** Scratch for f32 rows. */
export function scratchRows(name: string, rows: number, columns: number): Scratch {
  return { kind: "scratch", name, bytes: rows * columns * 4 };
}

type LinearNode = Node<"linear"> | Node<"fused_linear">;

/** Why the layer cannot be served, or undefined when it can. */
function refusal(node: LinearNode): string | undefined {
  const { format, activationQuant = "none" } = node.attrs;
  if (activationQuant !== "none") {
    return `no rounding of activations (${activationQuant}); set activation_quant to none`;
  }
  const unreadable = format === undefined ? unreadableWeight(input(node, "w")) : undefined;
  return dataDependent(node) ?? unreadable;
}

/** The weight of a layer, plain or packed. */
function weightOf(node: LinearNode): WeightSpec {
  const [x, w] = [input(node, "x"), input(node, "w")];
  const columns = Number(x.shape[x.shape.length - 1]);
  const { format, block } = node.attrs;
  const scales = ["w_scale", "w_scale_2"].map((name) => optionalInput(node, name));
  return {
    format: format ?? w.dtype as WeightFormat,
    payload: w,
    columns,
    scales: scales.filter((scale) => scale !== undefined),
    ...(block && { block }),
  };
}

/** The problem of a node with inputs x, w and maybe bias, norm_weight, residual. */
function problemOf(
  node: LinearNode,
  normEps: number | undefined,
  context: LoweringContext,
): LinearProblem {
  const [x, w] = [input(node, "x"), input(node, "w")];
  const norm = optionalInput(node, "norm_weight");
  const leading = x.shape.slice(0, -1);
  return {
    name: node.op,
    x,
    y: node.outputs[0],
    weight: weightOf(node),
    rows: extentOf(leading),
    largestRows: largestExtent(leading, context),
    outputs: Number(w.shape[0]),
    bias: optionalInput(node, "bias"),
    residual: optionalInput(node, "residual"),
    norm: norm && normEps !== undefined ? { weight: norm, eps: normEps } : undefined,
  };
}

/** `linear`. */
export const linear = defineKernel({
  name: "linear",
  op: "linear",
  summary: "matrix-vector product up to 16 rows, tiled matrix product above",
  refuse: (node) => refusal(node),
  lower: (node, context) => linearDispatches(problemOf(node, undefined, context), context),
});

/** `fused_linear`: the norm in front costs a few rows nothing and many rows one dispatch. */
export const fusedLinear = defineKernel({
  name: "fused_linear",
  op: "fused_linear",
  summary: "linear with RMSNorm in front, bias and residual in the same dispatch",
  refuse: (node) => refusal(node),
  lower: (node, context) => linearDispatches(problemOf(node, node.attrs.normEps, context), context),
});
