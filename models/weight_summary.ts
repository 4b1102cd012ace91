/**
 * What a model's weights are, by what they do in it: for `inspect`. Reads nothing of them.
 *
 * @module
 */

import {
  elementCount,
  type Graph,
  input,
  isOp,
  type TensorWeight,
  type Value,
  type Weight,
  weightInputs,
} from "../graph/mod.ts";

/** Weights that do the same thing. */
export interface WeightKind {
  /** `experts`, `attention`, `embedding`, .. */
  readonly kind: string;
  readonly parameters: number;
  /** Those of them that one token is multiplied with. */
  readonly active: number;
  /** Bytes in the files, scales included. */
  readonly bytes: number;
  /** Formats they are kept in, and the parameters of each. */
  readonly formats: Readonly<Record<string, number>>;
}

/** All weights of a model. */
export interface WeightSummary {
  readonly kinds: readonly WeightKind[];
  readonly parameters: number;
  readonly active: number;
}

/** Kinds by the names of the graph's weights; the first that matches. */
const KINDS: readonly (readonly [kind: string, pattern: RegExp])[] = [
  ["experts", /\.experts\./],
  ["shared experts", /shared_(expert|mlp)/],
  ["embedding", /(^|[._])(embed|wte)/],
  ["head", /^lm_head\b/],
  ["routers", /\.(gate|router)(\.|$)/],
  ["norms", /norm[^.]*\.(weight|bias)$/],
  ["attention", /attn|attention/],
  ["state space and convolution", /mamba|mixer|conv|ssm/],
  ["dense MLP", /mlp|ffn|feed_forward/],
];

interface Sums {
  parameters: number;
  active: number;
  bytes: number;
  readonly formats: Record<string, number>;
}

/**
 * Counts the weights of an eager graph. `byteLength` gives the bytes of a tensor in the files; a tensor
 * that several weights read counts once.
 *
 * @example
 * ```ts
 * import { loadModel } from "./load_model.ts";
 * import { summarizeWeights } from "./weight_summary.ts";
 * const model = await loadModel("demo/storyteller");
 * const { kinds } = summarizeWeights(model.build().graph, model.config.num_experts_per_tok, () => 0);
 * console.assert(kinds[0].kind === "experts" && kinds[0].active < kinds[0].parameters);
 * await model.checkpoint.close();
 * ```
 */
export function summarizeWeights(
  graph: Graph,
  expertsPerToken: number | undefined,
  byteLength: (tensor: TensorWeight) => number,
): WeightSummary {
  const values = graph.weights.filter(({ weight }) => weight && weight.kind !== "constant");
  const counts = expertCounts(values);
  const chosen = chosenExperts(graph);
  const seen = new Set<Weight | string>();
  const kinds = new Map<string, Sums>();
  for (const { name, weight } of values) {
    if (!weight || seen.has(weight)) continue;
    seen.add(weight);
    const kind = KINDS.find(([, pattern]) => pattern.test(name))?.[0] ?? "other";
    const sums = kinds.get(kind) ?? { parameters: 0, active: 0, bytes: 0, formats: {} };
    kinds.set(kind, sums);
    const parameters = elementCount(weight.shape);
    const layer = layerOf(name);
    const perToken = chosen.get(layer ?? "") ?? expertsPerToken ?? 1;
    const share = layer === undefined ? 1 : perToken / (counts.get(layer) ?? 1);
    sums.parameters += parameters;
    sums.active += Math.min(1, share) * parameters;
    sums.formats[formatOf(weight)] = (sums.formats[formatOf(weight)] ?? 0) + parameters;
    for (const tensor of tensorsOf(weight)) {
      if (!seen.has(tensor.name)) sums.bytes += byteLength(tensor);
      seen.add(tensor.name);
    }
  }
  const list = [...kinds].map(([kind, sums]) => ({
    kind,
    ...sums,
    active: Math.round(sums.active),
  })).sort((a, b) => b.bytes - a.bytes || b.parameters - a.parameters);
  const total = (key: "parameters" | "active") => list.reduce((sum, each) => sum + each[key], 0);
  return { kinds: list, parameters: total("parameters"), active: total("active") };
}

/** The layers with experts. */
export interface LayerSummary {
  /** Layers that have experts. */
  readonly sparse: number;
  /** Experts of such a layer; several numbers where layers differ. */
  readonly experts: readonly number[];
  /** Experts that a token is sent to there, the same way. */
  readonly chosen: readonly number[];
}

/** Which layers of an eager graph have experts; undefined for a dense model. */
export function summarizeLayers(
  graph: Graph,
  expertsPerToken: number | undefined,
): LayerSummary | undefined {
  const counts = expertCounts(graph.weights);
  if (counts.size === 0) return undefined;
  const chosen = chosenExperts(graph);
  const numbers = (of: Iterable<number>) => [...new Set(of)].sort((a, b) => a - b);
  return {
    sparse: counts.size,
    experts: numbers(counts.values()),
    chosen: numbers([...counts.keys()].map((layer) => chosen.get(layer) ?? expertsPerToken ?? 1)),
  };
}

/** The layer of an expert's weight: what stands before its number, or before the stack's name. */
function layerOf(name: string): string | undefined {
  return /^(.*\.experts)\./.exec(name)?.[1];
}

/** Experts by layer: weights with numbers, or a stack of them. */
function expertCounts(values: readonly Value[]): Map<string, number> {
  const experts = new Map<string, Set<string>>();
  const stacks = new Map<string, number>();
  for (const { name, shape } of values) {
    const layer = layerOf(name);
    if (layer === undefined) continue;
    const number = /^\d+(?=\.)/.exec(name.slice(layer.length + 1))?.[0];
    if (number === undefined) stacks.set(layer, Number(shape[0]));
    else experts.set(layer, (experts.get(layer) ?? new Set()).add(number));
  }
  return new Map([...stacks, ...[...experts].map(([layer, { size }]) => [layer, size] as const)]);
}

/** Experts that a token is sent to, by layer, where a loop over them says so. */
function chosenExperts(graph: Graph): Map<string, number> {
  return new Map(
    graph.nodes.flatMap((node) =>
      isOp(node, "one_hot")
        ? [[`${node.scope}.experts`, Number(input(node, "ids").shape[1])] as const]
        : []
    ),
  );
}

/** The format that executors keep a weight in: that of the file where there is a kernel for it. */
function formatOf(weight: Weight): string {
  if (weight.kind === "dequantize") return weight.format;
  if (weight.kind === "grouped") return "f32, expanded";
  if (weight.kind === "cast" && weight.of.kind === "tensor") return weight.of.dtype;
  return weight.dtype;
}

function* tensorsOf(weight: Weight): Generator<TensorWeight> {
  if (weight.kind === "tensor") yield weight;
  else for (const part of weightInputs(weight)) yield* tensorsOf(part);
  if (weight.kind === "dequantize" && weight.inputScale) yield* tensorsOf(weight.inputScale);
}
