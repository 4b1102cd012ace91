/**
 * A small fused MoE layer, and attention, on the device against the CPU. Drivers exist that compile
 * shaders wrongly; a model on such a driver writes nonsense, so the device is refused before it
 * loads one.
 *
 * @module
 */

import { type Bindings, DeviceError, type TensorSource } from "../../../graph/mod.ts";
import { openCpuExecutor } from "../../cpu/executor.ts";
import type { CompileOptions, Executor } from "../../executor.ts";
import { relativeDifference } from "./relative_difference.ts";
import { attentionCase, moeCase, type SelfTestCase } from "./self_test_graphs.ts";

/** Largest difference that is allowed, relative to the largest number: f32 sums in another order. */
const TOLERANCE = 1e-4;

const NO_TENSORS: TensorSource = {
  read: () => Promise.reject(new Error("the self-test reads no tensors")),
};

/**
 * Raises a {@linkcode DeviceError} when the executor and the CPU disagree. Without `attention` only
 * the MoE layer is tried: a software adapter takes seconds to compile attention, and its
 * workgroups do not race.
 */
export async function selfTest(executor: Executor, attention: boolean): Promise<void> {
  await runCase(executor, moeCase());
  if (attention) await runCase(executor, attentionCase());
}

async function runCase(executor: Executor, tried: SelfTestCase): Promise<void> {
  const { graph, steps, pages } = tried;
  const options: CompileOptions = {
    source: NO_TENSORS,
    maxTokens: Math.max(...steps),
    maxSequences: 1,
    pages,
    maxPagesPerSequence: Math.max(1, pages),
  };
  const cpu = openCpuExecutor();
  const expected = await cpu.compile(graph, options);
  const tested = await executor.compile(graph, options);
  try {
    for (const [step, T] of steps.entries()) {
      const inputs = tried.inputs(T, step);
      const sizes: Bindings = { T, S: 1, P: Math.max(1, pages) };
      const { y: wanted } = await expected.run(inputs, sizes);
      const { y: got } = await tested.run(inputs, sizes);
      const difference = relativeDifference(got, wanted);
      if (!(difference <= TOLERANCE)) throw wrongResults(executor, tried.what, T, difference);
    }
  } finally {
    tested.dispose();
    cpu.dispose();
  }
}

function wrongResults(
  executor: Executor,
  what: string,
  tokens: number,
  difference: number,
): DeviceError {
  return new DeviceError(
    "device/wrong-results",
    `Cannot use device "${executor.description}": expected ${what} of ${tokens} tokens within ${TOLERANCE} of the CPU, got a difference of ${difference}`,
    {
      hint: "Update the graphics driver, or use --executor cpu",
      details: { what, tokens, difference, tolerance: TOLERANCE },
    },
  );
}
