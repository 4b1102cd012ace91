import assert from "node:assert/strict";
import { Graph, GraphBuilder, type Node, type Value } from "../../../../graph/mod.ts";
import type { Dispatch } from "../../../../kernels/mod.ts";
import type { LoweredDispatch, LoweredGraph } from "../../../../runtime/webgpu/plan/lower.ts";
import {
  dependentChain,
  reportList,
  reportNotices,
} from "../../../../runtime/webgpu/plan/plan_report.ts";

/** A dispatch that reads and writes memory by name. */
function dispatch(node: Node, reads: string[], writes: string[], bytes = 0): LoweredDispatch {
  const names = [...reads, ...writes];
  const made: Dispatch = {
    kernel: "test",
    wgsl: "",
    bindings: names.map((name, i) => ({
      buffer: { kind: "state", name },
      access: i < reads.length ? "read" : "read_write",
    })),
    workgroups: () => [1, 1, 1],
    weightBytes: () => bytes,
  };
  const resources = names.map((name) => ({
    kind: "activation" as const,
    key: name,
    name,
    bytes: 16,
  }));
  return { dispatch: made, resources, scope: node.scope, op: node.op, level: 0 };
}

/** The same without work in any step. */
function skipped(lowered: LoweredDispatch): LoweredDispatch {
  return { ...lowered, dispatch: { ...lowered.dispatch, workgroups: () => [0, 0, 0] } };
}

function nodes(): { router: Node; moe: Node; linear: Node; head: Node } {
  const b = new GraphBuilder(new Graph("g"));
  const x: Value = b.input("x", { dtype: "f32", shape: ["T", 8] });
  const node = (scope: string, op: "relu" | "silu" = "relu") =>
    b.graph.addNode({ op, inputs: { x }, attrs: {}, types: [x], scope });
  const as = (each: Node, op: Node["op"]): Node => ({ ...each, op });
  return {
    linear: node("model.layers.0.self_attn"),
    router: as(node("model.layers.0.mlp.gate"), "moe_router"),
    moe: as(node("model.layers.0.mlp"), "fused_moe"),
    head: node("lm_head"),
  };
}

const own = (key: string) => key;

Deno.test("dependentChain() counts what waits, not what may run side by side", () => {
  const { linear } = nodes();
  const q = dispatch(linear, ["h"], ["q"]);
  const k = dispatch(linear, ["h"], ["k"]);
  const attention = dispatch(linear, ["q", "k"], ["a"]);
  assert.equal(dependentChain([q, k, attention], own), 2);
  assert.equal(dependentChain([q, attention, k], own), 3, "k is written after it was read");
  const shared = (key: string) => (key === "k" ? "q" : key);
  assert.equal(dependentChain([q, k, attention], shared), 3, "two values in one buffer");
});

Deno.test("reportList() counts what runs of layers and their MoE part", () => {
  const { linear, router, moe, head } = nodes();
  const lowered: LoweredGraph = {
    tokens: { min: 1, max: 1 },
    sizes: { T: 1, R: 1, S: 1, P: 1 },
    outputs: new Map(),
    notes: [],
    sampling: [],
    dispatches: [
      skipped(dispatch(linear, ["h"], ["a"])),
      dispatch(linear, ["h"], ["a"], 5),
      dispatch(router, ["a"], ["ids"], 7),
      dispatch(moe, ["a", "ids"], ["up"], 11),
      dispatch(moe, ["up", "ids"], ["h2"], 13),
      dispatch(head, ["h2"], ["logits"], 17),
    ],
  };
  const { dispatches, dependent, perLayer, perMoe, outside, weightBytes } = reportList(
    lowered,
    own,
  );
  assert.deepEqual([dispatches, dependent, outside, weightBytes], [5, 5, 1, 53]);
  assert.deepEqual(perLayer, { dispatches: 4, dependent: 4 });
  assert.deepEqual(perMoe, { dispatches: 3, dependent: 3 });
});

Deno.test("reportNotices() tells each notice once, and nothing else", () => {
  const note = (scope: string, text: string, isNotice: boolean) => ({
    ...{ scope, text, isNotice },
    op: "fused_moe",
  });
  const lowered = (...notes: LoweredGraph["notes"]): LoweredGraph => ({
    tokens: { min: 1, max: 1 },
    sizes: { T: 1, R: 1, S: 1, P: 1 },
    ...{ outputs: new Map(), notes, sampling: [], dispatches: [] },
  });
  const lists = [
    lowered(note("layers.0", "no table", true), note("layers.1", "no table", true)),
    lowered(note("layers.0", "no table", true), note("layers.0", "slot by slot", false)),
  ];
  assert.deepEqual(reportNotices(lists), ["no table"]);
});
