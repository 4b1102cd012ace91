/**
 * Reductions along one dimension, and the largest elements of a row.
 *
 * @module
 */

import { input, type Node, normalizeDim } from "../../graph/mod.ts";
import { type Access, constants, fragments, reads, writes } from "../access/access.ts";
import { dataDependent, extentFunction, extentOf } from "../access/extent.ts";
import { LOWEST, type ShaderConstants } from "../compose.ts";
import { composeDispatch } from "../dispatch.ts";
import {
  defineKernel,
  type Dispatch,
  foldGrid,
  type KernelDefinition,
  type LoweringContext,
} from "../kernel.ts";
import { type Reduction, reductionAccess } from "../reduce/reduction.ts";
import { getFunction, unreadableTypes } from "./map.ts";
import lineBody from "./reduce_line.wgsl" with { type: "text" };
import topkBody from "./topk.wgsl" with { type: "text" };

const INVOCATIONS = 64;

/** Lines of x along a dimension, each for one workgroup. */
function lineDispatch(
  node: Node,
  dim: number,
  context: LoweringContext,
  shader: {
    readonly body: string;
    readonly outputs: readonly Access[];
    readonly constants: ShaderConstants;
    readonly reductions: readonly Reduction[];
  },
): Dispatch {
  const { profile } = context;
  const x = input(node, "x");
  const at = normalizeDim(dim, x.shape.length);
  const lines = extentOf(x.shape.toSpliced(at, 1));
  return composeDispatch({
    kernel: node.op,
    accesses: [
      constants({ INVOCATIONS, LOWEST, ...shader.constants }),
      reads("x", x.dtype === "f32" ? "f32" : "u32", x),
      ...shader.outputs,
      extentFunction("lines", lines),
      extentFunction("inner", extentOf(x.shape.slice(at + 1))),
      extentFunction("line_size", extentOf([x.shape[at]])),
      fragments(getFunction("x", x.dtype)),
      reductionAccess(profile, shader.reductions),
    ],
    body: shader.body,
    workgroups: (step) => foldGrid(lines.of(step), profile.maxWorkgroupsPerDimension),
  });
}

function refuse(node: Node): string | undefined {
  const x = input(node, "x");
  if (!["f32", "f16", "bf16"].includes(x.dtype)) return `takes real numbers, not ${x.dtype}`;
  return dataDependent(node) ?? unreadableTypes(node, [x]);
}

const SUM: Reduction = { name: "sum", slots: 1, operation: "add" };
const PEAK: Reduction = { name: "peak", slots: 1, operation: "max" };

function line(node: Node, dim: number, context: LoweringContext): Dispatch[] {
  return [lineDispatch(node, dim, context, {
    body: lineBody,
    outputs: [writes("y", "f32", node.outputs[0])],
    constants: { SOFTMAX: node.op === "softmax", MEAN: node.op === "mean" },
    reductions: [SUM, PEAK],
  })];
}

const mean = defineKernel({
  name: "mean",
  op: "mean",
  summary: "one workgroup a line",
  refuse: (node) => refuse(node),
  lower: (node, context) => line(node, node.attrs.dim, context),
});

const sum = defineKernel({
  name: "sum",
  op: "sum",
  summary: "one workgroup a line",
  refuse: (node) => refuse(node),
  lower: (node, context) => line(node, node.attrs.dim, context),
});

const softmax = defineKernel({
  name: "softmax",
  op: "softmax",
  summary: "one workgroup a line",
  refuse: (node) => refuse(node),
  lower: (node, context) => line(node, node.attrs.dim, context),
});

const topk = defineKernel({
  name: "topk",
  op: "topk",
  summary: "one workgroup a row, one round for each of the k",
  refuse: (node) => refuse(node),
  lower(node, context) {
    const [values, indices] = node.outputs;
    return [lineDispatch(node, -1, context, {
      body: topkBody,
      outputs: [writes("y", "f32", values), writes("indices", "i32", indices)],
      constants: { K: node.attrs.k },
      reductions: [PEAK, { name: "distance", slots: 1, operation: "max" }],
    })];
  },
});

/** Reduction kernels. */
export const REDUCTION_KERNELS: readonly KernelDefinition[] = [
  mean,
  sum,
  softmax,
  topk,
];
