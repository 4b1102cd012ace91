/**
 * A router and the layer of experts behind it, with random weights: what becomes of both together.
 *
 * @module
 */

import {
  type AttrsOf,
  bindShape,
  type FusedMoeAttrs,
  Graph,
  type HostArray,
  inferTypes,
  type Node,
  tensor,
  type Value,
} from "../../graph/mod.ts";
import {
  type DeviceProfile,
  type Dispatch,
  KERNELS,
  type LoweringContext,
} from "../../kernels/mod.ts";
import { lowerGraph, type LoweringNote } from "../../runtime/webgpu/plan/lower.ts";
import { activation, type OpInput, randomWeight } from "./op_case.ts";

type RouterAttrs = AttrsOf<"moe_router">;

/** What to vary. */
export interface RoutedCase extends Partial<Omit<RouterAttrs, "topK">> {
  readonly T?: number;
  readonly E: number;
  readonly K: number;
  readonly H?: number;
  readonly I?: number;
  /** Of the router's weight; f32 when absent. */
  readonly dtype?: "f32" | "bf16";
  /** Largest correction. */
  readonly correction?: number;
  readonly expertScale?: boolean;
  /** Of w; random when absent. */
  readonly w?: HostArray;
  readonly x?: HostArray;
  readonly bias?: HostArray;
  readonly seed?: number;
  readonly backend?: string;
  readonly layer?: Partial<FusedMoeAttrs>;
  /** Another node reads the chosen experts. */
  readonly watched?: boolean;
}

/** A router, the layer behind it, and what they read. */
export interface RoutedLayer {
  readonly graph: Graph;
  readonly router: Node<"moe_router">;
  readonly layer: Node<"fused_moe">;
  readonly data: ReadonlyMap<Value, HostArray>;
  readonly sizes: { T: number; R: number; S: number; P: number };
}

/** The graph of a case: its output is the result of the layer. */
export function routedLayer(c: RoutedCase): RoutedLayer {
  const { T = 1, E, K, H = 64, I = 12, seed = 1 } = c;
  const sizes = { T, R: 1, S: 1, P: 1 };
  const graph = new Graph("pair");
  const data = new Map<Value, HostArray>();
  const make = (name: string, each: OpInput): Value => {
    const value = each.weight
      ? graph.createWeight(name, tensor(name, each.dtype, bindShape(each.shape, {})))
      : graph.addInput(name, { dtype: each.dtype, shape: each.shape });
    data.set(value, each.data);
    return value;
  };
  const x = activation(["T", H], sizes, seed, 3);
  const { shared = 0, correction, expertScale = false } = c;
  const rows = E + (c.sharedGate ? 1 : 0);
  const w = randomWeight(c.dtype ?? "f32", [rows, H], seed + 1, 0.3);
  const attrs: RouterAttrs = {
    ...{ scoring: "softmax", softmaxOver: "all", renormalize: false, scale: 1, topK: K },
    ...routerAttrs(c),
  };
  const inputs = {
    x: make("x", { ...x, data: c.x ?? x.data }),
    w: make("w", { ...w, data: c.w ?? w.data }),
    ...(c.bias && {
      bias: make("bias", { dtype: "f32", shape: [rows], data: c.bias, weight: true }),
    }),
    ...(correction !== undefined && {
      correction: make("correction", randomWeight("f32", [E], seed + 5, correction)),
    }),
    ...(expertScale && { expert_scale: make("scale", randomWeight("f32", [E], seed + 6)) }),
    ...(c.normEps !== undefined && {
      norm_weight: make("norm", randomWeight("f32", [H], seed + 2)),
    }),
  };
  const types = inferTypes("moe_router", inputs, attrs);
  const router = graph.addNode({ op: "moe_router", inputs, attrs, types, scope: "router" });
  const moeAttrs: FusedMoeAttrs = {
    ...{ backend: c.backend ?? "auto", experts: E + shared, topK: K + shared },
    ...{ mlp: "gated", activation: "silu", applyRoutingOnInput: false, format: "bf16" },
    ...{ activationQuant: "none", hidden: H, intermediate: I },
    ...c.layer,
  };
  const moeInputs = {
    x: router.outputs[2] ?? inputs.x,
    selected_experts: router.outputs[0],
    routing_weights: router.outputs[1],
    w_up: make("w_up", randomWeight("bf16", [E + shared, 2 * I, H], seed + 3, 0.3)),
    w_down: make("w_down", randomWeight("bf16", [E + shared, H, I], seed + 4, 0.3)),
  };
  const layer = graph.addNode({
    op: "fused_moe",
    inputs: moeInputs,
    attrs: moeAttrs,
    types: inferTypes("fused_moe", moeInputs, moeAttrs),
    scope: "experts",
  });
  graph.setOutput("y", layer.outputs[0]);
  if (c.watched) {
    const read = { a: router.outputs[1], b: router.outputs[1] };
    const sum = graph.addNode({
      ...{ op: "add", inputs: read, attrs: {}, scope: "watcher" },
      types: inferTypes("add", read, {}),
    });
    graph.setOutput("sum", sum.outputs[0]);
  }
  return { graph, router, layer, data, sizes };
}

/** The attributes of a router that a case names. */
function routerAttrs(c: RoutedCase): Partial<RouterAttrs> {
  const { scoring, softmaxOver, renormalize, scale, normEps, groups, shared, sharedGate } = c;
  const { logitScale, sumFloor, sumOffset, normPower, jitter } = c;
  const all = { scoring, softmaxOver, renormalize, scale, normEps, groups, shared, sharedGate };
  const given = { ...all, logitScale, sumFloor, sumOffset, normPower, jitter };
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
}

/** Its dispatches on a device, and what kernels noted. */
export function lowerRouted(
  { graph, sizes }: RoutedLayer,
  profile: DeviceProfile,
  tokens = sizes.T,
  handOff: LoweringContext["handOff"] = "ticket",
): { readonly dispatches: readonly Dispatch[]; readonly notes: readonly LoweringNote[] } {
  const { dispatches, notes } = lowerGraph(graph.snapshot(), {
    ...{ kernels: KERNELS, profile, sizes: { ...sizes, T: tokens } },
    ...{ tokens: { min: 1, max: tokens }, handOff },
  });
  return { dispatches: dispatches.map(({ dispatch }) => dispatch), notes };
}
