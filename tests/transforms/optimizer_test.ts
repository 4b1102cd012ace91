import assert from "node:assert/strict";
import { z } from "../../deps/zod.ts";
import { ConfigError, GraphBuilder, GraphError, input, isOp, printGraph } from "../../graph/mod.ts";
import {
  type BaseConfig,
  byKey,
  configSchema,
  defineTransform,
  notApplicable,
  notApplicableKeys,
  optimize,
  orderSteps,
  parseConfig,
  type Stage,
  STAGES,
  transformKeys,
  TRANSFORMS,
} from "../../transforms/mod.ts";
import { EagerBlocks } from "../support/eager_blocks.ts";
import { apply, contextWithoutModel, type StepEntry, steps } from "../support/run_transforms.ts";

/** x -> silu -> y, with a dead neg beside it. */
function tinyGraph(): EagerBlocks {
  const blocks = new EagerBlocks("tiny");
  const x = blocks.b.input("x", { dtype: "f32", shape: ["T", 4] });
  blocks.b.op("neg", { x });
  blocks.graph.setOutput("y", blocks.b.op("silu", { x }));
  return blocks;
}

/** Replaces every silu by gelu, then does `more`. */
function swap(key: string, more: () => void, base: Partial<BaseConfig> = {}) {
  return defineTransform({
    key,
    stage: "post_export",
    summary: "Replace silu by gelu",
    base,
    config: z.object({}),
    plan: (graph) => ({ matches: graph.nodes.filter((node) => isOp(node, "silu")) }),
    apply(graph, plan) {
      for (const node of plan.matches) {
        const b = new GraphBuilder(graph, { before: node });
        graph.replaceAllUses(node.outputs[0], b.op("gelu", { x: input(node, "x") }));
        graph.addInput("late", { dtype: "i32", shape: ["T"] });
        graph.addCache({ name: "c", kvHeads: 1, headDim: 4, dtype: "f32", pageSize: 16 });
        graph.setMeta("swapped", true);
      }
      more();
    },
  });
}

const step = (definition: ReturnType<typeof swap>, config = {}) => ({
  key: definition.key,
  config,
  definition,
});

Deno.test("optimize() runs an unregistered transform and records what it did", async () => {
  const { graph } = tinyGraph();
  const record = (await apply(graph, [step(swap("swap", () => {}))])).swap;
  assert.equal(record.num_matches, 1);
  assert.equal(record.skipped, false);
  assert.equal(record.is_clean, true);
  assert.equal(record.has_valid_shapes, true);
  assert.equal(record.nodesBefore, 2);
  assert.equal(record.nodesAfter, 1);
  assert.deepEqual(JSON.parse(JSON.stringify(record)), record);
});

Deno.test("optimize() restores the graph exactly and names the transform when one fails", async () => {
  const { graph } = tinyGraph();
  const before = graph.snapshot();
  const broken = swap("broken", () => {
    throw new RangeError("out of luck");
  });
  await assert.rejects(apply(graph, [step(broken)]), (error) => {
    assert.ok(error instanceof GraphError);
    assert.equal(error.code, "transform/failed");
    assert.equal(error.message, 'Cannot run transform "broken": out of luck');
    assert.deepEqual(error.trail, ["transform broken"]);
    return true;
  });
  assert.equal(graph.nodes, before.nodes);
  assert.equal(graph.inputs, before.inputs);
  assert.equal(graph.outputs, before.outputs);
  assert.equal(graph.caches, before.caches);
  assert.equal(graph.meta, before.meta);
});

Deno.test("optimize() goes on with the restored graph under skip_on_error", async () => {
  const { graph } = tinyGraph();
  const text = printGraph(graph);
  const logged: string[] = [];
  const broken = swap("broken", () => {
    throw new RangeError("out of luck");
  });
  const { history } = await optimize({
    graph,
    steps: [step(broken, { skip_on_error: true })],
    context: contextWithoutModel({ log: (line) => logged.push(line) }),
  });
  assert.equal(printGraph(graph), text);
  assert.equal(history[0].skipped, true);
  assert.equal(history[0].error, "out of luck");
  assert.deepEqual(logged, ["Transform broken failed and was skipped: out of luck"]);
  const records = await apply(graph, [
    step(broken, { skip_on_error: true }),
    step(swap("swap", () => {})),
  ]);
  assert.equal(records.swap.num_matches, 1);
});

Deno.test("optimize() undoes a transform that leaves a graph with wrong types", async () => {
  const { graph } = tinyGraph();
  const text = printGraph(graph);
  const wrong = defineTransform({
    key: "wrong",
    stage: "post_export",
    summary: "Claim a wrong shape",
    config: z.object({}),
    plan: () => ({ matches: [1] }),
    apply(graph) {
      const [x] = graph.inputs;
      const types = [{ dtype: "f32", shape: ["T", 5] }] as const;
      const { outputs } = graph.addNode({ op: "neg", inputs: { x }, attrs: {}, types, scope: "s" });
      graph.setOutput("y", outputs[0]);
    },
  });
  await assert.rejects(apply(graph, [{ key: "wrong", config: {}, definition: wrong }]), {
    code: "graph/type",
    message: /\(neg\) in "s": expected outputs f32\[T, 4\], got f32\[T, 5\]$/,
  });
  assert.equal(printGraph(graph), text);
});

Deno.test("optimize() refuses before it changes the graph, with every reason in the details", async () => {
  const { graph } = tinyGraph();
  const refusing = defineTransform({
    key: "refusing",
    stage: "post_export",
    summary: "Refuse",
    config: z.object({}),
    plan: () => ({
      matches: [1],
      refusals: [{ node: "a", reason: "too old" }, { node: "b", reason: "too new" }],
    }),
    apply: () => assert.fail("applied"),
  });
  const text = printGraph(graph);
  await assert.rejects(apply(graph, [{ key: "refusing", config: {}, definition: refusing }]), {
    code: "transform/refused",
    message: 'Cannot run transform "refusing" on "a": too old (and 1 more)',
  });
  assert.equal(printGraph(graph), text);
});

Deno.test("optimize() records disabled and inapplicable transforms as skipped", async () => {
  const { graph } = tinyGraph();
  const nodes = graph.nodes;
  const records = await apply(
    graph,
    steps(["cleanup_noop_add", { enabled: false }], "multi_stream_moe", "detect_sharding"),
  );
  const { cleanup_noop_add: disabled, multi_stream_moe: cuda, detect_sharding: single } = records;
  assert.deepEqual([disabled.enabled, disabled.skipped], [false, true]);
  assert.deepEqual([cuda.enabled, cuda.skipped], [true, true]);
  assert.match(cuda.notes[0], /^Not applicable on WebGPU: /);
  assert.equal(single.skipped, true);
  assert.deepEqual(single.notes, ["Skipping sharding for a single device"]);
  assert.notEqual(graph.nodes, nodes, "detect_sharding asked for a clean graph");
});

Deno.test("optimize() calls onTransform for every record and afterTransform for those that ran", async () => {
  const seen: string[] = [];
  const { history } = await optimize({
    graph: tinyGraph().graph,
    steps: steps(["cleanup_noop_add", { enabled: false }], "cleanup_noop_slice"),
    context: contextWithoutModel(),
    onTransform: (record) => seen.push(`record ${record.key}`),
    afterTransform: async (graph, record) => {
      await Promise.resolve();
      seen.push(`after ${record.key} with ${graph.nodes.length} node`);
    },
  });
  assert.deepEqual(seen, [
    "record cleanup_noop_add",
    "record cleanup_noop_slice",
    "after cleanup_noop_slice with 1 node",
  ]);
  assert.equal(history.length, 2);
});

Deno.test("optimize() stops between transforms when the signal says so", async () => {
  const controller = new AbortController();
  const ran: string[] = [];
  const run = optimize({
    graph: tinyGraph().graph,
    steps: steps("cleanup_noop_slice", "cleanup_noop_add"),
    context: contextWithoutModel(),
    signal: controller.signal,
    onTransform: (record) => {
      ran.push(record.key);
      controller.abort();
    },
  });
  await assert.rejects(run, { name: "AbortError" });
  assert.deepEqual(ran, ["cleanup_noop_slice"]);
});

Deno.test("orderSteps() sorts by stage and keeps the given order inside one", () => {
  const keys = ["fuse_moe", "match_router_pattern", "cleanup_noop_add", "match_moe_pattern"];
  const ordered = orderSteps(steps(...keys)).map(({ key }) => key);
  assert.deepEqual(ordered, [
    "cleanup_noop_add",
    "match_router_pattern",
    "match_moe_pattern",
    "fuse_moe",
  ]);
  const moved = orderSteps(steps(["cleanup_noop_add", { stage: "compile" }], "fuse_moe"));
  assert.deepEqual(moved.map(({ key }) => key), ["fuse_moe", "cleanup_noop_add"]);
});

Deno.test("orderSteps() names both transforms when after or before does not hold", () => {
  const after = steps(
    ["cleanup_noop_add", { after: ["cleanup_noop_slice"] }],
    "cleanup_noop_slice",
  );
  assert.throws(() => orderSteps(after), {
    name: "ConfigError",
    code: "config/order",
    message:
      'Cannot order transforms: expected "cleanup_noop_slice" before "cleanup_noop_add", got it after',
  });
  const before = steps("cleanup_noop_add", [
    "cleanup_noop_slice",
    { before: ["cleanup_noop_add"] },
  ]);
  assert.throws(() => orderSteps(before), { code: "config/order" });
  const disabled = steps(["cleanup_noop_add", { after: ["cleanup_noop_slice"] }], [
    "cleanup_noop_slice",
    { enabled: false },
  ]);
  assert.equal(orderSteps(disabled).length, 2);
});

Deno.test("orderSteps() suggests a name for an unknown key, field or constraint", () => {
  const failures: [StepEntry, Partial<ConfigError>][] = [
    ["fuse_mo", {
      code: "config/unknown-transform",
      message: 'Cannot order transforms: expected a known transform, got "fuse_mo"',
      hint: 'Did you mean "fuse_moe"?',
    }],
    [["cleanup_noop_add", { enabeld: true }], {
      code: "config/unknown-field",
      message: 'Cannot read transform "cleanup_noop_add": expected a known field, got "enabeld"',
      hint: 'Did you mean "enabled"?',
    }],
    [["cleanup_noop_add", { enabled: "yes" }], { code: "config/invalid" }],
    [["cleanup_noop_add", { after: ["cleanup_noop_slise"] }], {
      code: "config/unknown-transform",
      hint: 'Did you mean "cleanup_noop_slice"?',
    }],
  ];
  for (const [entry, expected] of failures) {
    assert.throws(() => orderSteps(steps(entry)), expected);
  }
  assert.throws(() => orderSteps(steps("cleanup_noop_add", "cleanup_noop_add")), {
    code: "config/duplicate-transform",
  });
});

Deno.test("configSchema() gives every field a default and a description", () => {
  for (const definition of Object.values(TRANSFORMS)) {
    assert.match(definition.summary, /^[A-Z].*[^.]$/, definition.key);
    const schema = configSchema(definition);
    for (const [field, type] of Object.entries(schema.shape)) {
      const { description } = type as z.ZodType;
      assert.ok(description, `${definition.key}.${field} has no description`);
    }
    assert.equal(parseConfig(definition, {}).stage, definition.stage);
    z.toJSONSchema(schema, { io: "input" });
  }
});

Deno.test("TRANSFORMS holds each key once, in stage order, and none that is not applicable", () => {
  const keys = transformKeys();
  assert.deepEqual(Object.keys(TRANSFORMS), keys);
  const stages: Stage[] = Object.values(TRANSFORMS).map(({ stage }) => stage);
  assert.deepEqual(stages, stages.toSorted((a, b) => STAGES.indexOf(a) - STAGES.indexOf(b)));
  for (const key of keys) assert.equal(notApplicable(key), undefined, key);
  for (const key of notApplicableKeys()) assert.match(notApplicable(key)?.reason ?? "", /[^.]$/);
  const twice = swap("twice", () => {});
  assert.throws(() => byKey([twice, twice]), /"twice" is registered twice/);
});
