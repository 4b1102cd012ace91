/**
 * A MoE backend against the CPU reference, on a layer with random weights: the check of a backend's
 * first use on a device, and the suite that authors run.
 *
 * @module
 */

import { type Graph, isOp, KernelError } from "../../../graph/mod.ts";
import {
  BUILTIN_BACKENDS,
  compileMoeLayer,
  type DeviceMoeSpec,
  type MoeBackend,
  moeBackend,
  moeSpecOf,
  type TunedFiles,
} from "../../../kernels/mod.ts";
import type { WebGpuDevice } from "../device/device.ts";
import type { PipelineCache } from "../device/pipelines.ts";
import { MoeTrial, type MoeTrialOptions } from "./moe_trial.ts";

/** Largest difference that is allowed, relative to the largest number of the reference. */
const TOLERANCE = { exact: 1e-4, rounded: 2e-3 };

/** Sizes above this are cut to it, and to the same remainder, so that a tile's edge stays an edge. */
const CHECKED_SIZE = 256;
const CHECKED_EXPERTS = 8;

/** A layer, and how it is filled. */
export interface BackendCase extends Pick<MoeTrialOptions, "seed" | "inputScale" | "routing"> {
  readonly spec: DeviceMoeSpec;
  readonly tokens: number;
}

/** How far a backend is from the reference: relative to its largest number; or why it refuses. */
export type BackendResult = { readonly difference: number } | { readonly refused: string };

/**
 * Runs one case.
 *
 * @throws {KernelError} `kernel/backend-wrong` with the case and the largest difference, and what is
 * raised for dispatches that cannot run.
 */
export async function compareBackend(
  backend: MoeBackend,
  device: WebGpuDevice,
  tried: BackendCase,
  pipelines: PipelineCache,
): Promise<BackendResult> {
  const { spec, tokens, ...filling } = tried;
  const trial = await MoeTrial.create(device, spec, tokens, {
    ...filling,
    pipelines,
    cacheBytes: 0,
  });
  try {
    const dispatches = compileMoeLayer(backend, spec, trial.values);
    if (typeof dispatches === "string") return { refused: dispatches };
    const layer = await trial.prepare(dispatches);
    // First another choice of experts: nothing of it may be left in the second result.
    await trial.output(layer, 1);
    const got = await trial.output(layer);
    const worst = worstOf(got, trial.cpuLayer(tokens)());
    const isExact = spec.operands === "f32" && spec.activationQuant === "none";
    const tolerance = isExact ? TOLERANCE.exact : TOLERANCE.rounded;
    if (worst.difference <= tolerance) return { difference: worst.difference };
    throw wrongResults(backend, device, tried, tolerance, worst);
  } finally {
    trial.dispose();
  }
}

/** A number that is furthest from the reference. */
interface Worst {
  readonly difference: number;
  readonly at: number;
  readonly got: number;
  readonly expected: number;
}

function worstOf(got: Float32Array, expected: Float32Array): Worst {
  const largest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  let worst: Worst = { difference: 0, at: 0, got: got[0], expected: expected[0] };
  for (let at = 0; at < expected.length; at++) {
    const off = Math.abs(got[at] - expected[at]) / (largest || 1);
    const difference = Number.isNaN(off) ? Infinity : off;
    if (difference > worst.difference) {
      worst = { difference, at, got: got[at], expected: expected[at] };
    }
  }
  return worst;
}

function wrongResults(
  backend: MoeBackend,
  device: WebGpuDevice,
  { spec, tokens, routing, inputScale }: BackendCase,
  tolerance: number,
  { difference, at, got, expected }: Worst,
): KernelError {
  const [row, column] = [Math.floor(at / spec.hidden), at % spec.hidden];
  const layer = describeCase(spec, tokens, routing);
  return new KernelError(
    "kernel/backend-wrong",
    `Cannot use MoE backend "${backend.name}" on "${device.profile.description}": expected ${layer} within ${tolerance} of the CPU reference, got a largest difference of ${
      difference.toPrecision(3)
    } (token ${row}, column ${column}: ${got} instead of ${expected})`,
    {
      hint: "Mend the backend: testMoeBackend() tries many layers; or choose another backend",
      details: { backend: backend.name, layer, tolerance, difference, inputScale: inputScale ?? 1 },
    },
  );
}

/** A case in words. */
export function describeCase(
  spec: DeviceMoeSpec,
  tokens: number,
  routing: BackendCase["routing"] = "spread",
): string {
  const { hidden, intermediate, experts, topK, mlp, activation, format } = spec;
  const extras = [
    spec.biasUp && "bias up",
    spec.biasDown && "bias down",
    spec.residual && "residual",
    spec.applyRoutingOnInput && "routing on the input",
    routing === "crowded" && "all tokens to the same experts",
  ].filter((each) => each !== false);
  return [
    `a layer of ${tokens} tokens, hidden ${hidden}, intermediate ${intermediate}, ${topK} of ${experts} experts, ${format}, ${mlp} ${activation}`,
    ...extras,
  ].join(", ");
}

/** The backends that a device has been seen to compute right with. */
export class BackendChecks {
  readonly #done = new Set<string>();

  constructor(
    readonly device: WebGpuDevice,
    readonly pipelines: PipelineCache,
    readonly tuned: TunedFiles,
  ) {}

  /**
   * Checks the first layer of each kind in a graph, cut to a small size; ours are covered by the
   * start-up self-test.
   *
   * @throws {KernelError} see {@linkcode compareBackend}.
   */
  async check(graph: Graph): Promise<void> {
    for (const node of graph.nodes) {
      if (!isOp(node, "fused_moe") || BUILTIN_BACKENDS.has(node.attrs.backend)) continue;
      const backend = moeBackend(node.attrs.backend);
      const context = {
        profile: this.device.profile,
        tokens: { min: 1, max: 1 },
        tuned: this.tuned,
      };
      const spec = { ...moeSpecOf(node, context), profile: this.device.profile };
      const key = JSON.stringify([backend.name, { ...spec, scope: "", profile: "", tuned: "" }]);
      if (this.#done.has(key)) continue;
      await this.#checkLayer(backend, spec);
      this.#done.add(key);
    }
  }

  async #checkLayer(backend: MoeBackend, spec: DeviceMoeSpec): Promise<void> {
    for (const [tokens, routing] of [[1, "spread"], [5, "spread"], [8, "crowded"]] as const) {
      const range = tokens === 1 ? { min: 1, max: 1 } : { min: 2, max: 8 };
      // A layer whose own size is refused is refused when it is lowered, with the reason.
      for (const sized of [smallSpec(spec), spec]) {
        const tried = { spec: { ...sized, tokens: range }, tokens, routing };
        const result = await compareBackend(backend, this.device, tried, this.pipelines);
        if ("difference" in result) break;
      }
    }
  }
}

/** The same layer with fewer rows, columns and experts. Scales of activations are left out. */
function smallSpec(spec: DeviceMoeSpec): DeviceMoeSpec {
  const cut = (size: number) =>
    size <= 2 * CHECKED_SIZE ? size : CHECKED_SIZE + size % CHECKED_SIZE;
  return {
    ...spec,
    hidden: cut(spec.hidden),
    intermediate: cut(spec.intermediate),
    experts: Math.min(spec.experts, Math.max(spec.topK, CHECKED_EXPERTS)),
    ...(spec.activationQuant === "static" && { activationQuant: "none" }),
  };
}
