/**
 * `fuse_add_rms_norm`: a residual addition and the norm of the sum become one op with both results.
 *
 * Before:
 * ```text
 * %1 = add(a: x, b: residual)
 * %2 = rms_norm(x: %1, w: @norm) {eps: 1e-6}
 * ```
 * After:
 * ```text
 * %1, %2 = add_rms_norm(x: x, residual: residual, w: @norm) {eps: 1e-6}      (normed, sum)
 * ```
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import {
  findMatches,
  GraphBuilder,
  input,
  isOp,
  type Node,
  type Probe,
  replaceNode,
  sameShape,
} from "../../graph/mod.ts";
import { defineTransform } from "../core/transform.ts";

interface Match {
  readonly add: Node;
  readonly norm: Node<"rms_norm">;
}

/** See the module's documentation. */
export const fuseAddRmsNorm = defineTransform({
  key: "fuse_add_rms_norm",
  stage: "post_load_fusion",
  summary: "Join a residual addition and the norm behind it",
  base: { after: ["fuse_rmsnorm", "fuse_residual"] },
  config: z.object({}),
  plan: (graph) => findMatches(graph, "add", matchAdd),
  apply(graph, plan) {
    for (const { add, norm } of plan.matches) {
      const before = graph.current(add);
      const b = new GraphBuilder(graph, { scope: norm.scope, before });
      const { outputs: [normed, sum] } = b.node("add_rms_norm", {
        x: input(before, "a"),
        residual: input(before, "b"),
        w: input(graph.current(norm), "w"),
      }, norm.attrs);
      replaceNode(graph, norm, normed);
      replaceNode(graph, add, sum);
    }
  },
});

function matchAdd(probe: Probe, add: Node<"add">): Match {
  const norms = probe.graph.users(add.outputs[0]).filter((user) => isOp(user, "rms_norm"));
  if (norms.length === 0) probe.fail(add, "no norm reads the sum");
  probe.recognised();
  probe.check(norms.length === 1, add, "several norms read the sum");
  const equal = sameShape(input(add, "a").shape, input(add, "b").shape);
  probe.check(equal, add, "its operands have different shapes");
  return { add, norm: norms[0] };
}
