/**
 * `gated_mlp`: dense MLPs and shared experts, w_down · (act(w_gate · x) ⊙ (w_up · x)) + residual.
 *
 * @module
 */

import { input, type Node, optionalInput, type Value, type WeightFormat } from "../../graph/mod.ts";
import {
  type Access,
  constants,
  fragments,
  joinAccess,
  type WeightSpec,
  writes,
} from "../access/access.ts";
import {
  dataDependent,
  type Extent,
  extentFunction,
  extentOf,
  largestExtent,
} from "../access/extent.ts";
import { chunkOperand, operandAccess } from "../access/operand.ts";
import { rowsAccess } from "../access/rows.ts";
import { weightRowBytes } from "../access/weights.ts";
import { composeDispatch } from "../dispatch.ts";
import {
  defineKernel,
  type Dispatch,
  foldGrid,
  type LoweringContext,
  type Scratch,
} from "../kernel.ts";
import { reductionAccess } from "../reduce/reduction.ts";
import { activationAccess } from "./activation.ts";
import finishGated from "./finish_gated.wgsl" with { type: "text" };
import gatedBody from "./gated_mlp.wgsl" with { type: "text" };
import { describeGemm, gemmDispatches } from "./gemm.ts";
import { gemvDispatches, gemvShape, multiplyAccess, multiplyConstants } from "./gemv.ts";
import { GEMV_MAX_ROWS, scratchRows, unreadableWeight } from "./linear.ts";
import type { LinearProblem } from "./problem.ts";

interface MlpProblem {
  readonly node: Node<"gated_mlp">;
  readonly rows: Extent;
  readonly largestRows: number;
  readonly intermediate: number;
  readonly operands: LoweringContext["operands"];
}

function weightSpec(payload: Value): WeightSpec {
  return { format: payload.dtype as WeightFormat, payload, columns: Number(payload.shape[1]) };
}

/** One of the three products. */
function product(
  { node, rows, largestRows, operands }: MlpProblem,
  weight: "w_gate" | "w_up" | "w_down",
  x: LinearProblem["x"],
  y: LinearProblem["y"],
): LinearProblem {
  const payload = input(node, weight);
  return {
    name: `gated_mlp_${weight.slice(2)}`,
    x,
    y,
    weight: weightSpec(payload),
    rows,
    largestRows,
    outputs: Number(payload.shape[0]),
    operands,
    residual: weight === "w_down" ? optionalInput(node, "residual") : undefined,
  };
}

/** Gate, up and activation of few rows in one dispatch. */
function gatedGemv(problem: MlpProblem, y: Scratch, { profile }: LoweringContext): Dispatch {
  const { node, rows, intermediate } = problem;
  const x = input(node, "x");
  const up = product(problem, "w_up", x, y);
  const gate = product(problem, "w_gate", x, y);
  const shape = gemvShape(up, profile);
  const [gridX, gridY] = foldGrid(
    Math.ceil(intermediate / shape.rows),
    profile.maxWorkgroupsPerDimension,
  );
  const bytes = 2 * intermediate * weightRowBytes(up.weight.format, up.weight.columns);
  return composeDispatch({
    kernel: "gated_mlp_up_gemv",
    accesses: [
      multiplyAccess("w", up.weight, shape),
      multiplyAccess("g", gate.weight, shape),
      rowsAccess("x", up.weight.columns, { buffer: x }),
      chunkOperand("norm", up.weight.columns, undefined, 1),
      extentFunction("columns_of_step", rows),
      constants({ ...multiplyConstants(shape, 2, false), N: intermediate }),
      writes("y", "f32", y),
      activationAccess(node.attrs.activation),
      reductionAccess(profile, [{ name: "sum", slots: "SUMS", operation: "add" }]),
    ],
    body: gatedBody,
    workgroups: (sizes) => [gridX, gridY, Math.ceil(rows.of(sizes) / shape.columns)],
    weightBytes: () => bytes,
  });
}

/** Multiplies the sum of the up projection with the activated gate, which is there already. */
function gating(
  node: Node<"gated_mlp">,
  gate: Scratch,
  intermediate: number,
): Access {
  return joinAccess(
    operandAccess("gate", gate, intermediate % 4 === 0 ? "quads" : "numbers and quads"),
    activationAccess(node.attrs.activation),
    fragments(finishGated),
  );
}

/** Whether both weights of the first half can be bound whole. */
function bindable(node: Node, { profile }: LoweringContext): boolean {
  return ["w_gate", "w_up"].every((name) => {
    const { format, payload, columns } = weightSpec(input(node, name));
    return weightRowBytes(format, columns) * Number(payload.shape[0]) <= profile.maxBindingBytes;
  });
}

/** `gated_mlp`. */
export const gatedMlp = defineKernel({
  name: "gated_mlp",
  op: "gated_mlp",
  summary: "up to 16 rows in two dispatches, more in three tiled matrix products",
  refuse(node) {
    const weights = ["w_gate", "w_up", "w_down"].map((name) => input(node, name));
    return dataDependent(node) ??
      weights.map(unreadableWeight).find((reason) => reason !== undefined);
  },
  lower(node, context) {
    const x = input(node, "x");
    const leading = x.shape.slice(0, -1);
    const intermediate = Number(input(node, "w_up").shape[0]);
    const largestRows = largestExtent(leading, context);
    const { operands } = context;
    const problem = { node, rows: extentOf(leading), largestRows, intermediate, operands };
    const { profile } = context;
    const hidden = scratchRows("hidden", largestRows, intermediate);
    const down = product(problem, "w_down", hidden, node.outputs[0]);
    if (largestRows <= GEMV_MAX_ROWS && bindable(node, context)) {
      context.note("gated_mlp, two matrix-vector products");
      return [gatedGemv(problem, hidden, context), ...gemvDispatches(down, profile)];
    }
    context.note(`gated_mlp, three products: ${describeGemm(down, profile)}`);
    const gate = scratchRows("gate", largestRows, intermediate);
    return [
      ...gemmDispatches(product(problem, "w_gate", x, gate), profile),
      ...gemmDispatches(product(problem, "w_up", x, hidden), profile, {
        finish: gating(node, gate, intermediate),
      }),
      ...gemmDispatches(down, profile),
    ];
  },
});
