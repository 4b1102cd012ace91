/**
 * `fuse_residual`: a residual addition moves into the op that makes one of its operands.
 *
 * Before:
 * ```text
 * %1 = linear(x: x, w: @o_proj)
 * %2 = add(a: h, b: %1)
 * ```
 * After:
 * ```text
 * %1 = fused_linear(x: x, w: @o_proj, residual: h)
 * ```
 * The same for `fused_linear`, `fused_moe` and `gated_mlp`. In a chain of sums, such as routed
 * experts + shared expert + residual, each addition finds an op of its own.
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import {
  type Graph,
  GraphBuilder,
  input,
  isOp,
  labelNode,
  type NearMiss,
  type Node,
  replaceNode,
  sameShape,
  type Value,
} from "../../graph/mod.ts";
import { defineTransform } from "../core/transform.ts";

/** Ops with a residual input, and `linear`, which becomes one. */
type Carrier = Node<"linear"> | Node<"fused_linear"> | Node<"fused_moe"> | Node<"gated_mlp">;

interface Match {
  readonly add: Node<"add">;
  readonly carrier: Carrier;
  /** The operand that the carrier makes; the other one becomes its residual. */
  readonly summed: "a" | "b";
}

/** See the module's documentation. */
export const fuseResidual = defineTransform({
  key: "fuse_residual",
  stage: "post_load_fusion",
  summary: "Move residual additions into the linear, MLP or MoE op in front of them",
  base: { after: ["fuse_moe", "fuse_rmsnorm"] },
  config: z.object({}),
  plan(graph) {
    const matches: Match[] = [];
    const nearMisses: NearMiss[] = [];
    const search = new CarrierSearch(graph);
    for (const node of graph.nodes) {
      search.offer(node);
      if (!isOp(node, "add")) continue;
      const found = search.take(node);
      if (found === undefined) continue;
      if ("reason" in found) nearMisses.push(found);
      else matches.push(found);
    }
    return { matches, nearMisses };
  },
  apply(graph, plan) {
    for (const match of plan.matches) fold(graph, match);
    // A residual that moved into an earlier op may be made after it.
    graph.sortTopologically();
  },
});

/** For each value, the ops among its summands that can still take a residual. */
class CarrierSearch {
  readonly #free = new Map<number, readonly Carrier[]>();

  constructor(readonly graph: Graph) {}

  offer(node: Node): void {
    if (isCarrier(node) && node.inputs.residual === undefined) {
      this.#free.set(node.outputs[0].id, [node]);
    }
  }

  /** Takes the last carrier under a sum; the remaining ones are left for the next sum of a chain. */
  take(add: Node<"add">): Match | NearMiss | undefined {
    const [a, b] = [input(add, "a"), input(add, "b")];
    const [left, right] = [this.#under(a), this.#under(b)];
    const summed = right.length > 0 ? "b" : "a";
    const chosen = [...left, ...right].at(-1);
    if (!chosen) return this.#nearMiss(add);
    if (a.id === b.id || !sameShape(a.shape, b.shape)) {
      return {
        node: labelNode(add),
        reason: "its operands have different shapes, or are the same",
      };
    }
    const rest = [...left, ...right].filter((each) => each !== chosen);
    this.#free.set(add.outputs[0].id, rest);
    return { add, carrier: chosen, summed };
  }

  /** The value may change only where it has no other reader. */
  #under(value: Value): readonly Carrier[] {
    const alone = this.graph.users(value).length === 1 && !this.graph.isOutput(value);
    return alone ? this.#free.get(value.id) ?? [] : [];
  }

  #nearMiss(add: Node<"add">): NearMiss | undefined {
    const operands = [input(add, "a"), input(add, "b")];
    const shared = operands.find((value) => this.#free.has(value.id));
    const reason = shared && `the result of ${this.graph.producer(shared)?.op} has other readers`;
    return reason === undefined ? undefined : { node: labelNode(add), reason };
  }
}

function isCarrier(node: Node): node is Carrier {
  return isOp(node, "linear") || isOp(node, "fused_linear") || isOp(node, "fused_moe") ||
    isOp(node, "gated_mlp");
}

function fold(graph: Graph, { add, carrier, summed }: Match): void {
  const residual = input(graph.current(add), summed === "a" ? "b" : "a");
  const b = new GraphBuilder(graph, { scope: carrier.scope, before: graph.current(add) });
  replaceNode(graph, carrier, withResidual(b, graph.current(carrier), residual));
  const current = graph.current(add);
  replaceNode(graph, current, input(current, summed));
}

function withResidual(b: GraphBuilder, node: Node, residual: Value): Value {
  const inputs = { ...node.inputs, residual };
  if (isOp(node, "fused_moe")) return b.op("fused_moe", inputs, node.attrs);
  if (isOp(node, "gated_mlp")) return b.op("gated_mlp", inputs, node.attrs);
  const linear = isOp(node, "linear") || isOp(node, "fused_linear");
  return b.op("fused_linear", inputs, linear ? node.attrs : {});
}
