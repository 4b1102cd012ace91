/**
 * The choice of experts on the CPU.
 *
 * @module
 */

import { type AttrsOf, type HostTensor, invariant } from "../../graph/mod.ts";
import { sigmoid } from "./activation.ts";
import { project, rmsNorm } from "./linear.ts";
import type { CpuCall } from "./kernel.ts";
import { largest } from "./layout.ts";
import { f32Tensor, floats, i32Tensor, integers } from "./numbers.ts";
import { plainRows } from "./rows.ts";

type Floats = Float32Array<ArrayBuffer>;

/** `moe_router`: the experts of each token, their weights, and the normed input. */
export function moeRouter({ inputs, attrs }: CpuCall<"moe_router">): HostTensor[] {
  const [x, w] = [inputs.get("x"), inputs.get("w")];
  const [bias, norm] = [inputs.maybe("bias"), inputs.maybe("norm_weight")];
  const [tokens, experts, { topK }] = [x.shape[0], w.shape[0], attrs];
  invariant((norm === undefined) === (attrs.normEps === undefined), "normEps without norm_weight");
  const normed = norm && attrs.normEps !== undefined
    ? rmsNorm(floats(x), floats(norm), attrs.normEps)
    : floats(x);
  const matrix = { rows: plainRows(w), first: 0, count: experts };
  const logits = project(normed, tokens, matrix, bias && { values: floats(bias), start: 0 });
  const selected = i32Tensor([tokens, topK]);
  const weights = f32Tensor([tokens, topK]);
  const [ids, factors] = [integers(selected), floats(weights)];
  for (let t = 0; t < tokens; t++) {
    const choice = route(logits.subarray(t * experts, (t + 1) * experts), attrs);
    ids.set(choice.ids, t * topK);
    factors.set(choice.weights, t * topK);
  }
  return norm ? [selected, weights, f32Tensor(x.shape, normed)] : [selected, weights];
}

/** Experts and weights of one token from its router logits; scores are rounded to f32, as in HF. */
function route(logits: Floats, attrs: AttrsOf<"moe_router">): { ids: number[]; weights: number[] } {
  const { topK, scoring, softmaxOver, renormalize, scale } = attrs;
  const late = scoring === "softmax" && softmaxOver === "selected";
  const scores = scoring === "sigmoid" ? logits.map(sigmoid) : late ? logits : softmax(logits);
  const ids = largest(scores, topK);
  const chosen = Float32Array.from(ids, (id) => scores[id]);
  const weights = late ? softmax(chosen) : chosen;
  const sum = renormalize ? weights.reduce((total, weight) => total + weight, 0) : 1;
  return { ids, weights: Array.from(weights, (weight) => (weight / sum) * scale) };
}

function softmax(values: Floats): Floats {
  const max = values.reduce((a, b) => Math.max(a, b), -Infinity);
  const sum = values.reduce((total, value) => total + Math.exp(value - max), 0);
  return values.map((value) => Math.exp(value - max) / sum);
}
