import assert from "node:assert/strict";
import { z } from "../../../deps/zod.ts";
import { type Graph, isOp, MOE_ACTIVATIONS, type Node, printGraph } from "../../../graph/mod.ts";
import { moeBackends, registerMoeBackend } from "../../../kernels/mod.ts";
import { type AnyTransform, configSchema, TRANSFORMS } from "../../../transforms/mod.ts";
import { EagerBlocks, type LoopForm, moeLayer } from "../../support/eager_blocks.ts";
import { GPU_PROFILE } from "../../support/gpu_profile.ts";
import {
  apply,
  applyAndCompare,
  contextWithoutModel,
  steps,
} from "../../support/run_transforms.ts";
import { assertSnapshot } from "../../support/snapshot.ts";

declare module "../../../mod.ts" {
  interface MoeBackendTypes {
    tests_only_plain: true;
    tests_only_throwing: true;
  }
}

const SMALL = { experts: 4, topK: 2, hidden: 8, intermediate: 6 } as const;
const FUSE = steps("match_moe_pattern", "fuse_moe");

const FORMS: Record<string, Partial<LoopForm>> = {
  "biases": { biases: true },
  "biases of plain experts": { mlp: "plain", activation: "gelu", biases: true },
  "routing on the input": { routingOnInput: true, biases: true },
  "plain experts": { mlp: "plain", activation: "relu2" },
  ...Object.fromEntries(MOE_ACTIVATIONS.map((activation) => [activation, { activation }])),
};

for (const [name, form] of Object.entries(FORMS)) {
  Deno.test(`fuse_moe stacks weights and carries everything over: ${name}`, async () => {
    const blocks = moeLayer({ ...SMALL, ...form });
    const { fuse_moe: record } = await applyAndCompare(blocks, FUSE);
    assert.equal(record.num_matches, 1);
    assert.deepEqual(record.notes, ["1 layer with backend auto"]);
    const [{ attrs, inputs }] = fusedLayers(blocks.graph);
    assert.equal(attrs.mlp, form.mlp ?? "gated");
    assert.equal(attrs.activation, form.activation ?? "silu");
    assert.equal(attrs.applyRoutingOnInput, form.routingOnInput ?? false);
    assert.deepEqual(
      [attrs.experts, attrs.topK, attrs.hidden, attrs.intermediate, attrs.format],
      [4, 2, 8, 6, "f32"],
    );
    assert.equal(inputs.b_up !== undefined, form.biases ?? false);
    assert.equal(attrs.limit, form.activation === "swiglu_oai" ? 0.5 : undefined);
  });
}

Deno.test("fuse_moe makes this graph, up rows before gate rows", async () => {
  const { graph } = moeLayer({ ...SMALL, biases: true });
  await apply(graph, steps("match_moe_pattern", "match_router_pattern", "fuse_moe"));
  await assertSnapshot("graph/fuse_moe.txt", printGraph(graph));
});

/** Three layers, one after the other. */
function threeLayers(): EagerBlocks {
  const blocks = new EagerBlocks("three");
  let x = blocks.b.input("x", { dtype: "f32", shape: ["T", 8] });
  for (const layer of [0, 1, 10]) {
    x = blocks.b.within(`model.layers.${layer}.mlp`, () => {
      const { selected, routing } = blocks.router(x, 4, 2);
      return blocks.experts(x, selected, routing, SMALL);
    });
  }
  blocks.graph.setOutput("y", x);
  return blocks;
}

Deno.test("fuse_moe fuses layers that follow each other directly", async () => {
  const { match_moe_pattern, fuse_moe } = await applyAndCompare(threeLayers(), FUSE);
  assert.deepEqual([match_moe_pattern.num_matches, fuse_moe.num_matches], [3, 3]);
});

Deno.test("fuse_moe gives single layers backends of their own, the last match deciding", async () => {
  const { graph } = threeLayers();
  const overrides = [
    { match: "model.layers.1*", backend: "trtllm" },
    { match: "model.layers.?.mlp", backend: "triton" },
  ];
  const config = { backend: "auto", overrides };
  const { fuse_moe: record } = await apply(graph, [
    ...steps("match_moe_pattern"),
    { key: "fuse_moe", config },
  ]);
  assert.deepEqual(fusedLayers(graph).map(({ attrs }) => attrs.backend), [
    "triton",
    "triton",
    "trtllm",
  ]);
  assert.deepEqual(record.notes, ["2 layers with backend triton", "1 layer with backend trtllm"]);
});

Deno.test("fuse_moe gives layers f16 operands, and fuse_residual keeps them", async () => {
  const { graph } = threeLayers();
  const overrides = [
    { match: "model.layers.0.*", backend: "triton" },
    { match: "model.layers.1.*", backend: "triton", operands: "f32" },
  ];
  const { fuse_moe: record } = await apply(graph, [
    ...steps("match_moe_pattern"),
    { key: "fuse_moe", config: { operands: "f16", overrides } },
  ], contextWithoutModel({ target: { executor: "webgpu", profile: GPU_PROFILE } }));
  const operands = () => fusedLayers(graph).map(({ attrs }) => attrs.operands);
  // What is the default is not written into the graph.
  assert.deepEqual(operands(), ["f16", undefined, "f16"]);
  assert.deepEqual(record.notes, [
    "2 layers with backend triton",
    "1 layer with backend auto",
    "2 layers with f16 operands",
  ]);
  assert.match(printGraph(graph), /fused_moe\(.*operands: f16/);

  const blocks = moeLayer(SMALL);
  const [y] = blocks.graph.outputs.values();
  const sum = blocks.b.op("add", { a: blocks.graph.inputs[0], b: y });
  blocks.graph.setOutput("y", sum);
  await apply(blocks.graph, [
    ...steps("match_moe_pattern", ["fuse_moe", { operands: "f16" }], "fuse_residual"),
  ]);
  const [layer] = fusedLayers(blocks.graph);
  assert.ok(layer.inputs.residual, "the sum became part of the layer");
  assert.equal(layer.attrs.operands, "f16");
});

Deno.test("fuse_moe says which layers keep f32 operands on a device with matrices", async () => {
  const profile = { ...GPU_PROFILE, matrices: [{ m: 16, n: 16, k: 16 }] };
  const overrides = [{ match: "model.layers.1.*", backend: "auto", operands: "auto" }];
  const { fuse_moe: record } = await apply(threeLayers().graph, [
    ...steps("match_moe_pattern"),
    { key: "fuse_moe", config: { overrides } },
  ], contextWithoutModel({ target: { executor: "webgpu", profile } }));
  assert.deepEqual(record.notes, [
    "3 layers with backend auto",
    `2 layers with f32 operands: "operands: auto", here or at the top level, takes the device's matrices`,
  ]);
});

Deno.test("fuse_moe says that the CPU executor computes f16 operands in f32", async () => {
  const config = { operands: "f16" };
  const list = [...steps("match_moe_pattern"), { key: "fuse_moe", config }];
  const { fuse_moe: record } = await applyAndCompare(threeLayers(), list);
  assert.deepEqual(record.notes, [
    "3 layers with backend auto",
    "3 layers with f16 operands, which the CPU executor computes in f32",
  ]);
});

Deno.test("fuse_moe refuses f16 operands for a device without shader-f16", async () => {
  const { graph } = threeLayers();
  await apply(graph, steps("match_moe_pattern"));
  const profile = { ...GPU_PROFILE, shaderF16: false };
  const context = contextWithoutModel({ target: { executor: "webgpu", profile } });
  const text = printGraph(graph);
  await assert.rejects(apply(graph, steps(["fuse_moe", { operands: "f16" }]), context), {
    code: "transform/refused",
    message:
      /"model\.layers\.0\.mlp \(moe\)": backend auto cannot keep operands in f16: the device has no shader-f16 /,
  });
  assert.equal(printGraph(graph), text);
  await apply(graph, steps("fuse_moe"), context);
});

for (const [key, { config }] of Object.entries<AnyTransform>(TRANSFORMS)) {
  if (!/^fuse_.*moe$/.test(key)) continue;
  Deno.test(`${key} takes operands, f32 when nothing is said`, () => {
    assert.equal(config.parse({}).operands, "f32");
    assert.equal(config.parse({ operands: "f16" }).operands, "f16");
    assert.ok(!config.safeParse({ operands: "bf16" }).success);
  });
}

Deno.test("fuse_moe refuses an override that matches no layer", async () => {
  const { graph } = threeLayers();
  await apply(graph, steps("match_moe_pattern"));
  const text = printGraph(graph);
  const overrides = [{ match: "model.layer.0.*", backend: "triton" }];
  await assert.rejects(apply(graph, [{ key: "fuse_moe", config: { overrides } }]), {
    code: "transform/refused",
    message:
      'Cannot run transform "fuse_moe" on "model.layer.0.*": no MoE layer matches this override; the layers are model.layers.0.mlp .. model.layers.10.mlp',
  });
  assert.equal(printGraph(graph), text);
});

Deno.test("fuse_moe names the backends it knows when the name is another", async () => {
  const { graph } = threeLayers();
  await assert.rejects(apply(graph, steps(["fuse_moe", { backend: "tritn" }])), {
    name: "ConfigError",
    code: "config/invalid",
    message: /^Cannot read field "backend" of transform "fuse_moe": .*"triton"/,
  });
});

Deno.test("fuse_moe refuses a backend that cannot serve, before any layer is changed, with all reasons", async () => {
  registerMoeBackend({
    name: "tests_only_plain",
    summary: "serves plain experts alone",
    supports: ({ mlp }) => mlp === "plain" ? undefined : "takes plain experts alone",
    compile: () => [],
  });
  assert.ok(moeBackends().some(({ name }) => name === "tests_only_plain"));
  const { shape } = configSchema(TRANSFORMS.fuse_moe);
  const backends = z.toJSONSchema(shape.backend as z.ZodType, { io: "input" }).enum;
  assert.ok(
    backends?.includes("tests_only_plain"),
    "a registered backend is a value of the schema",
  );
  const { graph } = threeLayers();
  await apply(graph, steps("match_moe_pattern"));
  const text = printGraph(graph);
  const run = apply(graph, steps(["fuse_moe", { backend: "tests_only_plain" }]));
  await assert.rejects(run, (error: Error) => {
    assert.match(error.message, /"model\.layers\.0\.mlp \(moe\)": backend tests_only_plain takes/);
    assert.match(
      error.message,
      /\(auto can; triton can; trtllm can; reference .*\) \(and 2 more\)$/,
    );
    return true;
  });
  assert.equal(printGraph(graph), text);
  const plain = moeLayer({ ...SMALL, mlp: "plain" });
  const list = [...steps("match_moe_pattern"), {
    key: "fuse_moe",
    config: { backend: "tests_only_plain" },
  }];
  assert.equal((await apply(plain.graph, list)).fuse_moe.num_matches, 1);
});

Deno.test("fuse_moe names a backend whose supports() throws, also beside one that refuses", async () => {
  registerMoeBackend({
    name: "tests_only_throwing",
    summary: "knows no layer",
    supports() {
      throw new TypeError("spec.tokens.least is undefined");
    },
    compile: () => [],
  });
  const { graph } = threeLayers();
  await apply(graph, steps("match_moe_pattern"));
  await assert.rejects(
    apply(graph, steps(["fuse_moe", { backend: "tests_only_throwing" }])),
    /"model\.layers\.0\.mlp" with MoE backend "tests_only_throwing": expected supports\(\) to return, got TypeError: spec/,
  );
  await assert.rejects(
    apply(graph, steps(["fuse_moe", { backend: "tests_only_plain" }])),
    /backend tests_only_plain takes plain .* tests_only_throwing fails: spec\.tokens\.least/,
  );
});

Deno.test("fuse_moe leaves a graph without MoE layers alone", async () => {
  const blocks = new EagerBlocks("dense");
  const x = blocks.b.input("x", { dtype: "f32", shape: ["T", 8] });
  blocks.graph.setOutput("y", blocks.mlp(x, { intermediate: 6 }));
  const { nodes } = blocks.graph;
  const overrides = [{ match: "*", backend: "triton" }];
  await apply(blocks.graph, [{ key: "fuse_moe", config: { overrides } }]);
  assert.deepEqual(blocks.graph.nodes, nodes);
});

function fusedLayers(graph: Graph): Node<"fused_moe">[] {
  return graph.nodes.filter((node) => isOp(node, "fused_moe"));
}
