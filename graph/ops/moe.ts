/**
 * Mixture-of-experts ops. w1 is the gate (activated), w3 the up projection, w2 the down projection.
 *
 * @module
 */

import type { WeightFormat } from "../formats/packed.ts";
import { expect, type OpInputs, type OpTable, sizeOf } from "./definition.ts";
import type { TensorType } from "../tensor.ts";

/** Activations of one number: the op of that name, `relu2` max(x, 0)², `linear` x itself. */
export const ACTIVATION_NAMES = [
  ...["silu", "gelu", "gelu_tanh", "relu2", "relu", "relu6", "leaky_relu", "sigmoid"] as const,
  ...["tanh", "gelu_10", "quick_gelu", "mish", "laplace", "linear"] as const,
] as const;

/** An activation of one number. */
export type Activation = (typeof ACTIVATION_NAMES)[number];

/** Activations an expert may have. */
export const MOE_ACTIVATIONS = [...ACTIVATION_NAMES, "swiglu_oai"] as const;

/**
 * An {@linkcode Activation}, or `swiglu_oai`: gpt-oss's
 * (min(max(up, -limit), limit) + 1) · g · sigmoid(alpha · g) with g = min(gate, limit).
 */
export type MoeActivation = (typeof MOE_ACTIVATIONS)[number];

/** How packed expert weights are read; all absent for plain ones. */
export interface PackedMoeAttrs {
  /** Format of every expert's weights; absent when they are plain. */
  readonly format?: WeightFormat;
  /** Elements `[rows, columns]` that share a scale, where the format leaves that open. */
  readonly block?: readonly [number, number];
  /** How x and the experts' activations are rounded before the products. */
  readonly activationQuant?: ActivationQuant;
}

/** What one expert computes; every rewrite carries all of it. */
export interface MoeAttrs {
  /** `gated`: w2 · (act(w1 · x) ⊙ (w3 · x)); `plain`: w2 · act(w1 · x). */
  readonly mlp: "gated" | "plain";
  /** Of the gate, or of the one projection of plain experts. */
  readonly activation: MoeActivation;
  /** `swiglu_oai` only. */
  readonly alpha?: number;
  /** `swiglu_oai` only: gates are clamped to at most this, ups to ± this. */
  readonly limit?: number;
  /** The routing weight multiplies the expert's input instead of its output. */
  readonly applyRoutingOnInput: boolean;
}

/** How activations are rounded before an expert's matrix product. */
export type ActivationQuant = "none" | "static" | "dynamic";

/** Types in which a GEMM may keep its operands in workgroup memory. */
export const MOE_OPERANDS = ["f32", "f16", "auto"] as const;

/**
 * How the grouped GEMM of WebGPU keeps its operands; sums are f32 with either. `f16` rounds
 * activations, and weights that f16 cannot hold; what is larger than 65504 becomes infinite. `auto`
 * is f16 in products by matrices of subgroups, where a device has them and a step has rows enough, and
 * f32 in all others.
 */
export type MoeOperands = (typeof MOE_OPERANDS)[number];

/** Attributes of `fused_moe`. */
export interface FusedMoeAttrs extends MoeAttrs {
  /** Name of the backend; `auto` chooses when the graph is compiled. */
  readonly backend: string;
  /** E */
  readonly experts: number;
  /** Slots of a token. */
  readonly topK: number;
  /** H, elements of a token. */
  readonly hidden: number;
  /** I, elements between an expert's two products. */
  readonly intermediate: number;
  /** Format of w_up and w_down. */
  readonly format: WeightFormat;
  /** Elements `[rows, columns]` that share a scale, for block formats. */
  readonly block?: readonly [number, number];
  /** How x and the experts' activations are rounded before the products. */
  readonly activationQuant: ActivationQuant;
  /** Absent is `f32`. */
  readonly operands?: MoeOperands;
}

/** How a router keeps to some groups of experts. */
export interface ExpertGroups {
  /** Groups of neighbouring experts. */
  readonly count: number;
  /** Groups whose experts may be chosen. */
  readonly kept: number;
  /** What ranks a group: its best expert, or the sum of its two best. */
  readonly by: "best" | "two_best";
}

/** Attributes of `moe_router`. */
export interface MoeRouterAttrs {
  /** Experts that a token is sent to. */
  readonly topK: number;
  /** `sparse_mixer` is {@linkcode MOE_OPS.sparse_mixer}. */
  readonly scoring: "softmax" | "sigmoid" | "sparse_mixer";
  /** Scores over all experts before the choice, or over the chosen logits after it. */
  readonly softmaxOver: "all" | "selected";
  /** Chosen weights divided by their sum. */
  readonly renormalize: boolean;
  /** The sum that they are divided by is at least this, or has this added; absent is 0. */
  readonly sumFloor?: number;
  /** Added to the sum; see `sumFloor`. */
  readonly sumOffset?: number;
  /** p where the chosen weights are divided by their p-norm; absent is 1, their sum. */
  readonly normPower?: number;
  /** Factor on the final weights. */
  readonly scale: number;
  /** Factor on the logits; absent is 1. */
  readonly logitScale?: number;
  /** Only experts of the best groups are chosen; absent means no groups. */
  readonly groups?: ExpertGroups;
  /** `sparse_mixer` only. */
  readonly jitter?: number;
  /** Epsilon of the RMSNorm in front; with `norm_weight`, the normed x is the third output. */
  readonly normEps?: number;
  /** Slots behind the chosen ones that every token has: experts E, E + 1, .. with weight 1, or with
   * the sigmoid of the logit of the last row of `w` when `sharedGate` is set. */
  readonly shared?: number;
  /** The last row of `w` weighs the shared slots. */
  readonly sharedGate?: boolean;
}

/** Experts that a router chooses from; `rows` of its weight, whose last may weigh the shared slots. */
export function routedExperts(
  rows: number,
  { sharedGate = false }: Pick<MoeRouterAttrs, "sharedGate">,
): number {
  return sharedGate ? rows - 1 : rows;
}

function checkRouting(inputs: OpInputs): TensorType {
  const [x, selected, weights] = ["x", "selected_experts", "routing_weights"].map((name) =>
    inputs.get(name)
  );
  expect(x.shape.length === 2, "x [T, H]", x);
  expect(
    selected.dtype === "i32" && selected.shape.length === 2,
    "i32 selected_experts [T, K]",
    selected,
  );
  expect(
    String(weights.shape) === String(selected.shape),
    `routing_weights [${selected.shape}]`,
    weights,
  );
  return { dtype: "f32", shape: x.shape };
}

/** Attributes of the MoE ops, by name. */
export type MoeOps = {
  readonly sparse_mixer: { topK: number; jitter: number };
  readonly moe_router: MoeRouterAttrs;
  readonly moe: MoeAttrs & PackedMoeAttrs;
  readonly fused_moe: FusedMoeAttrs;
};

/** MoE ops by name. */
export const MOE_OPS: OpTable<MoeOps> = {
  sparse_mixer: {
    summary:
      "Phi-MoE's choice: topK times the largest logit m, its weight the softmax over the logits l that are left with (m - l) / max(|l|, m) <= 2 jitter",
    inputs: ["x"],
    infer(inputs, { topK }) {
      const { shape } = inputs.get("x");
      expect(Number(shape.at(-1)) >= topK, `at least ${topK} experts`, inputs.get("x"));
      const chosen = shape.with(-1, topK);
      return [{ dtype: "i32", shape: chosen }, { dtype: "f32", shape: chosen }];
    },
  },
  moe_router: {
    summary:
      "scores of x · wᵀ + bias; outputs the topK experts [T, K] by score + correction, their weights [T, K] times expert_scale, and rms_norm(x) when norm_weight is given; with shared slots, K is topK + shared; where scores are no numbers, ids differ but are otherwise undefined",
    inputs: ["x", "w", "bias?", "norm_weight?", "correction?", "expert_scale?"],
    infer(inputs, { topK, normEps, groups, shared = 0, sharedGate }) {
      const [x, w] = [inputs.get("x"), inputs.get("w")];
      expect(w.shape[1] === x.shape[1], `a router weight [E, ${x.shape[1]}]`, w);
      const experts = routedExperts(Number(w.shape[0]), { sharedGate });
      expect(experts >= topK, `at least ${topK} experts`, w);
      if (groups) {
        expect(experts % groups.count === 0, `experts in ${groups.count} groups`, w);
        expect(groups.kept <= groups.count, `at most ${groups.count} groups`, String(groups.kept));
      }
      for (const name of ["correction", "expert_scale"]) {
        const each = inputs.maybe(name);
        if (each) expect(String(each.shape) === String([experts]), `${name} [${experts}]`, each);
      }
      const shape = [x.shape[0], topK + shared];
      const choice: TensorType[] = [{ dtype: "i32", shape }, { dtype: "f32", shape }];
      return normEps === undefined ? choice : [...choice, x];
    },
    flops: (inputs, _attrs, bindings) =>
      2 * sizeOf(inputs.get("x"), bindings) * Number(inputs.get("w").shape[0]),
  },
  moe: {
    summary:
      "Σ over chosen experts of routing weight · expert(x), one weight per expert; ids outside [0, E) add nothing; packed weights have one scale input each (nvfp4 a second one), static activation rounding one input scale each",
    inputs: [
      "x",
      "selected_experts",
      "routing_weights",
      "w1[]",
      "w2[]",
      "w3[]",
      "b1[]",
      "b2[]",
      "b3[]",
      "w1_scale[]",
      "w2_scale[]",
      "w3_scale[]",
      "w1_scale_2[]",
      "w2_scale_2[]",
      "w3_scale_2[]",
      "w1_input_scale[]",
      "w2_input_scale[]",
      "w3_input_scale[]",
    ],
    infer(inputs, { mlp }) {
      const [w1, w2, w3] = ["w1", "w2", "w3"].map((name) => inputs.list(name));
      expect(
        w1.length > 0 && w1.length === w2.length,
        `${w1.length} w2 weights`,
        String(w2.length),
      );
      expect(
        w3.length === (mlp === "gated" ? w1.length : 0),
        `w3 weights of a ${mlp} mlp`,
        String(w3.length),
      );
      return [checkRouting(inputs)];
    },
    flops: (inputs, attrs, bindings) =>
      moeFlops(inputs, attrs, Number(inputs.list("w1")[0].shape[0]), bindings),
    weightShare: (inputs, _attrs, bindings) =>
      expertShare(inputs, inputs.list("w1").length, bindings),
  },
  fused_moe: {
    summary:
      "`moe` with stacked weights: w_up [E, 2I, H] (rows 0..I-1 are w3, rows I..2I-1 are w1; plain: [E, I, H]) and w_down [E, H, I], biases alike; adds residual. Packed: one grid of scales for every up, gate and down matrix, so w_up_scale is [2E, ..] (plain: [E, ..]); x_scale and act_scale are [1] or [E]",
    inputs: [
      "x",
      "selected_experts",
      "routing_weights",
      "w_up",
      "w_down",
      "b_up?",
      "b_down?",
      "residual?",
      "w_up_scale?",
      "w_up_scale_2?",
      "w_down_scale?",
      "w_down_scale_2?",
      "x_scale?",
      "act_scale?",
    ],
    infer(inputs, attrs) {
      const rows = attrs.intermediate * (attrs.mlp === "gated" ? 2 : 1);
      const up = inputs.get("w_up");
      expect(
        up.shape[0] === attrs.experts && up.shape[1] === rows,
        `w_up [${attrs.experts}, ${rows}, ..]`,
        up,
      );
      const down = inputs.get("w_down");
      expect(
        down.shape[0] === attrs.experts && down.shape[1] === attrs.hidden,
        `w_down [${attrs.experts}, ${attrs.hidden}, ..]`,
        down,
      );
      return [checkRouting(inputs)];
    },
    flops: (inputs, attrs, bindings) => moeFlops(inputs, attrs, attrs.intermediate, bindings),
    weightShare: (inputs, { experts }, bindings) => expertShare(inputs, experts, bindings),
  },
};

function moeFlops(
  inputs: OpInputs,
  attrs: MoeAttrs,
  intermediate: number,
  bindings: Readonly<Record<string, number>>,
): number {
  const topK = Number(inputs.get("selected_experts").shape[1]);
  const matrices = attrs.mlp === "gated" ? 3 : 2;
  return 2 * matrices * topK * intermediate * sizeOf(inputs.get("x"), bindings);
}

/** Part of the experts that are chosen at most: every choice of every token may be another one. */
function expertShare(
  inputs: OpInputs,
  experts: number,
  bindings: Readonly<Record<string, number>>,
): number {
  return Math.min(1, sizeOf(inputs.get("selected_experts"), bindings) / experts);
}
