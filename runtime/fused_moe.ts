/**
 * One MoE layer with no model around it: for authors of kernels, and for tests of backends.
 *
 * @module
 */

import {
  cast,
  concat,
  ConfigError,
  constant,
  elementCount,
  Graph,
  GraphBuilder,
  invariant,
  MOE_ACTIVATIONS,
  MOE_OPERANDS,
  type MoeActivation,
  type MoeOperands,
  tensor,
  type TensorSource,
  type Weight,
} from "../graph/mod.ts";
import { moeBackend, type MoeBackendName } from "../kernels/mod.ts";
import type { Executor } from "./executor.ts";
import { type ExecutorChoice, openExecutor } from "./executors.ts";

/** Elements of a tensor, row-major. */
export type Elements = Float32Array<ArrayBuffer> | Float16Array<ArrayBuffer>;

/** A layer and what goes in. T tokens, H hidden, I intermediate, E experts, K experts per token. */
export interface FusedMoeOptions {
  /** A kind, or an open executor, which stays open; default `auto`. */
  readonly executor?: ExecutorChoice | Executor;
  /** Implementation on WebGPU; the CPU executor has one. Default `auto`. */
  readonly backend?: MoeBackendName;
  /**
   * Type of the operands in workgroup memory, for many tokens on WebGPU; the CPU computes in f32.
   * `f16` rounds x and activations, and values above 65504 become infinite. Default `f32`.
   */
  readonly operands?: MoeOperands;
  /** T */
  readonly tokens: number;
  /** H, elements of a token. */
  readonly hidden: number;
  /** I, elements between an expert's two products. */
  readonly intermediate: number;
  /** E */
  readonly experts: number;
  /** K, slots of a token. */
  readonly topK: number;
  /** [T, H] */
  readonly x: Elements;
  /** [T, K]; an id outside [0, E) adds nothing. */
  readonly selectedExperts: Int32Array<ArrayBuffer>;
  /** [T, K] */
  readonly routingWeights: Elements;
  /** Gate, activated: [E, I, H]. All of w1, w2 and w3 have one element type. */
  readonly w1: Elements;
  /** Down: [E, H, I] */
  readonly w2: Elements;
  /** Up: [E, I, H]; gated experts have one. */
  readonly w3?: Elements;
  /** [E, I] */
  readonly b1?: Elements;
  /** [E, H] */
  readonly b2?: Elements;
  /** [E, I] */
  readonly b3?: Elements;
  /** `gated`: w2 · (act(w1 · x) ⊙ (w3 · x)); `plain`: w2 · act(w1 · x). Default by the presence of w3. */
  readonly mlp?: "gated" | "plain";
  /** Default `silu`. */
  readonly activation?: MoeActivation;
  /** Of `swiglu_oai`; default 1.702. */
  readonly alpha?: number;
  /** Of `swiglu_oai`; default 7. */
  readonly limit?: number;
  /** The routing weight multiplies the expert's input instead of its output. */
  readonly applyRoutingOnInput?: boolean;
}

/**
 * Computes `Σ over chosen experts of routing weight · expert(x)`, [T, H], accumulated in f32.
 *
 * @throws {ConfigError} for sizes that do not fit, and unknown backends.
 * @throws {KernelError} when the backend cannot serve the layer, with its reason: for `operands: "f16"`
 * a device without `shader-f16`.
 *
 * @example
 * ```ts
 * import { fusedMoe } from "./fused_moe.ts";
 * const y = await fusedMoe({
 *   executor: "cpu",
 *   ...{ tokens: 1, hidden: 2, intermediate: 1, experts: 2, topK: 1 },
 *   x: new Float32Array([1, 2]),
 *   selectedExperts: new Int32Array([1]),
 *   routingWeights: new Float32Array([0.5]),
 *   w1: new Float32Array([0, 0, 3, 0]), // [E, I, H]
 *   w2: new Float32Array([0, 0, 1, 2]), // [E, H, I]
 *   activation: "relu2",
 * });
 * console.assert(String(y) === "4.5,9"); // 0.5 * [1, 2] * relu(3 * 1)²
 * ```
 */
export async function fusedMoe(options: FusedMoeOptions): Promise<Float32Array<ArrayBuffer>> {
  const layer = checkLayer(options);
  const { executor = "auto" } = options;
  if (typeof executor !== "string") return await runLayer(layer, executor);
  const opened = (await openExecutor(executor)).executor;
  try {
    return await runLayer(layer, opened);
  } finally {
    opened.dispose();
  }
}

/** Options with their defaults, and the weights that were given. */
type Layer =
  & FusedMoeOptions
  & Required<Pick<FusedMoeOptions, "backend" | "mlp" | "activation" | "applyRoutingOnInput">>
  & { readonly weights: ReadonlyMap<string, WeightInput> };

/** A weight as it was given. */
interface WeightInput {
  readonly data: Elements;
  readonly shape: readonly number[];
}

async function runLayer(layer: Layer, executor: Executor): Promise<Float32Array<ArrayBuffer>> {
  const { tokens } = layer;
  const program = await executor.compile(buildLayer(layer), {
    source: sourceOf(layer),
    maxTokens: tokens,
    maxSequences: 1,
    pages: 0,
    maxPagesPerSequence: 1,
  });
  try {
    const { y } = await program.run({
      x: toF32(layer.x),
      selected_experts: layer.selectedExperts,
      routing_weights: toF32(layer.routingWeights),
    }, { T: tokens });
    invariant(y instanceof Float32Array, "a MoE layer gives f32");
    return y;
  } finally {
    program.dispose();
  }
}

/** The graph of the layer: one `fused_moe`, its weights stacked as `fuse_moe` stacks them. */
function buildLayer(layer: Layer): Graph {
  const { hidden, intermediate, experts, topK, mlp, activation, alpha, limit, operands } = layer;
  const b = new GraphBuilder(new Graph("fused_moe"));
  const weightOf = (name: string): Weight | undefined => {
    const input = layer.weights.get(name);
    return input && tensor(name, dtypeOf(input.data), input.shape);
  };
  const pick = (...names: readonly string[]) =>
    names.map(weightOf).filter((weight) => weight !== undefined);
  const zeros = () => constant(new Float32Array(experts * intermediate), [experts, intermediate]);
  const bias = (name: string) => {
    const weight = weightOf(name);
    return weight && cast(weight, "f32");
  };
  const [b1, b2, b3] = [bias("b1"), bias("b2"), bias("b3")];
  const biasUp = b1 === undefined && b3 === undefined
    ? undefined
    : concat(mlp === "gated" ? [b3 ?? zeros(), b1 ?? zeros()] : [b1 ?? zeros()], 1);
  const y = b.op("fused_moe", {
    x: b.input("x", { dtype: "f32", shape: ["T", hidden] }),
    selected_experts: b.input("selected_experts", { dtype: "i32", shape: ["T", topK] }),
    routing_weights: b.input("routing_weights", { dtype: "f32", shape: ["T", topK] }),
    w_up: b.weight("w_up", concat(mlp === "gated" ? pick("w3", "w1") : pick("w1"), 1)),
    w_down: b.weight("w_down", concat(pick("w2"))),
    b_up: biasUp && b.weight("b_up", biasUp),
    b_down: b2 && b.weight("b_down", b2),
  }, {
    backend: layer.backend,
    ...{ mlp, activation, experts, topK, hidden, intermediate },
    ...(alpha !== undefined && { alpha }),
    ...(limit !== undefined && { limit }),
    applyRoutingOnInput: layer.applyRoutingOnInput,
    format: dtypeOf(layer.w1),
    activationQuant: "none",
    ...(operands !== undefined && { operands }),
  });
  b.graph.setOutput("y", y);
  return b.graph;
}

/** The arrays of the caller, as a checkpoint. */
function sourceOf({ weights }: Layer): TensorSource {
  return {
    read(name, byteOffset, byteLength) {
      const data = weights.get(name)?.data;
      invariant(data, `the layer has no weight "${name}"`);
      return Promise.resolve(new Uint8Array(data.buffer, data.byteOffset + byteOffset, byteLength));
    },
  };
}

/** Fills in defaults, and checks names, sizes and the length of every array. */
function checkLayer(options: FusedMoeOptions): Layer {
  const { tokens, hidden, intermediate, experts, topK, x, selectedExperts, routingWeights, w3 } =
    options;
  const sizes = Object.entries({ tokens, hidden, intermediate, experts, topK });
  for (const [name, size] of sizes) {
    if (!Number.isInteger(size) || size < 1) throw wrongInput(name, "a whole number above 0", size);
  }
  const { mlp = w3 ? "gated" : "plain", backend = "auto", activation = "silu" } = options;
  moeBackend(backend);
  if (!MOE_ACTIVATIONS.includes(activation)) {
    throw wrongInput("activation", MOE_ACTIVATIONS.join(", "), activation);
  }
  if (options.operands !== undefined && !MOE_OPERANDS.includes(options.operands)) {
    throw wrongInput("operands", MOE_OPERANDS.join(", "), options.operands);
  }
  if ((w3 !== undefined) !== (mlp === "gated")) {
    const expected = mlp === "gated" ? "an up projection, as experts are gated" : "none";
    throw wrongInput("w3", expected, w3 ? `one, with mlp "${mlp}"` : "none");
  }
  checkLength("x", x, [tokens, hidden]);
  checkLength("selectedExperts", selectedExperts, [tokens, topK]);
  checkLength("routingWeights", routingWeights, [tokens, topK]);
  const { applyRoutingOnInput = false } = options;
  const weights = checkWeights(options);
  return { ...options, mlp, backend, activation, applyRoutingOnInput, weights };
}

/** The weights that were given, with their shapes. */
function checkWeights(options: FusedMoeOptions): Layer["weights"] {
  const { hidden: H, intermediate: I, experts: E } = options;
  const shapes = {
    w1: [E, I, H],
    w2: [E, H, I],
    w3: [E, I, H],
    b1: [E, I],
    b2: [E, H],
    b3: [E, I],
  };
  const weights = new Map<string, WeightInput>();
  for (const name of ["w1", "w2", "w3", "b1", "b2", "b3"] as const) {
    const data = options[name];
    if (data === undefined) continue;
    checkLength(name, data, shapes[name]);
    if (name.startsWith("w") && dtypeOf(data) !== dtypeOf(options.w1)) {
      throw wrongInput(name, `${dtypeOf(options.w1)}, as w1`, dtypeOf(data));
    }
    weights.set(name, { data, shape: shapes[name] });
  }
  return weights;
}

function checkLength(name: string, data: ArrayLike<number>, shape: readonly number[]): void {
  const count = elementCount(shape);
  if (data.length === count) return;
  throw wrongInput(name, `${count} elements [${shape.join(", ")}]`, data.length);
}

function wrongInput(name: string, expected: string, got: unknown): ConfigError {
  return new ConfigError(
    "config/moe-layer",
    `Cannot run a MoE layer with "${name}": expected ${expected}, got ${got}`,
    { details: { name } },
  );
}

function dtypeOf(data: Elements): "f16" | "f32" {
  return data instanceof Float32Array ? "f32" : "f16";
}

function toF32(data: Elements): Float32Array<ArrayBuffer> {
  return data instanceof Float32Array ? data : Float32Array.from(data);
}
