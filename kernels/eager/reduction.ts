/**
 * Reductions along one dimension, and the largest elements of a row.
 *
 * @module
 */

import { input, type Node, normalizeDim } from "../../graph/mod.ts";
import { composeShader, type ShaderBuffer } from "../compose.ts";
import {
  defineKernel,
  type Dispatch,
  foldGrid,
  type KernelDefinition,
  type LoweringContext,
} from "../kernel.ts";
import lineBody from "./reduce_line.wgsl" with { type: "text" };
import topkBody from "./topk.wgsl" with { type: "text" };
import { joinAccess } from "../access/weights.ts";
import { LOWEST } from "../attention/operands.ts";
import { dataDependent, extentOf } from "../access/extent.ts";
import { laneFragments, type Reduction } from "../reduce/lanes.ts";
import { extentFunction } from "../linear/problem.ts";
import { getFunction, unreadableTypes } from "./map.ts";

const THREADS = 64;

/** Lines of x along a dimension, each for one workgroup. */
function lineDispatch(
  node: Node,
  dim: number,
  context: LoweringContext,
  shader: {
    readonly body: string;
    readonly outputs: readonly ShaderBuffer[];
    readonly constants: Readonly<Record<string, number | boolean | string>>;
    readonly reductions: readonly Reduction[];
  },
): Dispatch {
  const { profile } = context;
  const x = input(node, "x");
  const at = normalizeDim(dim, x.shape.length);
  const lines = extentOf(x.shape.toSpliced(at, 1));
  const sizes = joinAccess(
    extentFunction("lines", lines),
    extentFunction("inner", extentOf(x.shape.slice(at + 1))),
    extentFunction("line_size", extentOf([x.shape[at]])),
  );
  const packed = x.dtype === "f32" ? "array<f32>" : "array<u32>";
  const text = composeShader({
    constants: { THREADS, LOWEST, ...shader.constants },
    buffers: [
      { name: "x", type: packed, access: "read", buffer: x },
      ...shader.outputs,
      ...sizes.buffers,
    ],
    fragments: [
      ...sizes.fragments,
      getFunction("x", x.dtype),
      ...laneFragments(profile, shader.reductions),
    ],
    body: shader.body,
  });
  return {
    kernel: node.op,
    ...text,
    workgroups: (step) => foldGrid(lines.of(step), profile.maxWorkgroupsPerDimension),
  };
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
    outputs: [{ name: "y", type: "array<f32>", access: "read_write", buffer: node.outputs[0] }],
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
      outputs: [
        { name: "y", type: "array<f32>", access: "read_write", buffer: values },
        { name: "indices", type: "array<i32>", access: "read_write", buffer: indices },
      ],
      constants: { K: node.attrs.k },
      reductions: [PEAK, { name: "place", slots: 1, operation: "max" }],
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
