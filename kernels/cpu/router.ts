/**
 * The choice of experts on the CPU.
 *
 * @module
 */

import {
  type AttrsOf,
  type ExpertGroups,
  type HostTensor,
  invariant,
  routedExperts,
} from "../../graph/mod.ts";
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
  const { topK, shared = 0, sharedGate = false } = attrs;
  const [tokens, rows, slots] = [x.shape[0], w.shape[0], topK + shared];
  const experts = routedExperts(rows, attrs);
  const [correction, expertScale] = ["correction", "expert_scale"].map((name) => {
    const each = inputs.maybe(name);
    return each && floats(each);
  });
  invariant((norm === undefined) === (attrs.normEps === undefined), "normEps without norm_weight");
  const normed = norm && attrs.normEps !== undefined
    ? rmsNorm(floats(x), floats(norm), attrs.normEps)
    : floats(x);
  const matrix = { rows: plainRows(w), first: 0, count: rows };
  const logits = project(normed, tokens, matrix, bias && { values: floats(bias), start: 0 });
  const selected = i32Tensor([tokens, slots]);
  const weights = f32Tensor([tokens, slots]);
  const [ids, factors] = [integers(selected), floats(weights)];
  for (let t = 0; t < tokens; t++) {
    const own = logits.subarray(t * rows, t * rows + experts);
    const choice = route(own, attrs, correction);
    ids.set(choice.ids, t * slots);
    factors.set(
      expertScale ? choice.weights.map((w, i) => w * expertScale[choice.ids[i]]) : choice.weights,
      t * slots,
    );
    for (let i = 0; i < shared; i++) {
      ids[t * slots + topK + i] = experts + i;
      factors[t * slots + topK + i] = sharedGate ? sigmoid(logits[t * rows + experts]) : 1;
    }
  }
  return norm ? [selected, weights, f32Tensor(x.shape, normed)] : [selected, weights];
}

/** Experts and weights of one token from its router logits; scores are rounded to f32, as in HF. */
function route(
  logits: Floats,
  attrs: AttrsOf<"moe_router">,
  correction: Floats | undefined,
): { ids: number[]; weights: number[] } {
  const { topK, scoring, softmaxOver, renormalize, scale, logitScale = 1, groups } = attrs;
  const scaled = logitScale === 1 ? logits : logits.map((logit) => logit * logitScale);
  if (scoring === "sparse_mixer") return mixSparsely(scaled, topK, attrs.jitter ?? 0);
  const late = softmaxOver === "selected";
  const score = scoring === "sigmoid" ? (values: Floats) => values.map(sigmoid) : softmax;
  const scores = late ? scaled : score(scaled);
  const choice = correction ? scores.map((score, i) => score + correction[i]) : scores;
  const ids = largest(groups ? keepGroups(choice, groups) : choice, topK);
  const chosen = Float32Array.from(ids, (id) => scores[id]);
  const weights = late ? score(chosen) : chosen;
  const { normPower = 1 } = attrs;
  const powers = weights.reduce((total, weight) => total + weight ** normPower, 0);
  const sum = renormalize ? powers ** (1 / normPower) : 1;
  const divisor = Math.max(sum + (attrs.sumOffset ?? 0), attrs.sumFloor ?? 0);
  return {
    ids,
    weights: Array.from(weights, (weight) => (weight / (renormalize ? divisor : 1)) * scale),
  };
}

/** Scores with those outside of the best groups below all others. */
function keepGroups(scores: Floats, { count, kept, by }: ExpertGroups): Floats {
  const size = scores.length / count;
  const ranks = Float32Array.from({ length: count }, (_, group) => {
    const own = scores.subarray(group * size, (group + 1) * size);
    return largest(own, by === "best" ? 1 : Math.min(2, size)).reduce((sum, i) => sum + own[i], 0);
  });
  const best = new Set(largest(ranks, kept));
  return scores.map((score, i) => best.has(Math.floor(i / size)) ? score : -Infinity);
}

/** `sparse_mixer`: Phi-MoE's choice, https://huggingface.co/papers/2409.12136. */
export function mixSparsely(
  logits: Floats,
  topK: number,
  jitter: number,
): { ids: number[]; weights: number[] } {
  const ids: number[] = [];
  const weights: number[] = [];
  const left = logits.slice();
  for (let slot = 0; slot < topK; slot++) {
    // Where all that is left is -infinity, those that are taken are too.
    const best = largest(left, slot + 1).find((id) => !ids.includes(id));
    invariant(best !== undefined, "a token has as many experts as it takes");
    const top = left[best];
    const kept = left.map((logit, i) => {
      const distance = Math.fround(top - logits[i]) / Math.max(Math.abs(logits[i]), top);
      return distance > 2 * jitter ? -Infinity : logit;
    });
    ids.push(best);
    weights.push(softmax(kept)[best]);
    left[best] = -Infinity;
  }
  return { ids, weights };
}

/** The op of that name, for graphs whose router is not matched. */
export function sparseMixer({ inputs, attrs }: CpuCall<"sparse_mixer">): HostTensor[] {
  const x = inputs.get("x");
  const width = x.shape[x.shape.length - 1];
  const shape = x.shape.with(-1, attrs.topK);
  const [selected, weights] = [i32Tensor(shape), f32Tensor(shape)];
  const values = floats(x);
  for (let row = 0; row < values.length / width; row++) {
    const line = values.subarray(row * width, (row + 1) * width);
    const choice = mixSparsely(line, attrs.topK, attrs.jitter);
    integers(selected).set(choice.ids, row * attrs.topK);
    floats(weights).set(choice.weights, row * attrs.topK);
  }
  return [selected, weights];
}

function softmax(values: Floats): Floats {
  const max = values.reduce((a, b) => Math.max(a, b), -Infinity);
  const sum = values.reduce((total, value) => total + Math.exp(value - max), 0);
  return values.map((value) => Math.exp(value - max) / sum);
}
