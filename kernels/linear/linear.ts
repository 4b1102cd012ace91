/**
 * `linear` and `fused_linear`: few rows of x are a matrix-vector product, many rows a tiled matrix
 * product.
 *
 * @module
 */

import { input, type Node, optionalInput, type Value, type WeightFormat } from "../../graph/mod.ts";
import type { WeightSpec } from "../access/access.ts";
import { dataDependent, type Extent, extentOf, largestExtent } from "../access/extent.ts";
import { readableFormats } from "../access/weights.ts";
import {
  defineKernel,
  type DeviceProfile,
  type Dispatch,
  type LoweringContext,
  type Scratch,
  type StepSizes,
  type TunableSizes,
} from "../kernel.ts";
import { describeGemm, gemmDispatches } from "./gemm.ts";
import { gemvDispatches } from "./gemv.ts";
import { matrixTile } from "./matrix_gemm.ts";
import { normDispatch } from "./norm.ts";
import { type LinearProblem, type Rounding } from "./problem.ts";
import { requiredScale, roundDispatch } from "./round_rows.ts";
import { skinnyDispatches, skinnyRows, skinnyShape } from "./skinny.ts";
import { chooseGemvShape, gemvCandidates, gemvFileName } from "./tuned_gemv.ts";

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

/**
 * The dispatches of a linear problem. Rows that are tokens have one form, because every range of
 * tokens has a list of its own. Others, such as rows with logits, may be few in a step of many
 * tokens: all forms stand in the list, and those that are not meant for the step have no workgroups.
 */
export function linearDispatches(problem: LinearProblem, context: LoweringContext): Dispatch[] {
  const { rows, largestRows, rounding } = problem;
  if (rounding) return roundedDispatches(problem, rounding, context);
  const ends = rows.fixed || rows.ofTokens
    ? []
    : formEnds(problem.outputs, context.profile).filter((end) => end < largestRows);
  if (ends.length === 0) return formDispatches(problem, context);
  return [...ends, largestRows].flatMap((last, i) => {
    const first = i === 0 ? 1 : ends[i - 1] + 1;
    const form = formDispatches({ ...problem, largestRows: last }, context);
    return form.map((dispatch) => onlyForRows(dispatch, rows, first, last));
  });
}

/** The most rows of each form but the last. */
function formEnds(outputs: number, profile: DeviceProfile): number[] {
  return [1, GEMV_MAX_ROWS, Math.max(GEMV_MAX_ROWS, skinnyRows(outputs, profile))]
    .filter((end, i, ends) => ends.indexOf(end) === i);
}

/** A dispatch that is skipped, and reads nothing, in steps of fewer or more rows. */
function onlyForRows(dispatch: Dispatch, rows: Extent, first: number, last: number): Dispatch {
  const { workgroups, weightBytes } = dispatch;
  const runs = (sizes: StepSizes) => rows.of(sizes) >= first && rows.of(sizes) <= last;
  return {
    ...dispatch,
    workgroups: (sizes) => runs(sizes) ? workgroups(sizes) : [0, 0, 0],
    ...(weightBytes && { weightBytes: (sizes) => runs(sizes) ? weightBytes(sizes) : 0 }),
  };
}

/** The form that is best for the largest number of rows. */
function formDispatches(problem: LinearProblem, context: LoweringContext): Dispatch[] {
  const { profile } = context;
  if (problem.largestRows <= GEMV_MAX_ROWS) {
    const few = byWords(problem, profile);
    const { shape, source } = chooseGemvShape(few, context);
    const sizes = `${shape.rows} rows x ${shape.columns} columns, ${shape.threads} threads`;
    context.note(`gemv, ${sizes}${source === undefined ? "" : ` (${source})`}`);
    return gemvDispatches(few, profile, shape);
  }
  const few = problem.largestRows <= skinnyRows(problem.outputs, profile);
  if (few && !matrixTile(problem, profile)) {
    const weight = { ...problem.weight, chunkWords: true };
    const shape = skinnyShape({ ...problem, weight }, profile);
    context.note(`skinny gemm, ${shape.rows} rows x ${shape.outputs} columns an invocation`);
    return skinnyDispatches({ ...problem, weight }, profile, shape);
  }
  const { norm, ...product } = problem;
  context.note(describeGemm(product, profile));
  if (!norm) return gemmDispatches(product, profile);
  const normed = normRows(problem, norm, profile);
  return [normed.dispatch, ...gemmDispatches({ ...product, x: normed.rows }, profile)];
}

/** The norm in front as a dispatch of its own. */
function normRows(
  { x, rows, largestRows, weight: { columns } }: LinearProblem,
  { weight, eps }: NonNullable<LinearProblem["norm"]>,
  profile: DeviceProfile,
): { rows: Scratch; dispatch: Dispatch } {
  const y = scratchRows("normed", largestRows, columns);
  return { rows: y, dispatch: normDispatch({ x, weight, y, rows, columns, eps }, profile) };
}

/** Rows are normed and rounded before they are multiplied: a rounding of the product is no rounding. */
function roundedDispatches(
  { norm, rounding: _, ...product }: LinearProblem,
  rounding: Rounding,
  context: LoweringContext,
): Dispatch[] {
  const { rows, largestRows, weight: { columns } } = product;
  const normed = norm && normRows(product, norm, context.profile);
  const y = scratchRows("rounded", largestRows, columns);
  const x = normed?.rows ?? product.x;
  return [
    ...(normed ? [normed.dispatch] : []),
    roundDispatch({ x, y, rows, columns, rounding }, context.profile),
    ...linearDispatches({ ...product, x: y }, context),
  ];
}

/** Scratch for f32 rows. */
export function scratchRows(name: string, rows: number, columns: number): Scratch {
  return { kind: "scratch", name, bytes: rows * columns * 4 };
}

/** A problem of few rows of x: every word of a weight meets x in memory; a CPU reads wide words faster. */
function byWords(problem: LinearProblem, { software }: DeviceProfile): LinearProblem {
  return { ...problem, weight: { ...problem.weight, chunkWords: !software } };
}

/** The sizes of few rows of x. */
function tunableLinear(
  problem: LinearProblem,
  { profile }: LoweringContext,
): TunableSizes | string {
  if (problem.largestRows > GEMV_MAX_ROWS) return "many rows go through tiles";
  const few = byWords(problem, profile);
  return { file: gemvFileName(few, profile.key), rows: gemvCandidates(few, profile) };
}

type LinearNode = Node<"linear"> | Node<"fused_linear">;

/** Why the layer cannot be served, or undefined when it can. */
function refusal(node: LinearNode): string | undefined {
  const { format } = node.attrs;
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
    rounding: roundingOf(node),
    operands: context.operands,
  };
}

/** How the attributes of a layer round its input. */
function roundingOf(node: LinearNode): Rounding | undefined {
  const { activationQuant = "none", block } = node.attrs;
  if (activationQuant === "none") return undefined;
  if (activationQuant === "static") {
    const scale = requiredScale(optionalInput(node, "x_scale"), "x_scale", node.scope);
    return { kind: "static", scale };
  }
  return { kind: "dynamic", columns: block?.[1] || Number(input(node, "x").shape.at(-1)) };
}

/** `linear`. */
export const linear = defineKernel({
  name: "linear",
  op: "linear",
  summary:
    "matrix-vector product up to 16 rows, on GPUs staged rows up to 64, tiled matrix product above",
  refuse: (node) => refusal(node),
  lower: (node, context) => linearDispatches(problemOf(node, undefined, context), context),
  tunable: (node, context) => tunableLinear(problemOf(node, undefined, context), context),
});

/** `fused_linear`: the norm in front costs a few rows nothing and many rows one dispatch. */
export const fusedLinear = defineKernel({
  name: "fused_linear",
  op: "fused_linear",
  summary: "linear with RMSNorm in front, bias and residual in the same dispatch",
  refuse: (node) => refusal(node),
  lower: (node, context) => linearDispatches(problemOf(node, node.attrs.normEps, context), context),
  tunable: (node, context) => tunableLinear(problemOf(node, node.attrs.normEps, context), context),
});
