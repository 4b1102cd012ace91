/**
 * Embedding, linear layers, norms and dense MLPs on the CPU.
 *
 * @module
 */

import {
  elementCount,
  type HostTensor,
  invariant,
  KernelError,
  type PackedLinearAttrs,
} from "../../graph/mod.ts";
import { ACTIVATIONS } from "./activation.ts";
import { roundLinearInput } from "./activation_quant.ts";
import { type CpuCall, type CpuInputs, cpuKernels } from "./kernel.ts";
import { f32Tensor, floats, integers } from "./numbers.ts";
import { plainRows, type RowReader, stackedRows } from "./rows.ts";

type Floats = Float32Array<ArrayBuffer>;

/**
 * Dot product in f64. The four partial sums are added in one order whatever the caller, so a row's
 * result has the same bits in a step of one token and of many.
 */
export function dot(a: Floats, aStart: number, b: Floats, bStart: number, length: number): number {
  // Separate statements: destructuring here makes V8 four times slower.
  let s0 = 0;
  let s1 = 0;
  let s2 = 0;
  let s3 = 0;
  let i = 0;
  for (const end = length - 3; i < end; i += 4) {
    s0 += a[aStart + i] * b[bStart + i];
    s1 += a[aStart + i + 1] * b[bStart + i + 1];
    s2 += a[aStart + i + 2] * b[bStart + i + 2];
    s3 += a[aStart + i + 3] * b[bStart + i + 3];
  }
  for (; i < length; i++) s0 += a[aStart + i] * b[bStart + i];
  return s0 + s1 + (s2 + s3);
}

/** `out[t, n] = x[t] · w[first + n] + bias[biasStart + n]` for `count` rows of w, each decoded once. */
export function project(
  x: Floats,
  tokens: number,
  w: { readonly rows: RowReader; readonly first: number; readonly count: number },
  bias?: { readonly values: Floats; readonly start: number },
  out: Floats = new Float32Array(tokens * w.count),
): Floats {
  const { rows, first, count } = w;
  const { columns, values } = rows;
  for (let n = 0; n < count; n++) {
    const start = rows.load(first + n);
    const offset = bias ? bias.values[bias.start + n] : 0;
    for (let t = 0; t < tokens; t++) {
      out[t * count + n] = dot(x, t * columns, values, start, columns) + offset;
    }
  }
  return out;
}

/** x / √(mean(x²) + eps) · w over rows of `w.length`. */
export function rmsNorm(x: Floats, w: Floats, eps: number): Floats {
  const width = w.length;
  const result = new Float32Array(x.length);
  for (let start = 0; start < x.length; start += width) {
    const scale = 1 / Math.sqrt(dot(x, start, x, start, width) / width + eps);
    for (let i = 0; i < width; i++) result[start + i] = x[start + i] * scale * w[i];
  }
  return result;
}

/** `(x - mean) / √(variance + eps) · w + bias` over rows of the width of w. */
export function layerNorm(x: Floats, w: Floats, bias: Floats | undefined, eps: number): Floats {
  const width = w.length;
  const result = new Float32Array(x.length);
  for (let start = 0; start < x.length; start += width) {
    let mean = 0;
    for (let i = 0; i < width; i++) mean += x[start + i] / width;
    let variance = 0;
    for (let i = 0; i < width; i++) variance += (x[start + i] - mean) ** 2 / width;
    const scale = 1 / Math.sqrt(variance + eps);
    for (let i = 0; i < width; i++) {
      result[start + i] = (x[start + i] - mean) * scale * w[i] + (bias ? bias[i] : 0);
    }
  }
  return result;
}

/** Adds `other` to `values` in place. */
export function addTo(values: Floats, other: HostTensor | undefined): Floats {
  if (!other) return values;
  const added = floats(other);
  for (let i = 0; i < values.length; i++) values[i] += added[i];
  return values;
}

function whole(weight: HostTensor) {
  return { rows: plainRows(weight), first: 0, count: weight.shape[0] };
}

/** The weight `w` of a linear layer, plain or packed. */
function linearWeight(inputs: CpuInputs, attrs: PackedLinearAttrs, columns: number) {
  const w = inputs.get("w");
  if (attrs.format === undefined) return whole(w);
  const rows = stackedRows({
    format: attrs.format,
    block: attrs.block,
    matrices: 1,
    rows: w.shape[0],
    columns,
    payload: w,
    scale: inputs.maybe("w_scale"),
    secondScale: inputs.maybe("w_scale_2"),
  });
  return { rows, first: 0, count: w.shape[0] };
}

/** x · wᵀ + bias over rows of x that are ready, with x rounded as the attributes say. */
function linearRows(
  x: Floats,
  columns: number,
  inputs: CpuInputs,
  attrs: PackedLinearAttrs,
): Floats {
  const bias = inputs.maybe("bias");
  const rounded = roundLinearInput(x, columns, inputs, attrs);
  return project(
    rounded,
    x.length / columns,
    linearWeight(inputs, attrs, columns),
    bias && { values: floats(bias), start: 0 },
  );
}

function embedding({ inputs }: CpuCall<"embedding">): HostTensor[] {
  const [ids, table] = [inputs.get("ids"), inputs.get("w")];
  const [size, width] = table.shape;
  const rows = plainRows(table);
  const result = f32Tensor([...ids.shape, width]);
  const out = floats(result);
  integers(ids).forEach((id, i) => {
    if (id < 0 || id >= size) {
      throw new KernelError(
        "kernel/token-id",
        `Cannot embed token ${id}: expected an id from 0 to ${size - 1}, got ${id}`,
        { hint: "Check that the tokenizer belongs to the model" },
      );
    }
    const start = rows.load(id);
    out.set(rows.values.subarray(start, start + width), i * width);
  });
  return [result];
}

function fusedLinear({ inputs, attrs }: CpuCall<"fused_linear">): HostTensor[] {
  const [x, norm] = [inputs.get("x"), inputs.maybe("norm_weight")];
  const values = norm && attrs.normEps !== undefined
    ? rmsNorm(floats(x), floats(norm), attrs.normEps)
    : floats(x);
  const out = linearRows(values, x.shape[x.shape.length - 1], inputs, attrs);
  return [
    f32Tensor(x.shape.with(-1, inputs.get("w").shape[0]), addTo(out, inputs.maybe("residual"))),
  ];
}

function matmul({ inputs }: CpuCall<"matmul">): HostTensor[] {
  const [a, b] = [inputs.get("a"), inputs.get("b")];
  const [m, k, n] = [
    a.shape[a.shape.length - 2],
    a.shape[a.shape.length - 1],
    b.shape[b.shape.length - 1],
  ];
  const batch = elementCount(a.shape.slice(0, -2));
  const batchB = elementCount(b.shape.slice(0, -2));
  invariant(batchB === batch || batchB === 1, `batches of [${a.shape}] and [${b.shape}] differ`);
  const [left, right] = [floats(a), floats(b)];
  const result = new Float32Array(batch * m * n);
  const columns = new Float32Array(n * k);
  for (let i = 0; i < batch; i++) {
    if (i < batchB) transposeInto(columns, right, i * k * n, k, n);
    for (let row = 0; row < m; row++) {
      for (let column = 0; column < n; column++) {
        result[(i * m + row) * n + column] = dot(left, (i * m + row) * k, columns, column * k, k);
      }
    }
  }
  return [f32Tensor(a.shape.with(-1, n), result)];
}

function transposeInto(to: Floats, from: Floats, start: number, rows: number, columns: number) {
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < columns; c++) to[c * rows + r] = from[start + r * columns + c];
  }
}

function gatedMlp({ inputs, attrs }: CpuCall<"gated_mlp">): HostTensor[] {
  const [x, down] = [inputs.get("x"), inputs.get("w_down")];
  const tokens = elementCount(x.shape.slice(0, -1));
  const gate = project(floats(x), tokens, whole(inputs.get("w_gate")));
  const up = project(floats(x), tokens, whole(inputs.get("w_up")));
  const activate = ACTIVATIONS[attrs.activation];
  const hidden = gate.map((value, i) => activate(value) * up[i]);
  const out = project(hidden, tokens, whole(down));
  return [f32Tensor(x.shape.with(-1, down.shape[0]), addTo(out, inputs.maybe("residual")))];
}

function postNorm({ inputs, attrs }: CpuCall<"post_norm">): HostTensor[] {
  const x = inputs.get("x");
  const normed = (name: string, weight: string) =>
    rmsNorm(floats(inputs.get(name)), floats(inputs.get(weight)), attrs.eps);
  const first = normed("x", "w");
  const branch = inputs.maybe("x_2")
    ? rmsNorm(
      addTo(first, f32Tensor(x.shape, normed("x_2", "w_2"))),
      floats(inputs.get("w_sum")),
      attrs.eps,
    )
    : first;
  const sum = addTo(branch, inputs.get("residual"));
  const scale = inputs.maybe("scale");
  const total = scale ? sum.map((value) => value * floats(scale)[0]) : sum;
  const next = inputs.list("next")
    .map((w) => f32Tensor(x.shape, rmsNorm(total, floats(w), attrs.nextEps ?? 0)));
  return [f32Tensor(x.shape, total), ...next];
}

/** Kernels of linear layers and norms by op. */
export const LINEAR_KERNELS = cpuKernels({
  embedding,
  linear({ inputs, attrs }) {
    const x = inputs.get("x");
    const out = linearRows(floats(x), x.shape[x.shape.length - 1], inputs, attrs);
    return [f32Tensor(x.shape.with(-1, inputs.get("w").shape[0]), out)];
  },
  fused_linear: fusedLinear,
  matmul,
  rms_norm({ inputs, attrs: { eps } }) {
    const x = inputs.get("x");
    return [f32Tensor(x.shape, rmsNorm(floats(x), floats(inputs.get("w")), eps))];
  },
  l2_norm({ inputs, attrs: { eps } }) {
    const x = inputs.get("x");
    const ones = new Float32Array(x.shape[x.shape.length - 1]).fill(1);
    return [f32Tensor(x.shape, rmsNorm(floats(x), ones, eps))];
  },
  layer_norm({ inputs, attrs: { eps } }) {
    const [x, bias] = [inputs.get("x"), inputs.maybe("bias")];
    const shift = bias && floats(bias);
    return [f32Tensor(x.shape, layerNorm(floats(x), floats(inputs.get("w")), shift, eps))];
  },
  add_rms_norm({ inputs, attrs: { eps } }) {
    const x = inputs.get("x");
    const sum = addTo(floats(x).slice(), inputs.get("residual"));
    return [
      f32Tensor(x.shape, rmsNorm(sum, floats(inputs.get("w")), eps)),
      f32Tensor(x.shape, sum),
    ];
  },
  post_norm: postNorm,
  gated_mlp: gatedMlp,
});
