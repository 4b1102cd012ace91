/**
 * A small fused MoE layer on the device against the CPU. Drivers exist that compile shaders wrongly;
 * a model on one writes nonsense at full speed, so such a device is refused before it loads one.
 *
 * @module
 */

import {
  cast,
  constant,
  DeviceError,
  Graph,
  GraphBuilder,
  type TensorSource,
  type Weight,
} from "../../graph/mod.ts";
import { openCpuExecutor } from "../cpu/executor.ts";
import type { CompileOptions, Executor } from "../executor.ts";

const SIZES = { hidden: 64, intermediate: 32, experts: 4, topK: 2 };

/** Steps that are tried: one token takes other kernels than many. */
const STEPS = [1, 24];

/** Largest difference that is allowed, relative to the largest number: f32 sums in another order. */
const TOLERANCE = 1e-4;

const NO_TENSORS: TensorSource = {
  read: () => Promise.reject(new Error("the self-test reads no tensors")),
};

const OPTIONS: CompileOptions = {
  source: NO_TENSORS,
  maxTokens: Math.max(...STEPS),
  maxSequences: 1,
  pages: 0,
  maxPagesPerSequence: 1,
};

/** Raises a {@linkcode DeviceError} when the executor and the CPU disagree. */
export async function selfTest(executor: Executor): Promise<void> {
  const graph = selfTestGraph();
  const cpu = openCpuExecutor();
  const expected = await cpu.compile(graph, OPTIONS);
  const tested = await executor.compile(graph, OPTIONS);
  try {
    for (const T of STEPS) {
      const x = pseudoRandom(T * SIZES.hidden, T);
      const [{ y: wanted }, { y: got }] = [
        await expected.run({ x }, { T }),
        await tested.run({ x }, { T }),
      ];
      const difference = relativeDifference(wanted, got);
      if (!(difference <= TOLERANCE)) throw wrongResults(executor, T, difference);
    }
  } finally {
    tested.dispose();
    cpu.dispose();
  }
}

/** One layer: router with its norm, experts, residual. */
export function selfTestGraph(): Graph {
  const { hidden, intermediate, experts, topK } = SIZES;
  const b = new GraphBuilder(new Graph("self-test"), { scope: "self_test" });
  const x = b.input("x", { dtype: "f32", shape: ["T", hidden] });
  const { outputs: [selected, weights, normed] } = b.node("moe_router", {
    x,
    w: b.weight("gate", bf16([experts, hidden], 1)),
    norm_weight: b.weight("norm", constant(pseudoRandom(hidden, 2))),
  }, {
    topK,
    scoring: "softmax",
    softmaxOver: "all",
    renormalize: true,
    scale: 1,
    normEps: 1e-6,
  });
  const y = b.op("fused_moe", {
    x: normed,
    selected_experts: selected,
    routing_weights: weights,
    w_up: b.weight("w_up", bf16([experts, 2 * intermediate, hidden], 3)),
    w_down: b.weight("w_down", bf16([experts, hidden, intermediate], 4)),
    residual: x,
  }, {
    mlp: "gated",
    activation: "silu",
    applyRoutingOnInput: false,
    backend: "auto",
    experts,
    topK,
    hidden,
    intermediate,
    format: "bf16",
    activationQuant: "none",
  });
  b.graph.setOutput("y", y);
  return b.graph;
}

function bf16(shape: readonly number[], seed: number): Weight {
  const count = shape.reduce((product, size) => product * size, 1);
  return cast(constant(pseudoRandom(count, seed), shape), "bf16");
}

/** Numbers in [-1, 1) that are the same everywhere. */
function pseudoRandom(count: number, seed: number): Float32Array<ArrayBuffer> {
  let state = seed;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

function relativeDifference(wanted: ArrayLike<number>, got: ArrayLike<number>): number {
  let [difference, largest] = [0, 0];
  for (let i = 0; i < wanted.length; i++) {
    // Math.max gives NaN for NaN, which no tolerance lets pass.
    difference = Math.max(difference, Math.abs(wanted[i] - got[i]));
    largest = Math.max(largest, Math.abs(wanted[i]));
  }
  return difference / largest;
}

function wrongResults(executor: Executor, tokens: number, difference: number): DeviceError {
  return new DeviceError(
    "device/wrong-results",
    `Cannot use device "${executor.description}": expected a MoE layer of ${tokens} tokens within ${TOLERANCE} of the CPU, got a difference of ${difference}`,
    {
      hint: "Update the graphics driver, or use --executor cpu",
      details: { tokens, difference, tolerance: TOLERANCE },
    },
  );
}
