/**
 * LayerNorm and the norm without a weight.
 *
 * @module
 */

import { input, type Node, optionalInput } from "../../graph/mod.ts";
import { dataDependent, extentFunction, extentOf } from "../access/extent.ts";
import { joinAccess } from "../access/access.ts";
import { composeShader, f32Literal, type ShaderBuffer } from "../compose.ts";
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
  const { buffers, fragments } = joinAccess(extentFunction("rows_of_step", rows));
  const vectors = ["w", "bias"].filter((name) => optionalInput(node, name));
  const at = (name: string, absent: string) => vectors.includes(name) ? `${name}[k]` : absent;
  const shader = composeShader({
    constants: {
      INVOCATIONS,
      K: Number(x.shape.at(-1)),
      EPS: f32Literal(node.attrs.eps, "an epsilon of norms"),
      CENTRED: node.op === "layer_norm",
      SUMS: 1,
    },
    buffers: [
      { name: "x", type: "array<f32>", access: "read", buffer: x },
      { name: "y", type: "array<f32>", access: "read_write", buffer: node.outputs[0] },
      ...vectors.map((name): ShaderBuffer => ({
        name,
        type: "array<f32>",
        access: "read",
        buffer: input(node, name),
      })),
      ...buffers,
    ],
    fragments: [
      ...fragments,
      `fn weight_at(k: u32) -> f32 {\n  return ${at("w", "1.0")};\n}`,
      `fn bias_at(k: u32) -> f32 {\n  return ${at("bias", "0.0")};\n}`,
      ...reductionAccess(profile, [{ name: "sum", slots: "SUMS", operation: "add" }]).fragments,
    ],
    body: normBody,
  });
  return {
    kernel: node.op,
    ...shader,
    workgroups: (sizes) => foldGrid(rows.of(sizes), profile.maxWorkgroupsPerDimension),
  };
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
