/**
 * `post_norm`: what stands behind a block of a layer, in one dispatch: the norm of its result, or of
 * the sum of two normed results, the addition to the residual stream, and the norms that read the sum.
 *
 * @module
 */

import { input, inputList, optionalInput } from "../../graph/mod.ts";
import { type Access, constants, fragments, joinAccess, reads, writes } from "../access/access.ts";
import { dataDependent, extentFunction, extentOf } from "../access/extent.ts";
import { operandAccess } from "../access/operand.ts";
import { f32Literal } from "../compose.ts";
import { composeDispatch } from "../dispatch.ts";
import { defineKernel, foldGrid } from "../kernel.ts";
import { reductionAccess } from "../reduce/reduction.ts";
import oneBranch from "./post_norm_branch.wgsl" with { type: "text" };
import twoBranches from "./post_norm_branches.wgsl" with { type: "text" };
import nextNorms from "./post_norm_next.wgsl" with { type: "text" };
import noNorms from "./post_norm_last.wgsl" with { type: "text" };
import body from "./post_norm.wgsl" with { type: "text" };

/** Invocations of a row: what they hold of it are registers. */
const MAX_INVOCATIONS = 512;
/** Numbers of a row that an invocation holds at most. */
const MAX_ELEMENTS = 64;

function invocationsFor(columns: number, most: number): number {
  let invocations = 32;
  while (invocations < columns && 2 * invocations <= Math.min(most, MAX_INVOCATIONS)) {
    invocations *= 2;
  }
  return invocations;
}

/** `post_norm`. */
export const postNorm = defineKernel({
  name: "post_norm",
  op: "post_norm",
  summary: "one workgroup a row, which it holds in registers",
  refuse(node, { profile }) {
    const columns = Number(input(node, "x").shape[1]);
    const held = columns / invocationsFor(columns, profile.maxInvocations);
    return held > MAX_ELEMENTS
      ? `takes rows of up to ${MAX_ELEMENTS * profile.maxInvocations}, not ${columns}`
      : dataDependent(node);
  },
  lower(node, { profile }) {
    const { attrs, outputs: [total, ...normed] } = node;
    const x = input(node, "x");
    const columns = Number(x.shape[1]);
    const next = inputList(node, "next");
    const second = optionalInput(node, "x_2");
    const branches = second
      ? [[x, input(node, "w")], [second, input(node, "w_2")]]
      : [[x, input(node, "w")]];
    const rows = extentOf(x.shape.slice(0, -1));
    const invocations = invocationsFor(columns, profile.maxInvocations);
    const inner: Access = second
      ? joinAccess(reads("w_sum", "f32", input(node, "w_sum")), fragments(twoBranches))
      : fragments(oneBranch);
    return [composeDispatch({
      kernel: "post_norm",
      accesses: [
        constants({
          INVOCATIONS: invocations,
          ELEMENTS: Math.ceil(columns / invocations),
          K: columns,
          BRANCHES: branches.length,
          NEXT: next.length,
          EPS: f32Literal(attrs.eps, "an epsilon of norms"),
          NEXT_EPS: f32Literal(attrs.nextEps ?? 0, "an epsilon of norms"),
        }),
        ...branches.flatMap(([value, weight], i) => [
          reads(`x_${i}`, "f32", value),
          reads(`w_${i}`, "f32", weight),
        ]),
        inner,
        reads("residual", "f32", input(node, "residual")),
        operandAccess("scale", optionalInput(node, "scale"), "numbers", 1),
        writes("total", "f32", total),
        ...next.flatMap((weight, i) => [
          reads(`next_${i}`, "f32", weight),
          writes(`normed_${i}`, "f32", normed[i]),
        ]),
        fragments(next.length > 0 ? nextNorms : noNorms),
        extentFunction("rows_of_step", rows),
        reductionAccess(profile, [
          { name: "square", slots: branches.length, operation: "add" },
          ...(second ? [{ name: "inner", slots: 1, operation: "add" } as const] : []),
          { name: "sum", slots: 1, operation: "add" },
        ]),
      ],
      body,
      workgroups: (sizes) => foldGrid(rows.of(sizes), profile.maxWorkgroupsPerDimension),
    })];
  },
});
