/**
 * `fuse_swiglu`: accepted for AutoDeploy's files. There it replaces the matched MLP by a kernel for
 * gate, up and activation; here `gated_mlp` is that kernel already.
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import { isOp } from "../../graph/mod.ts";
import { accepted } from "../core/accepted.ts";
import { defineTransform } from "../core/transform.ts";

/** See the module's documentation. */
export const fuseSwiglu = defineTransform({
  key: "fuse_swiglu",
  stage: "post_load_fusion",
  summary: "Accepted for AutoDeploy's files; `gated_mlp` is one kernel for gate, up and activation",
  base: { enabled: false, after: ["match_swiglu_pattern"] },
  config: z.object({
    swiglu_backend: z.enum(["auto", "fused", "triton", "torch"]).default("auto").describe(
      accepted("WebGPU has one implementation"),
    ),
  }),
  plan(graph) {
    const count = graph.nodes.filter((node) => isOp(node, "gated_mlp")).length;
    return {
      matches: [],
      notes: [`${count} gated_mlp nodes run gate, up and activation in one kernel already`],
    };
  },
  apply() {},
});
