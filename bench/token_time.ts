/**
 * Where the time of a step goes: its dispatches by what they compute, with the bytes that they must read.
 *
 * @module
 */

import type { DispatchTiming } from "../runtime/mod.ts";
import { summarize, type Summary } from "./statistics.ts";

/** What dispatches compute, in the order of a layer; the first that fits counts. */
const KINDS: readonly (readonly [kind: string, (dispatch: DispatchName) => boolean])[] = [
  ["norms", ({ kernel }) => /norm/.test(kernel) && !/^mla_/.test(kernel)],
  ["attention", ({ kernel }) => /^(attention|mla_|rope|dynamic_rope)/.test(kernel)],
  ["router", ({ kernel }) => /^router/.test(kernel)],
  ["experts, up", ({ kernel }) => /^moe_(gate_up|gemm_up|up)/.test(kernel)],
  ["experts, down", ({ kernel }) => /^moe_(down|gemm_down)/.test(kernel)],
  ["experts, rows", ({ kernel }) => /^moe_/.test(kernel)],
  ["head", ({ scope }) => /(^|\.)lm_head$/.test(scope)],
  ["output projection", ({ scope }) => /\.(o_proj|dense|out_proj)$/.test(scope)],
  ["q, k, v", ({ scope }) => /attn|attention/.test(scope)],
  ["other MLPs", ({ scope }) => /mlp|feed_forward/.test(scope)],
  ["sampling", ({ kernel }) => /^sample/.test(kernel)],
];

/** All kinds, in the order in which a token meets them. */
export const DISPATCH_KINDS = [
  ...["q, k, v", "attention", "output projection", "router", "experts, up", "experts, down"],
  ...["experts, rows", "other MLPs", "norms", "head", "sampling", "rest"],
] as const;

type DispatchName = Pick<DispatchTiming, "kernel" | "scope">;

/** All dispatches of one kind in a step. */
export interface KindTime {
  readonly kind: string;
  /** Layers that have such dispatches; 0 for those outside of layers. */
  readonly layers: number;
  readonly dispatches: number;
  /** Of all of them, over several profiled steps. */
  readonly seconds: Summary;
  /** Of each of its layers; of all of them for those outside. */
  readonly microsecondsPerLayer: number;
  /** Bytes of weights, and of the cache for attention. */
  readonly bytes: number;
}

/** A step, by what its dispatches compute. */
export interface StepTime {
  /** Sequences, tokens of each, and tokens before those. */
  readonly sequences: number;
  readonly tokens: number;
  readonly context: number;
  /** Sum over the dispatches, each of which was timed in a pass of its own. */
  readonly seconds: Summary;
  readonly dispatches: number;
  readonly kinds: readonly KindTime[];
}

/** What a dispatch computes. */
export function kindOf(dispatch: DispatchName): string {
  return KINDS.find(([, fits]) => fits(dispatch))?.[0] ?? "rest";
}

/**
 * Profiles of equal steps by kind. `cacheBytes` are those that attention reads in all layers together.
 */
export function stepTime(
  profiles: readonly (readonly DispatchTiming[])[],
  { sequences, tokens, context, cacheBytes }: {
    readonly sequences: number;
    readonly tokens: number;
    readonly context: number;
    readonly cacheBytes: number;
  },
): StepTime {
  const sums = profiles.map((profile) => sum(profile.map(({ seconds }) => seconds)));
  const kinds = DISPATCH_KINDS.flatMap((kind): KindTime[] => {
    const runs = profiles.map((profile) => profile.filter((each) => kindOf(each) === kind));
    const [members] = runs;
    if (members.length === 0) return [];
    const seconds = summarize(runs.map((run) => sum(run.map((each) => each.seconds))));
    const layers = layersOf(members);
    const bytes = sum(members.map(({ weightBytes }) => weightBytes)) +
      (kind === "attention" ? cacheBytes : 0);
    return [{
      ...{ kind, layers, dispatches: members.length, seconds, bytes },
      microsecondsPerLayer: seconds.median * 1e6 / Math.max(1, layers),
    }];
  });
  return {
    ...{ sequences, tokens, context, seconds: summarize(sums) },
    ...{ dispatches: profiles[0].length, kinds },
  };
}

/** Layers that the dispatches belong to. */
function layersOf(dispatches: readonly DispatchName[]): number {
  return new Set(dispatches.flatMap(({ scope }) => scope.match(/\.\d+(?=\.|$)/)?.[0] ?? [])).size;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, each) => total + each, 0);
}

/** A config's layers, each with the tokens that its attention looks back at. */
export function windowsOf(config: Readonly<Record<string, unknown>>): readonly number[] {
  const { num_hidden_layers: layers, layer_types: types, sliding_window: window } = config;
  return Array.from({ length: Number(layers) }, (_, i) => {
    const slides = Array.isArray(types) ? types[i] === "sliding_attention" : false;
    return slides ? Number(window) : Infinity;
  });
}

/** Bytes of keys and values that a token reads after `context` others. */
export function cacheBytesRead(
  windows: readonly number[],
  context: number,
  bytesPerTokenAndLayer: number,
): number {
  return sum(windows.map((window) => Math.min(context, window))) * bytesPerTokenAndLayer;
}
