/**
 * Ops that rearrange, select or scatter elements: each is one copy with its own indices.
 *
 * @module
 */

import { input, inputList, type Node, normalizeDim, optionalInput } from "../../graph/mod.ts";
import { dataDependent, extentOf } from "../access/extent.ts";
import { defineKernel, type KernelDefinition } from "../kernel.ts";
import { type Axis, broadcastIndex, indexFunction, sameIndex, strides } from "./indexing.ts";
import { convert, copyDispatch, mapDispatch, unreadableTypes } from "./map.ts";

function refuse(node: Node): string | undefined {
  const names = ["x", "w", "source"];
  const inputs = names.flatMap((name) => node.inputs[name] ? [input(node, name)] : []);
  return dataDependent(node) ?? unreadableTypes(node, [...inputs, ...inputList(node, "xs")]);
}

const transpose = defineKernel({
  name: "transpose",
  op: "transpose",
  summary: "one element an invocation",
  refuse: (node) => refuse(node),
  lower(node, context) {
    const { shape } = input(node, "x");
    const [a, b] = node.attrs.dims.map((dim) => normalizeDim(dim, shape.length));
    const own = strides(shape);
    const permuted = own.with(a, own[b]).with(b, own[a]);
    const axes = permuted.map((stride): Axis => ({ stride }));
    return [copyDispatch(node, context, indexFunction("x_at", node.outputs[0].shape, axes))];
  },
});

const expand = defineKernel({
  name: "expand",
  op: "expand",
  summary: "one element an invocation",
  refuse: (node) => refuse(node),
  lower: (node, context) => [
    copyDispatch(
      node,
      context,
      broadcastIndex("x_at", input(node, "x").shape, node.outputs[0].shape),
    ),
  ],
});

const slice = defineKernel({
  name: "slice",
  op: "slice",
  summary: "one element an invocation",
  refuse: (node) => refuse(node),
  lower(node, context) {
    const { shape } = input(node, "x");
    const { dim, start, step = 1 } = node.attrs;
    const at = normalizeDim(dim, shape.length);
    const own = strides(shape);
    const axes = own.map((stride, k): Axis => ({
      stride: k === at ? `(${step}u * ${stride})` : stride,
    }));
    const offset = `(${start}u * ${own[at]})`;
    return [
      copyDispatch(node, context, indexFunction("x_at", node.outputs[0].shape, axes, offset)),
    ];
  },
});

const select = defineKernel({
  name: "select",
  op: "select",
  summary: "one element an invocation",
  refuse: (node) => {
    const { shape } = input(node, "x");
    const size = shape[normalizeDim(node.attrs.dim, shape.length)];
    if (node.attrs.index < 0 && typeof size === "string") return `counts from the end of ${size}`;
    return refuse(node);
  },
  lower(node, context) {
    const { shape } = input(node, "x");
    const { dim, index } = node.attrs;
    const at = normalizeDim(dim, shape.length);
    const own = strides(shape);
    const picked = index < 0 ? index + Number(shape[at]) : index;
    const axes = own.toSpliced(at, 1).map((stride): Axis => ({ stride }));
    const offset = `(${picked}u * ${own[at]})`;
    return [
      copyDispatch(node, context, indexFunction("x_at", node.outputs[0].shape, axes, offset)),
    ];
  },
});

const concat = defineKernel({
  name: "concat",
  op: "concat",
  summary: "one dispatch for each input",
  refuse: (node) => refuse(node),
  lower(node, context) {
    const [y] = node.outputs;
    const at = normalizeDim(node.attrs.dim, y.shape.length);
    const own = strides(y.shape);
    const axes = own.map((stride): Axis => ({ stride }));
    let start = 0;
    return inputList(node, "xs").map((x) => {
      const yAt = indexFunction("y_at", x.shape, axes, `(${start}u * ${own[at]})`);
      start += Number(x.shape[at]);
      return copyDispatch(node, context, sameIndex("x_at"), { x, domain: x.shape, yAt });
    });
  },
});

const repeatKv = defineKernel({
  name: "repeat_kv",
  op: "repeat_kv",
  summary: "one element an invocation",
  refuse: (node) => refuse(node),
  lower(node, context) {
    const axes = strides(input(node, "x").shape)
      .map((stride, k): Axis => k === 0 ? { stride, divide: node.attrs.repeats } : { stride });
    return [copyDispatch(node, context, indexFunction("x_at", node.outputs[0].shape, axes))];
  },
});

/** Rows by number; numbers outside are taken to the nearest row. */
function pickRows(
  node: Node,
  tensor: "x" | "w",
  rows: string,
  columns?: string,
): KernelDefinition["lower"] {
  return (_, context) => {
    const [x, [y]] = [input(node, tensor), node.outputs];
    const width = extentOf(x.shape.slice(columns ? 2 : 1)).wgsl;
    const last = `${extentOf([x.shape[0]]).wgsl} - 1u`;
    const row = `min(u32(rows_get(i / ${width})), ${last})`;
    const second = columns && optionalInput(node, columns);
    const at = second ? `(${row} * ${x.shape[1]}u + u32(columns_get(i / ${width})))` : row;
    const inputs = { x, rows: input(node, rows), ...(second ? { columns: second } : {}) };
    return [mapDispatch({
      kernel: node.op,
      domain: y.shape,
      inputs,
      y,
      element: `return ${convert(`x_get(${at} * ${width} + i % ${width})`, x.dtype, y.dtype)};`,
    }, context)];
  };
}

const gatherRows = defineKernel({
  name: "gather_rows",
  op: "gather_rows",
  summary: "one element an invocation",
  refuse: (node) => refuse(node),
  lower: (node, context) => pickRows(node, "x", "rows")(node, context),
});

const index = defineKernel({
  name: "index",
  op: "index",
  summary: "one element an invocation, for row numbers whose count is known",
  refuse: (node) =>
    refuse(node) ??
      (node.inputs.columns && typeof input(node, "x").shape[1] === "string"
        ? "the width of x depends on the step"
        : undefined),
  lower: (node, context) =>
    pickRows(node, "x", "rows", node.inputs.columns ? "columns" : undefined)(node, context),
});

const indexAdd = defineKernel({
  name: "index_add",
  op: "index_add",
  summary: "one element an invocation, which looks through all rows of the source in order",
  refuse: (node) => refuse(node),
  lower(node, context) {
    const [x, source, [y]] = [input(node, "x"), input(node, "source"), node.outputs];
    const width = extentOf(x.shape.slice(1)).wgsl;
    const count = extentOf([source.shape[0]]).wgsl;
    return [mapDispatch({
      kernel: node.op,
      domain: y.shape,
      inputs: { x, source, rows: input(node, "rows") },
      y,
      element: `var sum = x_get(i);
  for (var s = 0u; s < ${count}; s++) {
    if (u32(rows_get(s)) == i / ${width}) {
      sum += source_get(s * ${width} + i % ${width});
    }
  }
  return ${convert("sum", x.dtype, y.dtype)};`,
    }, context)];
  },
});

const oneHot = defineKernel({
  name: "one_hot",
  op: "one_hot",
  summary: "one element an invocation",
  refuse: (node) => dataDependent(node),
  lower(node, context) {
    const [y] = node.outputs;
    const { classes } = node.attrs;
    return [mapDispatch({
      kernel: node.op,
      domain: y.shape,
      inputs: { ids: input(node, "ids") },
      y,
      element: `return select(0i, 1i, i32(ids_get(i / ${classes}u)) == i32(i % ${classes}u));`,
    }, context)];
  },
});

const takeAlong = defineKernel({
  name: "take_along",
  op: "take_along",
  summary: "one element an invocation",
  refuse: (node) => refuse(node),
  lower(node, context) {
    const [x, indices, [y]] = [input(node, "x"), input(node, "indices"), node.outputs];
    const [width, slots] = [x.shape.at(-1), indices.shape.at(-1)];
    return [mapDispatch({
      kernel: node.op,
      domain: y.shape,
      inputs: { x, indices },
      y,
      element: `let value = x_get(i / ${slots}u * ${width}u + u32(indices_get(i)));
  return ${convert("value", x.dtype, y.dtype)};`,
    }, context)];
  },
});

const scatter = defineKernel({
  name: "scatter",
  op: "scatter",
  summary: "one element an invocation, which looks through the indices of its row",
  refuse: (node) => refuse(node),
  lower(node, context) {
    const [x, indices, [y]] = [input(node, "x"), input(node, "indices"), node.outputs];
    const { classes } = node.attrs;
    const slots = x.shape.at(-1);
    return [mapDispatch({
      kernel: node.op,
      domain: y.shape,
      inputs: { x, indices },
      y,
      element: `let first = i / ${classes}u * ${slots}u;
  for (var slot = first; slot < first + ${slots}u; slot++) {
    if (u32(indices_get(slot)) == i % ${classes}u) {
      return ${convert("x_get(slot)", x.dtype, y.dtype)};
    }
  }
  return 0;`,
    }, context)];
  },
});

const zerosLike = defineKernel({
  name: "zeros_like",
  op: "zeros_like",
  summary: "one element an invocation",
  refuse: (node) => dataDependent(node) ?? unreadableTypes(node, []),
  lower(node, context) {
    const [y] = node.outputs;
    return [mapDispatch({
      kernel: node.op,
      domain: y.shape,
      inputs: {},
      y,
      element: "return 0;",
    }, context)];
  },
});

/** `embedding`: the table in any plain format. */
const embedding = defineKernel({
  name: "embedding",
  op: "embedding",
  summary: "one element an invocation",
  refuse: (node) => refuse(node),
  lower: (node, context) => pickRows(node, "w", "ids")(node, context),
});

/** Layout kernels; `reshape` and `unsqueeze` are views and need none. */
export const LAYOUT_KERNELS: readonly KernelDefinition[] = [
  embedding,
  gatherRows,
  transpose,
  expand,
  slice,
  select,
  concat,
  repeatKv,
  index,
  indexAdd,
  oneHot,
  takeAlong,
  scatter,
  zerosLike,
];
