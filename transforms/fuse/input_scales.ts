/**
 * Input scales of FP8 experts, from the calibration of the checkpoint. An expert layer reads its input
 * once for all experts, so one scale for all is the simplest; checkpoints have one for every matrix.
 *
 * | policy | what the layer rounds with |
 * | --- | --- |
 * | `per_expert` | each expert's own scale, as in the checkpoint |
 * | `same` | the scale that all experts share; a refusal where they differ |
 * | `max` | the largest scale of all experts: coarser rounding, no more saturation |
 *
 * @module
 */

import {
  constant,
  type HostTensor,
  inputList,
  labelNode,
  type Node,
  type Weight,
} from "../../graph/mod.ts";
import { loadWeight } from "../../models/mod.ts";
import { weightOf } from "../quantize/packed_weights.ts";
import type { Refusal, TransformContext } from "../core/transform.ts";

/** Which scale rounds the input of an expert. */
export type InputScalePolicy = "per_expert" | "same" | "max";

/** Scales of a fused layer, [1] or [E] each. */
export interface InputScales {
  /** Of the layer's input. */
  readonly x: Weight;
  /** Of the activated product. */
  readonly act: Weight;
}

/** What {@linkcode planInputScales} finds. */
export interface InputScalePlan {
  readonly byNode: ReadonlyMap<number, InputScales>;
  readonly refusals: readonly Refusal[];
  readonly notes: readonly string[];
}

/** One input scale per expert, with AutoDeploy's name for it in messages. */
interface ScaleList {
  readonly name: "w1" | "w2" | "w3";
  readonly values: Float32Array;
}

/** Reads the input scales of the layers that round statically, a few numbers each. */
export async function planInputScales(
  moes: readonly Node<"moe">[],
  policy: InputScalePolicy,
  context: TransformContext,
): Promise<InputScalePlan> {
  const byNode = new Map<number, InputScales>();
  const refusals: Refusal[] = [];
  let [changed, largest] = [0, 0];
  for (const moe of moes.filter(({ attrs }) => attrs.activationQuant === "static")) {
    const lists = await readScales(moe, context);
    const [w1, w2, w3] = (["w1", "w2", "w3"] as const).map((name) =>
      lists.filter((list) => list.name === name)
    );
    const products = [[...w1, ...w3], w2];
    const reason = products.map((product) => refusal(product, policy)).find((each) => each);
    if (reason !== undefined) {
      refusals.push({ node: labelNode(moe), reason });
      continue;
    }
    const [x, act] = products.map((product) => constant(merge(product, policy)));
    byNode.set(moe.id, { x, act });
    if (policy !== "max") continue;
    const worst = Math.max(...products.map(largestChange));
    if (worst > 0) changed++;
    largest = Math.max(largest, worst);
  }
  const notes = changed === 0 ? [] : [
    `Input scales differ between the experts of ${changed} ${
      changed === 1 ? "layer" : "layers"
    }: the largest one rounds them all, up to ${
      largest.toPrecision(3)
    } times an expert's own; input_scale_policy: per_expert keeps each`,
  ];
  return { byNode, refusals, notes };
}

async function readScales(moe: Node<"moe">, context: TransformContext): Promise<ScaleList[]> {
  const { checkpoint } = context.model;
  const lists: ScaleList[] = [];
  for (const name of ["w1", "w2", "w3"] as const) {
    const values = inputList(moe, `${name}_input_scale`);
    if (values.length === 0) continue;
    const tensors = await Promise.all(
      values.map((value) => loadWeight(weightOf(value), checkpoint)),
    );
    lists.push({ name, values: Float32Array.from(tensors, firstNumber) });
  }
  return lists;
}

function firstNumber({ data }: HostTensor): number {
  return Number(data[0]);
}

/** Why the scales of the input of one product do not fit the policy. */
function refusal(product: readonly ScaleList[], policy: InputScalePolicy): string | undefined {
  if (policy === "same") {
    for (const { name, values } of product) {
      const reference = product[0];
      const odd = values.findIndex((value) => value !== reference.values[0]);
      if (odd < 0) continue;
      return `all ${reference.name} input scales should have the same value: ${name} of expert ${odd} has ${
        values[odd]
      }, ${reference.name} of expert 0 has ${
        reference.values[0]
      }; allow_different_input_scales: true uses the max, input_scale_policy: per_expert keeps each`;
    }
  }
  const [first, second] = product;
  if (policy !== "per_expert" || !second) return undefined;
  const odd = first.values.findIndex((value, e) => value !== second.values[e]);
  if (odd < 0) return undefined;
  return `${first.name} and ${second.name} of expert ${odd} round the same input with ${
    first.values[odd]
  } and ${second.values[odd]}; allow_different_input_scales: true uses the max`;
}

/** The scales of the input of one product: one for all experts, or one per expert. */
function merge(product: readonly ScaleList[], policy: InputScalePolicy): Float32Array {
  if (policy === "max") return Float32Array.of(largestOf(product));
  const [{ values }] = product;
  return values.every((value) => value === values[0]) ? values.slice(0, 1) : values;
}

function largestOf(product: readonly ScaleList[]): number {
  return Math.max(...product.flatMap(({ values }) => [...values]));
}

/** The largest ratio of the scale in use to an expert's own, or 0 when all are equal. */
function largestChange(product: readonly ScaleList[]): number {
  const smallest = Math.min(...product.flatMap(({ values }) => [...values]));
  const largest = largestOf(product);
  return smallest === largest ? 0 : largest / smallest;
}
