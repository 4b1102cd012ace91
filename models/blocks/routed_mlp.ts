/**
 * The sparse MLP of most families since DeepSeek-V3: scores with a correction that takes part in the
 * choice alone, groups of experts, and a shared expert. Names of tensors differ, and exporters'
 * names too.
 *
 * @module
 */

import type { Activation, ExpertGroups, GraphBuilder, Weight } from "../../graph/mod.ts";
import { cast, reshape } from "../../graph/mod.ts";
import { denseMlp, type MlpBuilder, type SharedExpertSpec, sparseMlp } from "./moe_block.ts";
import {
  type ExpertSource,
  type ModelWeights,
  PROJECTION_NAMES,
} from "../weights/model_weights.ts";
import type { RouterSpec } from "./moe_router.ts";

/** What a routed MLP reads and how it chooses. */
export interface RoutedMlpSpec {
  readonly experts: number;
  readonly hidden: number;
  readonly intermediate: number;
  readonly topK: number;
  readonly scoring: RouterSpec["scoring"];
  readonly activation: Activation;
  /** Names of the router's matrix below the module; the first that is there counts. */
  readonly gates?: readonly string[];
  /** Names of the correction; absent: there is none. */
  readonly corrections?: readonly string[];
  readonly source?: ExpertSource;
  readonly groups?: ExpertGroups | undefined;
  readonly renormalize?: RouterSpec["renormalize"];
  readonly scale?: number;
  readonly jitter?: number;
  readonly logitCap?: number;
  readonly shared?: {
    /** Names of the shared expert's module. */
    readonly names: readonly string[];
    /** 0 with biases alone: the last of them is all that such an MLP gives. */
    readonly intermediate: number;
    readonly bias?: boolean;
    /** Name of the module whose sigmoid multiplies it. */
    readonly gate?: string;
  } | undefined;
}

/** Names of the correction in DeepSeek's files. */
export const CORRECTION = ["gate.e_score_correction_bias"];

/** Reads a routed MLP below the first of `modules` that has it; the result builds it. */
export function routedMlp(
  weights: ModelWeights,
  modules: readonly string[],
  spec: RoutedMlpSpec,
): MlpBuilder {
  const { experts, hidden, gates = ["gate"], source = PROJECTION_NAMES, activation } = spec;
  const candidates = modules.flatMap((module) =>
    gates.map((gate) => ({ module, gate, name: `${module}.${gate}.weight` }))
  );
  const name = weights.findName(candidates.map(({ name }) => name));
  const found = candidates.find((each) => each.name === name) ?? candidates[0];
  const { module, gate } = found;
  const { topK, scoring, groups, renormalize, scale, jitter, logitCap } = spec;
  return sparseMlp({
    ...{ experts, hidden, intermediate: spec.intermediate, activation },
    router: {
      name: gate,
      weight: weights.matrix(`${module}.${gate}`, experts, hidden),
      ...{ topK, scoring, groups },
      ...(spec.corrections && { correction: correctionOf(weights, module, spec) }),
      ...(renormalize !== undefined && { renormalize }),
      ...(scale !== undefined && { scale }),
      ...(jitter !== undefined && { jitter }),
      ...(logitCap !== undefined && { logitCap }),
    },
    weights: weights.experts(module, source, spec),
    shared: sharedOf(weights, module, spec),
  });
}

/** [E] in f32; Ernie keeps it as [1, E]. */
function correctionOf(
  weights: ModelWeights,
  module: string,
  { corrections = [], experts }: RoutedMlpSpec,
): Weight {
  const name = weights.findName(corrections.map((each) => `${module}.${each}`));
  const rows = weights.shapeOf(name).length === 2 ? [1, experts] : [experts];
  return reshape(cast(weights.tensor(name, rows), "f32"), [experts]);
}

function sharedOf(weights: ModelWeights, module: string, spec: RoutedMlpSpec) {
  const { shared, hidden, activation } = spec;
  if (!shared || (shared.intermediate === 0 && !shared.bias)) return undefined;
  const paths = shared.names.map((name) => `${module}.${name}`);
  const { intermediate, bias = false, gate } = shared;
  if (intermediate === 0) return biasAlone(weights, paths, hidden);
  const path = weights.findModule(paths, "down_proj.weight");
  return {
    name: path.slice(module.length + 1),
    build: denseMlp(weights, path, { hidden, intermediate, activation, bias }),
    ...(gate !== undefined && {
      gate: { name: gate, weight: weights.matrix(`${module}.${gate}`, 1, hidden) },
    }),
  };
}

/** A shared MLP of no width, of which its last bias is left. */
export function biasAlone(
  weights: ModelWeights,
  paths: readonly string[],
  hidden: number,
): SharedExpertSpec {
  const name = weights.findName(paths.map((path) => `${path}.down_proj.bias`));
  const bias = weights.vector(name, hidden);
  return { name: "shared_experts", build: (b: GraphBuilder) => b.weight("bias", bias) };
}

/** The groups of a config; with one group of which one is kept there are none. */
export function groupsOf(
  count: number | undefined,
  kept: number | undefined,
  by: ExpertGroups["by"],
): ExpertGroups | undefined {
  if (count === undefined || kept === undefined || count === 1) return undefined;
  return { count, kept, by };
}
