/**
 * Ops that rearrange, select or scatter elements.
 *
 * @module
 */

import {
  broadcastShapes,
  type Dim,
  formatShape,
  normalizeDim,
  sameElementCount,
  type Shape,
} from "../shape.ts";
import type { NoAttrs } from "./elementwise.ts";
import { expect, formatType, type OpTable } from "./definition.ts";
import type { TensorType } from "../tensor.ts";

function dimOf(type: TensorType, dim: number): number {
  const at = normalizeDim(dim, type.shape.length);
  expect(at >= 0 && at < type.shape.length, `an input with dimension ${dim}`, type);
  return at;
}

/** Attributes of the ops that move data, by name. */
export type LayoutOps = {
  readonly reshape: { shape: Shape };
  readonly transpose: { dims: readonly [number, number] };
  readonly unsqueeze: { dim: number };
  readonly expand: { shape: Shape };
  readonly slice: { dim: number; start: number; end?: number; step?: number };
  readonly concat: { dim: number };
  readonly index: NoAttrs;
  readonly index_add: NoAttrs;
  readonly gather_rows: NoAttrs;
  readonly zeros_like: NoAttrs;
  readonly one_hot: { classes: number };
  readonly select: { dim: number; index: number };
  readonly where: { symbol: string };
  readonly topk: { k: number };
  readonly take_along: NoAttrs;
  readonly scatter: { classes: number };
  readonly repeat_kv: { repeats: number };
};

/** Layout ops by name. */
export const LAYOUT_OPS: OpTable<LayoutOps> = {
  reshape: {
    summary: "the same elements in other dimensions",
    inputs: ["x"],
    view: true,
    infer(inputs, { shape }) {
      const x = inputs.get("x");
      expect(sameElementCount(x.shape, shape), `as many elements as ${formatShape(shape)}`, x);
      return [{ dtype: x.dtype, shape }];
    },
  },
  transpose: {
    summary: "two dimensions exchanged",
    inputs: ["x"],
    infer(inputs, { dims }) {
      const x = inputs.get("x");
      const [a, b] = [dimOf(x, dims[0]), dimOf(x, dims[1])];
      return [{ dtype: x.dtype, shape: x.shape.with(a, x.shape[b]).with(b, x.shape[a]) }];
    },
  },
  unsqueeze: {
    summary: "a new dimension of size 1",
    inputs: ["x"],
    view: true,
    infer(inputs, { dim }) {
      const x = inputs.get("x");
      return [{
        dtype: x.dtype,
        shape: x.shape.toSpliced(normalizeDim(dim, x.shape.length + 1), 0, 1),
      }];
    },
  },
  expand: {
    summary: "dimensions of size 1 repeated to the given shape",
    inputs: ["x"],
    infer(inputs, { shape }) {
      const x = inputs.get("x");
      const result = broadcastShapes(x.shape, shape);
      expect(
        result !== undefined && formatShape(result) === formatShape(shape),
        `a shape that expands to ${formatShape(shape)}`,
        x,
      );
      return [{ dtype: x.dtype, shape }];
    },
  },
  slice: {
    summary: "x[start:end:step] along one dimension; no end means all",
    inputs: ["x"],
    infer(inputs, { dim, start, end, step = 1 }) {
      const x = inputs.get("x");
      const at = dimOf(x, dim);
      const size = x.shape[at];
      if (typeof size === "string") {
        expect(
          start === 0 && end === undefined && step === 1,
          `a whole slice of symbol ${size}`,
          `${start}:${end}:${step}`,
        );
        return [x];
      }
      const stop = Math.min(end ?? size, size);
      expect(
        start >= 0 && start < stop && step > 0,
        `a range within dimension ${dim}`,
        `${start}:${stop}:${step} of ${formatType(x)}`,
      );
      return [{ dtype: x.dtype, shape: x.shape.with(at, Math.ceil((stop - start) / step)) }];
    },
  },
  concat: {
    summary: "inputs one after the other along one dimension",
    inputs: ["xs[]"],
    infer(inputs, { dim }) {
      const types = inputs.list("xs");
      const at = dimOf(types[0], dim);
      const sizes: Dim[] = types.map((type) => type.shape[at]);
      expect(
        sizes.every((size) => typeof size === "number"),
        "numbers to concatenate",
        sizes.join(", "),
      );
      const total = sizes.reduce<number>((sum, size) => sum + Number(size), 0);
      for (const type of types) {
        const rest = formatShape(type.shape.with(at, 0));
        expect(rest === formatShape(types[0].shape.with(at, 0)), "equal other dimensions", type);
      }
      return [{ dtype: types[0].dtype, shape: types[0].shape.with(at, total) }];
    },
  },
  index: {
    summary: "x[rows] or x[rows, columns]: picks by integer vectors",
    inputs: ["x", "rows", "columns?"],
    infer(inputs) {
      const [x, rows, columns] = [inputs.get("x"), inputs.get("rows"), inputs.maybe("columns")];
      expect(rows.shape.length === 1 && rows.dtype === "i32", "i32 row numbers", rows);
      return [{ dtype: x.dtype, shape: [rows.shape[0], ...x.shape.slice(columns ? 2 : 1)] }];
    },
  },
  index_add: {
    summary: "x with source added to the given rows, in order",
    inputs: ["x", "rows", "source"],
    infer: (inputs) => [inputs.get("x")],
  },
  gather_rows: {
    summary: "the rows of x whose results are wanted",
    inputs: ["x", "rows"],
    infer(inputs) {
      const [x, rows] = [inputs.get("x"), inputs.get("rows")];
      return [{ dtype: x.dtype, shape: [rows.shape[0], ...x.shape.slice(1)] }];
    },
  },
  zeros_like: {
    summary: "zeros of the shape of x",
    inputs: ["x"],
    infer: (inputs) => [inputs.get("x")],
  },
  one_hot: {
    summary: "a new last dimension with 1 at the index, 0 elsewhere",
    inputs: ["ids"],
    infer(inputs, { classes }) {
      return [{ dtype: "i32", shape: [...inputs.get("ids").shape, classes] }];
    },
  },
  select: {
    summary: "one index of a dimension, which is dropped",
    inputs: ["x"],
    infer(inputs, { dim }) {
      const x = inputs.get("x");
      return [{ dtype: x.dtype, shape: x.shape.toSpliced(dimOf(x, dim), 1) }];
    },
  },
  where: {
    summary: "row and column numbers of the nonzero elements of a matrix, row by row",
    inputs: ["mask"],
    infer(inputs, { symbol }) {
      expect(inputs.get("mask").shape.length === 2, "a matrix", inputs.get("mask"));
      const numbers = { dtype: "i32" as const, shape: [symbol] };
      return [numbers, numbers];
    },
  },
  topk: {
    summary:
      "the k largest of the last dimension, descending, and their indices; ties to the smaller index",
    inputs: ["x"],
    infer(inputs, { k }) {
      const x = inputs.get("x");
      const last = x.shape.length - 1;
      expect(Number(x.shape[last]) >= k, `a last dimension of at least ${k}`, x);
      const shape = x.shape.with(last, k);
      return [{ dtype: x.dtype, shape }, { dtype: "i32", shape }];
    },
  },
  take_along: {
    summary: "elements of the last dimension of x, row by row, at the given indices",
    inputs: ["x", "indices"],
    infer(inputs) {
      const [x, indices] = [inputs.get("x"), inputs.get("indices")];
      const rows = formatShape(indices.shape.slice(0, -1));
      expect(indices.dtype === "i32", "i32 indices", indices);
      expect(rows === formatShape(x.shape.slice(0, -1)), `indices ${rows} of each row`, x);
      return [{ dtype: x.dtype, shape: indices.shape }];
    },
  },
  scatter: {
    summary: "zeros [.., classes] with the values of x [.., K] at the given indices [.., K]",
    inputs: ["x", "indices"],
    infer(inputs, { classes }) {
      const [x, indices] = [inputs.get("x"), inputs.get("indices")];
      expect(indices.dtype === "i32", "i32 indices", indices);
      expect(
        formatShape(indices.shape) === formatShape(x.shape),
        `indices ${formatShape(x.shape)}`,
        indices,
      );
      return [{ dtype: x.dtype, shape: x.shape.with(-1, classes) }];
    },
  },
  repeat_kv: {
    summary: "each head [H, T, D] repeated for the query heads of its group",
    inputs: ["x"],
    infer(inputs, { repeats }) {
      const x = inputs.get("x");
      expect(typeof x.shape[0] === "number", "a number of heads", x);
      return [{ dtype: x.dtype, shape: x.shape.with(0, Number(x.shape[0]) * repeats) }];
    },
  },
};
