/**
 * Attention as graphs have it before `insert_cached_attention`: matrix products, masks, rotary
 * embeddings, and attention over the step's own tokens.
 *
 * @module
 */

import { input, optionalInput } from "../../graph/mod.ts";
import { constants, reads, writes } from "../access/access.ts";
import { dataDependent, extentFunction, extentOf, STEP } from "../access/extent.ts";
import { operandAccess } from "../access/operand.ts";
import cosSin from "../attention/cos_sin.wgsl" with { type: "text" };
import ropeHalf from "../attention/rope_half.wgsl" with { type: "text" };
import ropeInterleaved from "../attention/rope_interleaved.wgsl" with { type: "text" };
import { f32Literal, LOWEST, LOWEST_F32 } from "../compose.ts";
import { composeDispatch } from "../dispatch.ts";
import { defineKernel, type KernelDefinition } from "../kernel.ts";
import { reductionAccess } from "../reduce/reduction.ts";
import plainBody from "./attention.wgsl" with { type: "text" };
import { mapDispatch } from "./map.ts";
import matmulBody from "./matmul.wgsl" with { type: "text" };

const matmul = defineKernel({
  name: "matmul",
  op: "matmul",
  summary: "tiles of 16 x 16 through workgroup memory",
  refuse(node) {
    const [a, b] = [input(node, "a"), input(node, "b")];
    const batch = String(a.shape.slice(0, -2)) === String(b.shape.slice(0, -2));
    if (!batch) return "broadcasts its batch";
    if (a.dtype !== "f32" || b.dtype !== "f32") return `takes f32, not ${a.dtype} and ${b.dtype}`;
    return dataDependent(node);
  },
  lower(node) {
    const [a, b, [y]] = [input(node, "a"), input(node, "b"), node.outputs];
    const [rows, depth] = [extentOf(a.shape.slice(-2, -1)), extentOf(a.shape.slice(-1))];
    const columns = extentOf(b.shape.slice(-1));
    const batch = extentOf(a.shape.slice(0, -2));
    return [composeDispatch({
      kernel: "matmul",
      accesses: [
        reads("a", "f32", a),
        reads("c", "f32", b),
        writes("y", "f32", y),
        extentFunction("size_m", rows),
        extentFunction("size_n", columns),
        extentFunction("size_k", depth),
      ],
      body: matmulBody,
      workgroups: (sizes) => [
        Math.ceil(columns.of(sizes) / 16),
        Math.ceil(rows.of(sizes) / 16),
        batch.of(sizes),
      ],
    })];
  },
});

const attentionMask = defineKernel({
  name: "attention_mask",
  op: "attention_mask",
  summary: "one element an invocation",
  refuse: (node) => dataDependent(node),
  lower(node, context) {
    const positions = input(node, "positions");
    const tokens = extentOf([positions.shape[0]]).wgsl;
    const { window, chunk } = node.attrs;
    const most = 2 ** 31 - 1;
    const near = [
      window === undefined ? "" : ` && back < ${Math.min(window, most)}i`,
      chunk === undefined
        ? ""
        : ` && positions_get(i / ${tokens}) / ${
          Math.min(chunk, most)
        }i == positions_get(i % ${tokens}) / ${Math.min(chunk, most)}i`,
    ].join("");
    return [mapDispatch({
      kernel: "attention_mask",
      domain: node.outputs[0].shape,
      inputs: { positions },
      y: node.outputs[0],
      // WGSL has no literal for -infinity, and refuses constants that evaluate to it.
      element: `let back = positions_get(i / ${tokens}) - positions_get(i % ${tokens});
  return select(bitcast<f32>(0xff800000u | min(i, 0u)), 0.0, back >= 0i${near});`,
    }, context)];
  },
});

const sequenceLengths = defineKernel({
  name: "sequence_lengths",
  op: "sequence_lengths",
  summary: "one token an invocation, which looks at all tokens of the step",
  refuse: (node) => dataDependent(node),
  lower(node, context) {
    const [positions, ids] = [input(node, "positions"), input(node, "sequence_ids")];
    const tokens = extentOf([positions.shape[0]]).wgsl;
    return [mapDispatch({
      kernel: "sequence_lengths",
      domain: node.outputs[0].shape,
      inputs: { positions, sequence_ids: ids },
      y: node.outputs[0],
      element: `var end = 0i;
  for (var token = 0u; token < ${tokens}; token++) {
    if (sequence_ids_get(token) == sequence_ids_get(i)) {
      end = max(end, positions_get(token) + 1i);
    }
  }
  return end;`,
    }, context)];
  },
});

const dynamicRope = defineKernel({
  name: "dynamic_rope",
  op: "dynamic_rope",
  summary: "one element an invocation",
  refuse: (node) => dataDependent(node),
  lower(node, context) {
    const [x, positions] = [input(node, "x"), input(node, "positions")];
    const { layout, rotaryDim, attentionScaling, factor, maxPositions } = node.attrs;
    const width = Number(x.shape.at(-1));
    const tokens = extentOf([positions.shape[0]]).wgsl;
    return [mapDispatch({
      kernel: "dynamic_rope",
      domain: x.shape,
      inputs: {
        x,
        positions,
        lengths: input(node, "lengths"),
        inv_freq: input(node, "inv_freq"),
      },
      y: node.outputs[0],
      functions: [
        `const ROTARY = ${rotaryDim}u;`,
        `const ATTENTION_SCALING = ${f32Literal(attentionScaling)};`,
        cosSin,
        layout === "half" ? ropeHalf : ropeInterleaved,
      ],
      element: `let d = i % ${width}u;
  if (d >= ROTARY) {
    return x_get(i);
  }
  let pair = rotary_pair(d);
  let token = (i / ${width}u) % ${tokens};
  let share = f32(lengths[token]) * ${f32Literal(factor / maxPositions)};
  let growth = max(1.0, share - ${f32Literal(factor - 1)});
  let exponent = -2.0 * f32(pair.frequency) / max(f32(ROTARY) - 2.0, 1.0);
  let angle = f32(positions[token]) * rotary_frequency(pair.frequency) * pow(growth, exponent);
  let turned = cos_sin(angle) * ATTENTION_SCALING;
  return x_get(i) * turned.x + x_get(i - d + pair.other) * turned.y * pair.sign;`,
    }, context)];
  },
});

const rope = defineKernel({
  name: "rope",
  op: "rope",
  summary: "one element an invocation",
  refuse: (node) => dataDependent(node),
  lower(node, context) {
    const [x, positions] = [input(node, "x"), input(node, "positions")];
    const { layout, rotaryDim, attentionScaling } = node.attrs;
    const width = Number(x.shape.at(-1));
    const tokens = extentOf([positions.shape[0]]).wgsl;
    return [mapDispatch({
      kernel: "rope",
      domain: x.shape,
      inputs: { x, positions, inv_freq: input(node, "inv_freq") },
      y: node.outputs[0],
      functions: [
        `const ROTARY = ${rotaryDim}u;`,
        `const ATTENTION_SCALING = ${f32Literal(attentionScaling)};`,
        cosSin,
        layout === "half" ? ropeHalf : ropeInterleaved,
      ],
      element: `let d = i % ${width}u;
  if (d >= ROTARY) {
    return x_get(i);
  }
  let pair = rotary_pair(d);
  let position = f32(positions[(i / ${width}u) % ${tokens}]);
  let angle = cos_sin(position * rotary_frequency(pair.frequency)) * ATTENTION_SCALING;
  return x_get(i) * angle.x + x_get(i - d + pair.other) * angle.y * pair.sign;`,
    }, context)];
  },
});

const INVOCATIONS = 64;

const attention = defineKernel({
  name: "attention",
  op: "attention",
  summary: "one query of one head a workgroup, with a running softmax",
  refuse(node) {
    const [q, v] = [input(node, "q"), input(node, "v")];
    if (q.shape[2] !== v.shape[2]) return "takes values as wide as keys";
    if (node.attrs.chunk !== undefined) return "takes no chunks";
    return dataDependent(node);
  },
  lower(node, { profile }) {
    const [q, k, v] = ["q", "k", "v"].map((name) => input(node, name));
    const [heads, kvHeads, width] = [q.shape[0], k.shape[0], q.shape[2]].map(Number);
    return [composeDispatch({
      kernel: "attention",
      accesses: [
        constants({
          INVOCATIONS,
          GROUP: heads / kvHeads,
          D: width,
          ROUNDS: Math.ceil(width / INVOCATIONS),
          SCALE: f32Literal(node.attrs.scale, "a scale of attention"),
          WINDOW: Math.min(node.attrs.window ?? 0, 2 ** 31 - 1),
          LOWEST,
        }),
        reads("q", "f32", q),
        reads("k", "f32", k),
        reads("v", "f32", v),
        reads("positions", "i32", input(node, "positions")),
        writes("y", "f32", node.outputs[0]),
        operandAccess("sink", optionalInput(node, "sinks"), "numbers", LOWEST_F32),
        STEP,
        reductionAccess(profile, [
          { name: "peak", slots: 1, operation: "max" },
          { name: "total", slots: 1, operation: "add" },
        ]),
      ],
      body: plainBody,
      workgroups: ({ T }) => [T, heads, 1],
    })];
  },
});

/** Kernels of attention without a cache. */
export const EAGER_ATTENTION_KERNELS: readonly KernelDefinition[] = [
  matmul,
  attentionMask,
  sequenceLengths,
  dynamicRope,
  rope,
  attention,
];
