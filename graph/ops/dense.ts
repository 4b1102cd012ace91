/**
 * Embedding, linear layers, norms and dense MLPs.
 *
 * @module
 */

import { expect, fail, lastDim, type OpInputs, type OpTable, sizeOf } from "./definition.ts";
import type { TensorType } from "../tensor.ts";
import type { Bindings } from "../shape.ts";
import { isPacked, PACKED_LAYOUTS, type WeightFormat } from "../formats/packed.ts";
import type { NoAttrs } from "./elementwise.ts";
import type { Activation, ActivationQuant } from "./moe.ts";

/** How a packed weight is read; all absent for plain ones. */
export interface PackedLinearAttrs {
  /** Format of `w`; its scales are inputs. Absent when the weight is plain. */
  readonly format?: WeightFormat;
  /** Elements `[rows, columns]` that share a scale, where the format leaves that open. */
  readonly block?: readonly [number, number];
  /** How x is rounded before the product; `static` reads `x_scale` [1]. */
  readonly activationQuant?: ActivationQuant;
}

/** Attributes of `fused_linear`. */
export interface FusedLinearAttrs extends PackedLinearAttrs {
  /** Epsilon of the RMSNorm in front; absent without `norm_weight`. */
  readonly normEps?: number;
}

/** Attributes of `gated_mlp`. */
export interface GatedMlpAttrs {
  /** Of the gate. */
  readonly activation: Activation;
}

/** Attributes of `post_norm`. */
export interface PostNormAttrs {
  /** Epsilon of the norms in front of the sum. */
  readonly eps: number;
  /** Epsilon of the norms of the sum; absent where there are none. */
  readonly nextEps?: number;
}

function linearType(inputs: OpInputs, { format }: PackedLinearAttrs): TensorType {
  const [x, w, bias] = [inputs.get("x"), inputs.get("w"), inputs.maybe("bias")];
  expect(w.shape.length === 2, "a weight [N, K]", w);
  const packed = format !== undefined && isPacked(format);
  const columns = packed ? Number(w.shape[1]) * PACKED_LAYOUTS[format].codesPerByte : w.shape[1];
  expect(lastDim(x) === columns, `an input whose last dimension is ${columns}`, x);
  if (packed && !inputs.maybe("w_scale")) fail(`scales of the ${format} weight`, "none");
  if (bias) {
    expect(bias.shape.length === 1 && bias.shape[0] === w.shape[0], `a bias [${w.shape[0]}]`, bias);
  }
  return { dtype: "f32", shape: x.shape.with(-1, w.shape[0]) };
}

function linearFlops(inputs: OpInputs, bindings: Bindings): number {
  return 2 * sizeOf(inputs.get("x"), bindings) * Number(inputs.get("w").shape[0]);
}

function checkNorm(x: TensorType, weight: TensorType): void {
  expect(
    weight.shape.length === 1 && weight.shape[0] === lastDim(x),
    `a norm weight [${lastDim(x)}]`,
    weight,
  );
}

/** Inputs that come with a packed weight. */
const PACKED_INPUTS = ["w_scale?", "w_scale_2?", "x_scale?"];

/** Attributes of the dense ops, by name. */
export type DenseOps = {
  readonly embedding: NoAttrs;
  readonly linear: PackedLinearAttrs;
  readonly fused_linear: FusedLinearAttrs;
  readonly matmul: NoAttrs;
  readonly rms_norm: { eps: number };
  readonly l2_norm: { eps: number };
  readonly layer_norm: { eps: number };
  readonly add_rms_norm: { eps: number };
  readonly post_norm: PostNormAttrs;
  readonly gated_mlp: GatedMlpAttrs;
};

/** Dense ops by name. */
export const DENSE_OPS: OpTable<DenseOps> = {
  embedding: {
    summary: "rows of the table w [V, H] by token id",
    inputs: ["ids", "w"],
    infer(inputs) {
      const [ids, w] = [inputs.get("ids"), inputs.get("w")];
      expect(w.shape.length === 2, "a table [V, H]", w);
      return [{ dtype: "f32", shape: [...ids.shape, w.shape[1]] }];
    },
    weightShare: (inputs, _attrs, bindings) =>
      Math.min(1, sizeOf(inputs.get("ids"), bindings) / Number(inputs.get("w").shape[0])),
  },
  linear: {
    summary: "x · wᵀ + bias, with w [N, K] plain or packed; accumulates in f32",
    inputs: ["x", "w", "bias?", ...PACKED_INPUTS],
    infer: (inputs, attrs) => [linearType(inputs, attrs)],
    flops: (inputs, _attrs, bindings) => linearFlops(inputs, bindings),
  },
  fused_linear: {
    summary: "rms_norm(x, norm_weight) · wᵀ + bias + residual, each part optional",
    inputs: ["x", "w", "bias?", "norm_weight?", "residual?", ...PACKED_INPUTS],
    infer(inputs, attrs) {
      const { normEps } = attrs;
      const norm = inputs.maybe("norm_weight");
      expect(
        (norm === undefined) === (normEps === undefined),
        "normEps exactly with norm_weight",
        String(normEps),
      );
      if (norm) checkNorm(inputs.get("x"), norm);
      return [linearType(inputs, attrs)];
    },
    flops: (inputs, _attrs, bindings) => linearFlops(inputs, bindings),
  },
  matmul: {
    summary: "batched a [.., M, K] · b [.., K, N]",
    inputs: ["a", "b"],
    infer(inputs) {
      const [a, b] = [inputs.get("a"), inputs.get("b")];
      expect(a.shape.length === b.shape.length && a.shape.length >= 2, "operands of equal rank", b);
      expect(
        lastDim(a) === b.shape[b.shape.length - 2],
        `a right operand with ${lastDim(a)} rows`,
        b,
      );
      return [{ dtype: "f32", shape: a.shape.with(-1, lastDim(b)) }];
    },
    flops: (inputs, _attrs, bindings) =>
      2 * sizeOf(inputs.get("a"), bindings) *
      sizeOf({ dtype: "f32", shape: inputs.get("b").shape.slice(-1) }, bindings),
  },
  rms_norm: {
    summary: "x / √(mean(x²) + eps) · w over the last dimension",
    inputs: ["x", "w"],
    infer(inputs) {
      checkNorm(inputs.get("x"), inputs.get("w"));
      return [inputs.get("x")];
    },
    flops: (inputs, _attrs, bindings) => 4 * sizeOf(inputs.get("x"), bindings),
  },
  l2_norm: {
    summary: "x / √(mean(x²) + eps) over the last dimension",
    inputs: ["x"],
    infer: (inputs) => [inputs.get("x")],
    flops: (inputs, _attrs, bindings) => 3 * sizeOf(inputs.get("x"), bindings),
  },
  layer_norm: {
    summary: "(x - mean(x)) / √(variance(x) + eps) · w + bias over the last dimension",
    inputs: ["x", "w", "bias?"],
    infer(inputs) {
      checkNorm(inputs.get("x"), inputs.get("w"));
      const bias = inputs.maybe("bias");
      if (bias) checkNorm(inputs.get("x"), bias);
      return [inputs.get("x")];
    },
    flops: (inputs, _attrs, bindings) => 7 * sizeOf(inputs.get("x"), bindings),
  },
  add_rms_norm: {
    summary: "sum = x + residual; outputs rms_norm(sum, w) and sum",
    inputs: ["x", "residual", "w"],
    infer(inputs) {
      checkNorm(inputs.get("x"), inputs.get("w"));
      return [inputs.get("x"), inputs.get("x")];
    },
    flops: (inputs, _attrs, bindings) => 5 * sizeOf(inputs.get("x"), bindings),
  },
  post_norm: {
    summary:
      "sum = (residual + y) · scale, y = rms_norm(x, w), or rms_norm(rms_norm(x, w) + rms_norm(x_2, w_2), w_sum); outputs sum, and rms_norm(sum, each of next)",
    inputs: ["x", "w", "x_2?", "w_2?", "w_sum?", "residual", "scale?", "next[]"],
    infer(inputs, { nextEps }) {
      const [x, residual, scale] = [inputs.get("x"), inputs.get("residual"), inputs.maybe("scale")];
      expect(x.shape.length === 2, "x [T, H]", x);
      expect(String(residual.shape) === String(x.shape), `a residual [${x.shape}]`, residual);
      const second = ["x_2", "w_2", "w_sum"].map((name) => inputs.maybe(name));
      const count = second.filter((each) => each !== undefined).length;
      expect(count === 0 || count === 3, "x_2, w_2 and w_sum together", `${count} of them`);
      const weights = ["w", "w_2", "w_sum"].map((name) => inputs.maybe(name));
      for (const w of [...weights, ...inputs.list("next")]) if (w) checkNorm(x, w);
      if (scale) expect(String(scale.shape) === "1", "a scale [1]", scale);
      const next = inputs.list("next");
      expect((next.length > 0) === (nextEps !== undefined), "nextEps with next", String(nextEps));
      return [x, ...next.map(() => x)];
    },
    flops: (inputs, _attrs, bindings) => 8 * sizeOf(inputs.get("x"), bindings),
  },
  gated_mlp: {
    summary: "w_down · (act(w_gate · x) ⊙ (w_up · x)), plus residual",
    inputs: ["x", "w_gate", "w_up", "w_down", "residual?"],
    infer(inputs) {
      const [x, up, down] = [inputs.get("x"), inputs.get("w_up"), inputs.get("w_down")];
      expect(up.shape[1] === lastDim(x), `w_up [I, ${lastDim(x)}]`, up);
      expect(down.shape[1] === up.shape[0], `w_down [H, ${up.shape[0]}]`, down);
      return [{ dtype: "f32", shape: x.shape.with(-1, down.shape[0]) }];
    },
    flops: (inputs, _attrs, bindings) =>
      6 * sizeOf(inputs.get("x"), bindings) * Number(inputs.get("w_up").shape[0]),
  },
};
