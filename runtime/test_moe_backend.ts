/**
 * The suite for MoE backends: layers of all kinds with random weights against the CPU reference.
 *
 * @module
 */

import { KernelError, MOE_ACTIVATIONS, type WeightFormat } from "../graph/mod.ts";
import type { DeviceMoeSpec, DeviceProfile, MoeBackend } from "../kernels/mod.ts";
import { PipelineCache } from "./webgpu/device/pipelines.ts";
import type { Executor } from "./executor.ts";
import { openWebGpuExecutor, WebGpuExecutor } from "./webgpu/executor.ts";
import {
  type BackendCase,
  compareBackend,
  describeCase,
} from "./webgpu/measure/compare_backend.ts";
import { randomSource } from "./webgpu/measure/moe_trial_data.ts";

/** What {@linkcode testMoeBackend} takes. */
export interface TestMoeBackendOptions {
  /** An open executor on WebGPU, which stays open; default one that is opened for the suite. */
  readonly executor?: Executor;
  /** Of the random sizes, weights and choices; default 1. */
  readonly seed?: number;
  /** Layers of random kinds and sizes besides the fixed ones; default 24. */
  readonly cases?: number;
}

/** What a backend did with one layer. */
export interface MoeBackendRow {
  /** The layer in words. */
  readonly layer: string;
  /** Largest difference to the CPU, relative to the largest number of the layer's output. */
  readonly difference?: number;
  /** Why the backend does not serve the layer. */
  readonly refused?: string;
}

const FORMATS: readonly WeightFormat[] = [
  "f32",
  "bf16",
  "f16",
  "int8",
  "int4",
  "mxfp4",
  "fp8_e4m3",
];
const TOKENS = [1, 2, 5, 16, 33];

/**
 * Runs a backend on layers of all kinds: one token and many, odd sizes, every activation, biases,
 * residuals, plain and packed weights, empty experts, experts that get every token, large numbers.
 * The backend need not be registered. Layers that it refuses are left out.
 *
 * @throws {KernelError} `kernel/backend-wrong` with the first layer that it computes wrong and the
 * largest difference, `kernel/backend-dispatch` for dispatches that cannot be right, and
 * `kernel/backend-refuses` when it serves no layer at all.
 * @throws {DeviceError} without a GPU.
 *
 * @example
 * ```ts ignore
 * Deno.test("mine computes what the reference does", async () => {
 *   await testMoeBackend(mine);
 * });
 * ```
 */
export async function testMoeBackend(
  backend: MoeBackend,
  { executor, seed = 1, cases = 24 }: TestMoeBackendOptions = {},
): Promise<readonly MoeBackendRow[]> {
  const opened = executor ?? await openWebGpuExecutor({ selfTest: false });
  if (!(opened instanceof WebGpuExecutor)) {
    throw new KernelError(
      "kernel/backend-executor",
      `Cannot test MoE backend "${backend.name}": expected an executor on WebGPU, got ${opened.kind}`,
      { hint: 'Open it with openExecutor("webgpu")' },
    );
  }
  const { device } = opened;
  const pipelines = new PipelineCache(device);
  const rows: MoeBackendRow[] = [];
  try {
    for (const tried of backendCases(device.profile, seed, cases)) {
      const result = await compareBackend(backend, device, tried, pipelines);
      rows.push({ layer: describeCase(tried.spec, tried.tokens, tried.routing), ...result });
    }
  } finally {
    if (!executor) opened.dispose();
  }
  if (rows.some(({ refused }) => refused === undefined)) return rows;
  throw new KernelError(
    "kernel/backend-refuses",
    `Cannot test MoE backend "${backend.name}": expected at least one layer that it serves, got none of ${rows.length}`,
    { hint: `Look at supports(): it says "${rows[0]?.refused}"` },
  );
}

/** Plain gated layers of several sizes of steps first, then layers of random kinds. */
function backendCases(profile: DeviceProfile, seed: number, count: number): BackendCase[] {
  const random = randomSource(seed);
  const pick = <Item>(items: readonly Item[]): Item => items[Math.floor(random() * items.length)];
  const sizes = { hidden: 64, intermediate: 32, experts: 8, topK: 2 };
  const fixed = (["f32", "bf16", "f16"] as const).flatMap((format) =>
    TOKENS.map((tokens) => ({ spec: specOf(profile, { ...sizes, format }, tokens), tokens, seed }))
  );
  const crowded = fixed.map((each) => ({ ...each, routing: "crowded" as const, inputScale: 256 }));
  const others = Array.from({ length: count }, (_, i): BackendCase => {
    const format = pick(FORMATS);
    // Packed formats have blocks of 32 columns; plain rows may have any even length.
    const size = () =>
      format.length > 4 || format.startsWith("int")
        ? 32 * pick([1, 2, 3, 5])
        : 2 * pick([3, 8, 17, 33, 50]);
    const experts = pick([1, 3, 8, 17]);
    const mlp = pick(["gated", "gated", "plain"] as const);
    const gatedOnly = mlp === "gated"
      ? MOE_ACTIVATIONS
      : MOE_ACTIVATIONS.filter((name) => name !== "swiglu_oai");
    const tokens = pick(TOKENS);
    const own = {
      ...{ format, mlp, experts, hidden: size(), intermediate: size() },
      activation: pick(gatedOnly),
      topK: Math.min(experts, pick([1, 2, 4])),
      biasUp: random() < 0.3,
      biasDown: random() < 0.3,
      residual: random() < 0.3,
      applyRoutingOnInput: random() < 0.2,
    };
    return {
      spec: specOf(profile, own, tokens),
      tokens,
      seed: seed + i,
      routing: pick(["spread", "spread", "crowded"] as const),
      inputScale: pick([1, 1, 1e-3, 64]),
    };
  });
  return [...fixed, ...crowded, ...others];
}

function specOf(
  profile: DeviceProfile,
  own: Pick<DeviceMoeSpec, "hidden" | "intermediate" | "experts" | "topK"> & Partial<DeviceMoeSpec>,
  tokens: number,
): DeviceMoeSpec {
  return {
    scope: "test",
    tokens: tokens === 1 ? { min: 1, max: 1 } : { min: 2, max: tokens },
    ...{ mlp: "gated", activation: "silu", alpha: 1.702, limit: 7 },
    ...{ applyRoutingOnInput: false, biasUp: false, biasDown: false, residual: false },
    ...{ format: "bf16", activationQuant: "none", operands: "f32" },
    profile,
    ...own,
  };
}
