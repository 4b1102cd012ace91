/**
 * Mixture-of-experts and dense MLP blocks of eager graphs.
 *
 * @module
 */

import type { Activation, GraphBuilder, Value, Weight } from "../../graph/mod.ts";
import { activate } from "./activation.ts";
import { linear } from "./basic.ts";
import type {
  ExpertSizes,
  ExpertSource,
  ExpertWeights,
  ModelWeights,
} from "../weights/model_weights.ts";
import { route, type RouterSpec, type Routing } from "./moe_router.ts";

/** Biases of an MLP's projections, named as its weights. */
export type MlpBiases = { readonly [Name in "b1" | "b2" | "b3"]?: Weight | undefined };

/** `w2 · (act(w1 · x) ⊙ (w3 · x))`. */
export function gatedMlp(
  b: GraphBuilder,
  x: Value,
  { w1, w2, w3, b1, b2, b3 }: ExpertWeights & MlpBiases,
  activation: Activation = "silu",
): Value {
  const gate = activate(b, linear(b, "gate_proj", x, w1, b1), activation);
  const up = linear(b, "up_proj", x, w3, b3);
  return linear(b, "down_proj", b.op("mul", { a: gate, b: up }), w2, b2);
}

/** The MLP of one expert: from its tokens [n, H] to their outputs [n, H]. */
export type ExpertMlp = (b: GraphBuilder, x: Value, expert: number) => Value;

/**
 * transformers' loop over experts: each finds its (slot, token) pairs, reads its tokens, and adds
 * its weighted outputs to their rows.
 */
export function expertLoop(
  b: GraphBuilder,
  x: Value,
  { selected, weights }: Routing,
  experts: number,
  mlp: ExpertMlp,
): Value {
  const oneHot = b.op("one_hot", { ids: selected }, { classes: experts });
  const mask = b.op("transpose", { x: oneHot }, { dims: [0, 2] }); // [E, K, T]
  let sum = b.op("zeros_like", { x });
  for (let expert = 0; expert < experts; expert++) {
    const own = b.op("select", { x: mask }, { dim: 0, index: expert });
    const symbol = `n_${b.scope}.${expert}`;
    const [slots, tokens] = b.node("where", { mask: own }, { symbol }).outputs;
    const rows = b.op("index", { x, rows: tokens });
    const output = b.within(`experts.${expert}`, () => mlp(b, rows, expert));
    const routing = b.op("index", { x: weights, rows: tokens, columns: slots });
    const column = b.op("unsqueeze", { x: routing }, { dim: -1 });
    const weighted = b.op("mul", { a: output, b: column });
    sum = b.op("index_add", { x: sum, rows: tokens, source: weighted });
  }
  return sum;
}

/** Adds the nodes of an MLP block to its normed input [T, H]. */
export type MlpBuilder = (b: GraphBuilder, x: Value) => Value;

/** An MLP that every token goes through, besides the experts that it chooses. */
export interface SharedExpertSpec {
  /** Name of its module. */
  readonly name: string;
  readonly build: MlpBuilder;
  /** [1, H]: its output is multiplied with sigmoid(gate · x) (Qwen2-MoE). */
  readonly gate?: { readonly name: string; readonly weight: Weight };
}

/** A sparse MLP whose experts are gated MLPs. */
export interface SparseMlpSpec extends ExpertSizes {
  readonly router: RouterSpec;
  readonly weights: readonly ExpertWeights[];
  readonly activation?: Activation;
  readonly shared?: SharedExpertSpec | undefined;
}

/** Builds a sparse MLP: the router, the loop over experts, and what is shared. */
export function sparseMlp(spec: SparseMlpSpec): MlpBuilder {
  return (b, x) => {
    const routed = expertLoop(
      b,
      x,
      route(b, x, spec.router),
      spec.experts,
      (b, rows, expert) => gatedMlp(b, rows, spec.weights[expert], spec.activation),
    );
    const { shared } = spec;
    if (!shared) return routed;
    return b.op("add", { a: routed, b: sharedOutput(b, x, shared) });
  };
}

/** What the shared expert adds. */
export function sharedOutput(b: GraphBuilder, x: Value, shared: SharedExpertSpec): Value {
  const output = b.within(shared.name, () => shared.build(b, x));
  if (!shared.gate) return output;
  const gate = b.op("sigmoid", { x: linear(b, shared.gate.name, x, shared.gate.weight) });
  return b.op("mul", { a: gate, b: output });
}

/** A softmax router over experts as Mixtral, Qwen3 and OLMoE have them. */
export interface SoftmaxMlpSpec extends ExpertSizes {
  /** Modules that may hold `gate` and `experts`; exporters differ. */
  readonly modules: readonly string[];
  /** How the checkpoint names its experts. */
  readonly source: ExpertSource;
  /** Experts that a token is sent to. */
  readonly topK: number;
  /** Chosen weights are divided by their sum. */
  readonly renormalize: boolean;
  /** Of the gate; default silu. */
  readonly activation?: Activation;
}

/** Reads the weights of a sparse MLP with a softmax router; the result builds it. */
export function softmaxMlp(weights: ModelWeights, spec: SoftmaxMlpSpec): MlpBuilder {
  const { modules, source, topK, renormalize, ...rest } = spec;
  const module = weights.findModule(modules, "gate.weight");
  const weight = weights.matrix(`${module}.gate`, spec.experts, spec.hidden);
  return sparseMlp({
    ...rest,
    router: { weight, topK, scoring: "softmax", renormalize },
    weights: weights.experts(module, source, spec),
  });
}

/** What a dense MLP may differ in. */
export interface DenseMlpSpec {
  readonly hidden: number;
  readonly intermediate: number;
  readonly activation?: Activation;
  readonly bias?: boolean;
}

/** Reads the weights of a dense MLP; the result builds it. */
export function denseMlp(
  weights: ModelWeights,
  module: string,
  { hidden, intermediate, activation, bias = false }: DenseMlpSpec,
): MlpBuilder {
  const biasOf = (name: string, size: number) =>
    bias ? weights.vector(`${module}.${name}.bias`, size) : undefined;
  const mlp = {
    w1: weights.matrix(`${module}.gate_proj`, intermediate, hidden),
    w2: weights.matrix(`${module}.down_proj`, hidden, intermediate),
    w3: weights.matrix(`${module}.up_proj`, intermediate, hidden),
    b1: biasOf("gate_proj", intermediate),
    b2: biasOf("down_proj", hidden),
    b3: biasOf("up_proj", intermediate),
  };
  return (b, x) => gatedMlp(b, x, mlp, activation);
}
