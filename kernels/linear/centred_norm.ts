/**
 * LayerNorm and the norm without a weight.
 *
 * @module
 */

import { input, type Node, optionalInput } from "../../graph/mod.ts";
import { constants, reads, writes } from "../access/access.ts";
import { dataDependent, extentFunction, extentOf } from "../access/extent.ts";
import { operandAccess } from "../access/operand.ts";
import { f32Literal } from "../compose.ts";
import { composeDispatch } from "../dispatch.ts";
import { defineKernel, type DeviceProfile, type Dispatch, foldGrid } from "../kernel.ts";
import { reductionAccess } from "../reduce/reduction.ts";
import normBody from "./centred_norm.wgsl" with { type: "text" };

const INVOCATIONS = 128;

function normDispatch(
  node: Node<"l2_norm"> | Node<"layer_norm">,
  profile: DeviceProfile,
): Dispatch {
  const x = input(node, "x");
  const rows = extentOf(x.shape.slice(0, -1));
  return composeDispatch({
    kernel: node.op,
    accesses: [
      constants({
        INVOCATIONS,
        K: Number(x.shape.at(-1)),
        EPS: f32Literal(node.attrs.eps, "an epsilon of norms"),
        CENTRED: node.op === "layer_norm",
        SUMS: 1,
      }),
      reads("x", "f32", x),
      writes("y", "f32", node.outputs[0]),
      operandAccess("weight", optionalInput(node, "w"), "numbers", 1),
      operandAccess("bias", optionalInput(node, "bias"), "numbers"),
      extentFunction("rows_of_step", rows),
      reductionAccess(profile, [{ name: "sum", slots: "SUMS", operation: "add" }]),
    ],
    body: normBody,
    workgroups: (sizes) => foldGrid(rows.of(sizes), profile.maxWorkgroupsPerDimension),
  });
}

/** `layer_norm`: one workgroup a row. */
export const layerNorm = defineKernel({
  name: "layer_norm",
  op: "layer_norm",
  summary: "one workgroup a row",
  refuse: (node) => dataDependent(node),
  lower: (node, { profile }) => [normDispatch(node, profile)],
});

/** `l2_norm`: one workgroup a row. */
export const l2Norm = defineKernel({
  name: "l2_norm",
  op: "l2_norm",
  summary: "one workgroup a row",
  refuse: (node) => dataDependent(node),
  lower: (node, { profile }) => [normDispatch(node, profile)],
});
