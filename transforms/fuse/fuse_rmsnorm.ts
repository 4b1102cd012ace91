/**
 * `fuse_rmsnorm`: a norm moves into the linear layers, or the router, that read it. Where a router
 * reads it, the other readers (the experts) take the normed value from the router's third output.
 *
 * Before:
 * ```text
 * %1 = rms_norm(x: h, w: @norm) {eps: 1e-6}
 * %2, %3 = moe_router(x: %1, w: @gate) {..}
 * %4 = fused_moe(x: %1, selected_experts: %2, routing_weights: %3, ..)
 * ```
 * After:
 * ```text
 * %1, %2, %3 = moe_router(x: h, w: @gate, norm_weight: @norm) {.., normEps: 1e-6}
 * %4 = fused_moe(x: %3, selected_experts: %1, routing_weights: %2, ..)
 * ```
 * and `linear(rms_norm(h))` becomes `fused_linear(x: h, .., norm_weight: @norm) {normEps: 1e-6}`.
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import {
  findMatches,
  type Graph,
  GraphBuilder,
  input,
  isOp,
  type Node,
  type Probe,
  replaceNode,
  type Value,
} from "../../graph/mod.ts";
import { accepted } from "../core/accepted.ts";
import { defineTransform } from "../core/transform.ts";

type Linear = Node<"linear"> | Node<"fused_linear">;

type Match =
  & { readonly norm: Node<"rms_norm"> }
  & ({ readonly router: Node<"moe_router"> } | { readonly linears: readonly Linear[] });

/** AutoDeploy's names of CUDA kernels. */
const BACKENDS = ["auto", "flashinfer", "triton", "torch"] as const;

/** See the module's documentation. */
export const fuseRmsnorm = defineTransform({
  key: "fuse_rmsnorm",
  stage: "post_load_fusion",
  summary: "Move RMSNorm into the linear layers or the router that read it",
  base: { after: ["fuse_gemms"] },
  config: z.object({
    rmsnorm_backend: z.enum(BACKENDS).default("auto").describe(
      accepted("WebGPU has one implementation"),
    ),
    gated_rmsnorm_backend: z.enum(BACKENDS).default("auto").describe(
      accepted("no architecture here has a gated norm"),
    ),
  }),
  plan(graph, config) {
    const notes = config.rmsnorm_backend === "auto" ? [] : [
      `rmsnorm_backend "${config.rmsnorm_backend}" names a CUDA kernel: WebGPU has one implementation, which is used`,
    ];
    return { ...findMatches(graph, "rms_norm", matchReaders), notes };
  },
  apply(graph, plan) {
    for (const match of plan.matches) {
      if ("router" in match) foldIntoRouter(graph, match.norm, match.router);
      else for (const linear of match.linears) foldIntoLinear(graph, match.norm, linear);
    }
    // A reader of the normed value may come before the router, which makes the value now.
    graph.sortTopologically();
  },
});

function matchReaders(probe: Probe, norm: Node<"rms_norm">): Match {
  const normed = norm.outputs[0];
  const users = probe.graph.users(normed);
  const routers = users.filter((user) => isOp(user, "moe_router"));
  const linears = users.filter((user) => isLinear(user));
  if (routers.length + linears.length > 0) probe.recognised();
  else probe.fail(norm, "no linear layer reads it");
  probe.check(!probe.graph.isOutput(normed), norm, "its result is an output of the graph");
  if (routers.length > 0) {
    const [router] = routers;
    probe.check(routers.length === 1, norm, "several routers read it");
    probe.check(router.attrs.normEps === undefined, router, "it has a norm already");
    return { norm, router };
  }
  const other = users.find((user) => !isLinear(user));
  if (other) probe.fail(norm, `besides linear layers, ${other.op} reads it`);
  const taken = linears.find((linear) => hasNorm(linear) || input(linear, "x").id !== normed.id);
  if (taken) probe.fail(taken, "it has a norm already, or reads the normed value as its residual");
  return { norm, linears };
}

function isLinear(node: Node): node is Linear {
  return isOp(node, "linear") || isOp(node, "fused_linear");
}

function hasNorm(node: Linear): boolean {
  return isOp(node, "fused_linear") && node.attrs.normEps !== undefined;
}

function foldIntoLinear(graph: Graph, norm: Node<"rms_norm">, linear: Linear): void {
  const { inputs, scope } = graph.current(linear);
  const current = graph.current(norm);
  const b = new GraphBuilder(graph, { scope, before: graph.current(linear) });
  const fused = b.op("fused_linear", {
    ...inputs,
    x: input(current, "x"),
    norm_weight: input(current, "w"),
  }, { ...linear.attrs, normEps: norm.attrs.eps });
  replaceNode(graph, linear, fused);
}

function foldIntoRouter(graph: Graph, norm: Node<"rms_norm">, router: Node<"moe_router">): void {
  const { inputs, scope } = graph.current(router);
  const current = graph.current(norm);
  const b = new GraphBuilder(graph, { scope, before: graph.current(router) });
  const { outputs } = b.node("moe_router", {
    ...inputs,
    x: input(current, "x"),
    norm_weight: input(current, "w"),
  }, { ...router.attrs, normEps: norm.attrs.eps });
  const [selected, weights, normed]: readonly Value[] = outputs;
  replaceNode(graph, router, selected, weights);
  replaceNode(graph, norm, normed);
}
