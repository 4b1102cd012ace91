/**
 * `gather_logits_before_lm_head`: only rows whose logits are wanted go through the last norm and
 * the output projection.
 *
 * Before:
 * ```text
 * %1 = rms_norm(x: h, w: @model.norm.weight)
 * %2 = linear(x: %1, w: @lm_head.weight)                       f32[T, V]
 * return logits = %2
 * ```
 * After:
 * ```text
 * %1 = gather_rows(x: h, rows: logits_rows)
 * %2 = rms_norm(x: %1, w: @model.norm.weight)
 * %3 = linear(x: %2, w: @lm_head.weight)                       f32[R, V]
 * return logits = %3
 * ```
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import {
  attempt,
  GraphBuilder,
  input,
  isOp,
  type Node,
  nodeInputs,
  type Probe,
  type Value,
} from "../../graph/mod.ts";
import { defineTransform } from "../core/transform.ts";

interface Tail {
  /** The value whose rows are picked. */
  readonly hidden: Value;
  /** The nodes to repeat for the picked rows, in order. */
  readonly nodes: readonly Node[];
}

/** See the module's documentation. */
export const gatherLogitsBeforeLmHead = defineTransform({
  key: "gather_logits_before_lm_head",
  stage: "post_load_fusion",
  summary: "Make logits only for the rows that are wanted",
  base: { before: ["fuse_rmsnorm", "fuse_add_rms_norm"] },
  config: z.object({}),
  plan(graph) {
    const logits = graph.outputs.get("logits");
    if (!logits) return { matches: [], notes: ['The graph has no output "logits"'] };
    const found = attempt(graph, (probe) => matchTail(probe, logits));
    if ("match" in found) return { matches: [found.match] };
    return { matches: [], nearMisses: found.miss ? [found.miss] : [] };
  },
  apply(graph, { matches: [{ hidden, nodes }] }) {
    const rows = graph.addInput("logits_rows", { dtype: "i32", shape: ["R"] });
    const b = new GraphBuilder(graph, { scope: nodes[0].scope });
    let [from, to] = [hidden, b.op("gather_rows", { x: hidden, rows })];
    for (const node of nodes) {
      const old = graph.current(node);
      const inputs = Object.fromEntries(
        Object.entries(old.inputs).map(([name, value]) => [name, value === from ? to : value]),
      );
      const again = new GraphBuilder(graph, { scope: old.scope }).op(old.op, inputs, old.attrs);
      [from, to] = [old.outputs[0], again];
    }
    graph.setOutput("logits", to);
    graph.erase(nodes.map((node) => graph.current(node)));
  },
});

/** Walks back over the output projection and what follows it, and the norm in front of it. */
function matchTail(probe: Probe, logits: Value): Tail {
  const nodes: Node[] = [];
  let value = logits;
  const step = (node: Node) => {
    nodes.unshift(node);
    value = activationOf(probe, node);
  };
  let node = probe.graph.producer(value);
  while (node && !isOp(node, "linear") && isRowwise(node)) {
    step(node);
    node = probe.graph.producer(value);
  }
  if (!node) throw new TypeError("the logits are an input of the graph");
  probe.recognised();
  if (!isOp(node, "linear")) {
    return probe.fail(node, "it makes the logits, but is not a linear layer");
  }
  step(node);
  const norm = probe.graph.producer(value);
  if (isOp(norm, "rms_norm") && probe.graph.users(value).length === 1) step(norm);
  for (const each of nodes) {
    const [only, ...others] = probe.graph.users(each.outputs[0]);
    const read = each.outputs[0].id === logits.id ? only === undefined : others.length === 0;
    probe.check(read, each, "something besides the logits reads it");
  }
  return { hidden: value, nodes };
}

/** Ops that treat each row by itself and may follow the output projection. */
function isRowwise(node: Node): boolean {
  const scaled = ["mul", "div", "add", "sub"].includes(node.op) &&
    nodeInputs(node).filter((value) => value.kind !== "weight").length === 1;
  return scaled || ["cast", "clamp", "neg", "tanh"].includes(node.op);
}

function activationOf(probe: Probe, node: Node): Value {
  const values = nodeInputs(node).filter((value) => value.kind !== "weight");
  probe.check(values.length === 1, node, "it reads more than one activation");
  return values[0] ?? input(node, "x");
}
