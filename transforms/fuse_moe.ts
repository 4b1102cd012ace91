/**
 * `fuse_moe`: stacks the weights of all experts and hands the layer to a fused backend. Weights are
 * expressions, so stacking copies nothing. Every attribute and every bias is carried over.
 *
 * Before:
 * ```text
 * %1 = moe(x: x, selected_experts: ids, routing_weights: weights, w1: [..], w2: [..], w3: [..])
 *      {mlp: gated, activation: silu, applyRoutingOnInput: false}
 * ```
 * After, with rows 0..I-1 of `w_up` from w3 and rows I..2I-1 from w1:
 * ```text
 * %1 = fused_moe(x: x, selected_experts: ids, routing_weights: weights, w_up: @..[E, 2I, H],
 *      w_down: @..[E, H, I]) {.., backend: auto, experts: E, topK: K, hidden: H, intermediate: I,
 *      format: bf16, activationQuant: none}
 * ```
 *
 * @module
 */

import {
  concat,
  constant,
  type FusedMoeAttrs,
  type Graph,
  GraphBuilder,
  input,
  inputList,
  isOp,
  type Node,
  placeOf,
  replaceNode,
  stack,
  type Value,
  type Weight,
  type WeightFormat,
} from "../graph/mod.ts";
import {
  backendConfig,
  backendNotes,
  backendRefusal,
  chosenBackend,
  unusedOverrides,
} from "./moe_backend_choice.ts";
import { defineTransform, type NearMiss } from "./transform.ts";

interface Match {
  readonly moe: Node<"moe">;
  readonly attrs: FusedMoeAttrs;
}

const PLAIN_FORMATS: Readonly<Partial<Record<string, WeightFormat>>> = {
  f32: "f32",
  f16: "f16",
  bf16: "bf16",
};

const config = backendConfig({});

/** See the module's documentation. */
export const fuseMoe = defineTransform({
  key: "fuse_moe",
  stage: "post_load_fusion",
  summary: "Stack expert weights and replace `moe` by a fused backend",
  base: { after: ["match_moe_pattern"], expect_mem_change: true },
  get config() {
    return config();
  },
  plan(graph, config, context) {
    const moes = graph.nodes.filter((node) => isOp(node, "moe"))
      .filter(({ attrs }) => attrs.format === undefined);
    const matches: Match[] = [];
    const refusals: NearMiss[] = unusedOverrides(config, moes);
    for (const moe of moes) {
      const attrs = fusedAttrs(moe, chosenBackend(config, moe.scope));
      const reason = typeof attrs === "string" ? attrs : backendRefusal(moe, attrs, context);
      if (reason !== undefined) refusals.push({ node: placeOf(moe), reason });
      else if (typeof attrs !== "string") matches.push({ moe, attrs });
    }
    const expanded = moes.filter((moe) =>
      inputList(moe, "w1").some(({ weight }) => weight?.kind === "dequantize")
    );
    return {
      matches,
      refusals,
      notes: [
        ...backendNotes(matches.map(({ attrs }) => attrs.backend)),
        ...(expanded.length === 0 ? [] : [
          `${expanded.length} layers are quantized in the checkpoint and expanded: no quantize transform took them`,
        ]),
      ],
    };
  },
  apply(graph, plan) {
    for (const match of plan.matches) fuse(graph, match);
  },
});

/** Attributes of the fused node, or why it cannot be. */
function fusedAttrs(moe: Node<"moe">, backend: string): FusedMoeAttrs | string {
  const [w1, w2, w3] = ["w1", "w2", "w3"].map((name) => inputList(moe, name));
  const types = new Set([...w1, ...w2, ...w3].map((value) => value.dtype));
  const format = PLAIN_FORMATS[w1[0].dtype];
  if (types.size > 1) return `its weights are of several types: ${[...types].join(", ")}`;
  if (!format) return `its weights are ${w1[0].dtype}, which a quantize transform has to take`;
  for (const list of [w1, w2, w3]) {
    const odd = list.find((value) => String(value.shape) !== String(list[0].shape));
    if (odd) return `"${odd.name}" is [${odd.shape}], "${list[0].name}" is [${list[0].shape}]`;
  }
  return {
    ...moe.attrs,
    backend,
    experts: w1.length,
    topK: Number(input(moe, "selected_experts").shape[1]),
    hidden: Number(input(moe, "x").shape[1]),
    intermediate: Number(w1[0].shape[0]),
    format,
    activationQuant: "none",
  };
}

function fuse(graph: Graph, { moe, attrs }: Match): void {
  const b = new GraphBuilder(graph, { scope: moe.scope, before: graph.current(moe) });
  const { x, selected_experts, routing_weights } = graph.current(moe).inputs;
  const [w1, w2, w3, b1, b2, b3] = ["w1", "w2", "w3", "b1", "b2", "b3"].map((name) =>
    weightsOf(moe, name)
  );
  const rows = (parts: readonly Weight[][]) =>
    stack(w1.map((_, e) => concat(parts.map((part) => part[e]))));
  const zeros = () => w1.map(() => constant(new Float32Array(attrs.intermediate)));
  const filled = (biases: Weight[]) => biases.length > 0 ? biases : zeros();
  const gated = attrs.mlp === "gated";
  const biased = b1.length + b3.length > 0;
  const fused = b.op("fused_moe", {
    x,
    selected_experts,
    routing_weights,
    w_up: b.weight("w_up", rows(gated ? [w3, w1] : [w1])),
    w_down: b.weight("w_down", stack(w2)),
    b_up: biased ? b.weight("b_up", rows(gated ? [filled(b3), filled(b1)] : [b1])) : undefined,
    b_down: b2.length > 0 ? b.weight("b_down", stack(b2)) : undefined,
  }, attrs);
  replaceNode(graph, moe, fused);
}

function weightsOf(node: Node, name: string): Weight[] {
  return inputList(node, name).map((value: Value) => {
    if (value.weight) return value.weight;
    throw new TypeError(`"${value.name}" is no weight`);
  });
}
