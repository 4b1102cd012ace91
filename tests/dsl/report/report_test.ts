/**
 * The page of a deployment: what it tells, that it needs nothing else, and that nothing from a
 * checkpoint gets out of its place.
 *
 * @module
 */

import assert from "node:assert/strict";
import { pipeline } from "../../../dsl/pipeline.ts";
import { graphBlocks } from "../../../dsl/report/graph_blocks.ts";
import { reportPage } from "../../../dsl/report/page.ts";
import { groupDispatches, type ReportData } from "../../../dsl/report/report_data.ts";
import { Graph, GraphBuilder, watchExperts } from "../../../graph/mod.ts";
import type { ExpertLoad } from "../../../runtime/mod.ts";
import { webgpuTest } from "../../support/adapter.ts";
import { STORYTELLER } from "../../support/model_folder.ts";

const SAMPLE = "Tom and his dog went to the park. They saw a big red ball.";

/** Deploys the bundled model with a page; gives its text and the load of the experts. */
async function deployWithPage(executor: "cpu" | "webgpu") {
  const folder = await Deno.makeTempDir();
  const told: string[] = [];
  try {
    await using engine = await pipeline()
      .visualizeNamespace({ enabled: true, folder, formats: ["html"], sample: SAMPLE })
      .deploy({
        ...{ model: STORYTELLER, executor },
        onProgress: (event) => event.kind === "note" && told.push(event.message),
      });
    const [file] = [...Deno.readDirSync(folder)];
    const page = await Deno.readTextFile(`${folder}/${file.name}`);
    return { page, file: file.name, told, load: await engine.expertLoad(SAMPLE), engine };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("the page of a deployment has transforms, graph, memory, dispatches and experts", async () => {
  const { page, file, told, load, engine } = await deployWithPage("cpu");
  assert.equal(file, "storyteller.html");
  assert.match(told.at(-1) ?? "", /^The report of this deployment is in ".*storyteller\.html"$/);
  assert.doesNotMatch(page, /(src|href)="(?!#)|url\(|@import|https?:/);
  assert.match(page, /<summary>match_router_pattern|<td class="">match_router_pattern/);
  assert.match(page, /model\.layers\.0 to 4, 5 layers: 5 operations/);
  assert.match(page, /in front of the layers: 1 operation, /);
  assert.doesNotMatch(page, /[^\d.]1 (operations|tensors|dispatches|experts|layers)\b/);
  assert.match(page, /Not timed: the executor has no clock for single dispatches/);
  assert.match(page, /Choices of 16 experts in 5 layers/);
  assert.equal(page.match(/<svg viewBox/g)?.length, 3);
  const tokens = engine.encode(SAMPLE).length;
  for (const { counts } of load) assert.equal(counts.reduce((a, b) => a + b, 0), 4 * tokens);
  for (const { scope, counts } of load) {
    const most = Math.max(...counts);
    assert.ok(page.includes(`<td>${scope}</td><td>${4 * tokens}</td>`));
    assert.ok(page.includes(`${counts.indexOf(most)} (${most})`));
  }
});

webgpuTest("on WebGPU the page times dispatches, and experts are those of the CPU", async () => {
  const [cpu, gpu] = [await deployWithPage("cpu"), await deployWithPage("webgpu")];
  assert.deepEqual(gpu.load, cpu.load);
  assert.match(gpu.page, /One decoding step: 33 dispatches/);
  assert.match(gpu.page, /<td class="">moe_gate_up<\/td><td class="">model\.layers\.\*\.mlp<\/td>/);
});

webgpuTest(
  "a listener that throws when the page is written ends the deployment, and closes all",
  async () => {
    const folder = await Deno.makeTempDir();
    try {
      const deployed = pipeline()
        .settings({ maxSeqLen: 64, maxBatchSize: 1 })
        .visualizeNamespace({ enabled: true, folder, formats: ["html"] })
        .deploy({
          ...{ model: STORYTELLER, executor: "webgpu" },
          onProgress(event) {
            if (event.kind === "note" && event.message.includes("report")) {
              throw new Error("enough");
            }
          },
        });
      await assert.rejects(deployed, /enough/);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
);

for (const executor of ["cpu", "webgpu"] as const) {
  const test = executor === "cpu" ? Deno.test : webgpuTest;
  test(`on ${executor} the load of the last step is that of its tokens`, async () => {
    await using engine = await pipeline().deploy({
      ...{ model: STORYTELLER, executor, watchExperts: true },
    });
    assert.deepEqual(await engine.recentExpertLoad(), []);
    const tokens = engine.encode(SAMPLE);
    await engine.logits(tokens);
    assert.deepEqual(await engine.recentExpertLoad(), await engine.expertLoad(SAMPLE));
    // A decoding step has one token, which chooses four experts in each layer.
    for await (const _ of engine.generate(SAMPLE, { maxNewTokens: 3, temperature: 0 }));
    const sums = (await engine.recentExpertLoad())
      .map(({ counts }) => counts.reduce((a, b) => a + b, 0));
    assert.deepEqual(sums, [4, 4, 4, 4, 4]);
  });
}

Deno.test("an engine without watched experts says that it has none", async () => {
  await using engine = await pipeline().settings({ maxSeqLen: 64, maxBatchSize: 1 }).deploy({
    ...{ model: STORYTELLER, executor: "cpu" },
  });
  assert.deepEqual(await engine.expertLoad(SAMPLE), []);
});

Deno.test("a folder for the page that cannot be made is told and does not stop the deployment", async () => {
  const file = await Deno.makeTempFile();
  try {
    await using engine = await pipeline()
      .settings({ maxSeqLen: 64, maxBatchSize: 1 })
      .visualizeNamespace({ enabled: true, folder: `${file}/below`, formats: ["html"] })
      .deploy({ model: STORYTELLER, executor: "cpu" });
    const records = engine.report.transforms as { key: string; error?: string }[];
    assert.ok(records.find(({ key }) => key === "visualize_namespace")?.error);
  } finally {
    await Deno.remove(file);
  }
});

/** Data of a page in which every text tries to be markup. */
function hostileData(text: string): ReportData {
  const counts: ExpertLoad = { scope: text, counts: [1, 0] };
  const node = {
    ...{ op: text, kind: "other", scope: text, count: 2, weightBytes: 4 } as const,
    ...{ types: [text], attrs: [text], weights: [text] },
  };
  return {
    ...{ title: text, facts: [[text, text]], notes: [text], verification: [], sample: text },
    transforms: [{
      ...{ key: text, stage: "visualize", enabled: true, skipped: false, num_matches: 1 },
      ...{ is_clean: true, has_valid_shapes: true, milliseconds: 1 },
      ...{ weightBytesBefore: 0, weightBytesAfter: 0, nodesBefore: 1, nodesAfter: 1 },
      ...{ nearMisses: [{ node: text, reason: text }], notes: [text] },
    }],
    blocks: [{ title: text, layers: 2, weightBytes: 1, nodes: [node], edges: [[-1, 0]] }],
    memory: [[text, 1]],
    formats: [{ format: text, tensors: 1, bytes: 1 }],
    dispatches: { value: [{ kernel: text, scope: text, count: 1, seconds: 1 }] },
    experts: { value: [counts] },
  };
}

Deno.test("no text of a checkpoint becomes markup", () => {
  const harmless = reportPage(hostileData("name"));
  for (const text of ['"><script>x()</script>', "</title></style></svg><img src=x>", "'&`${a}"]) {
    const page = reportPage(hostileData(text));
    const tags = (html: string) => html.match(/<[^>]*?[\s>]/g)?.map((tag) => tag.trim());
    assert.deepEqual(tags(page)?.length, tags(harmless)?.length);
    assert.ok(!page.includes(text));
  }
});

/** Two kinds of layers in turn, each with four experts that run one after the other. */
function alternatingGraph(layers: number): Graph {
  const graph = new Graph("alternating");
  const b = new GraphBuilder(graph);
  let x = b.input("x", { dtype: "f32", shape: ["T", 8] });
  for (let layer = 0; layer < layers; layer++) {
    for (let expert = 0; expert < 4; expert++) {
      b.within(`model.layers.${layer}.mlp.experts.${expert}`, () => {
        x = b.op(layer % 2 === 0 ? "silu" : "neg", { x });
      });
    }
  }
  graph.setOutput("y", x);
  return graph;
}

Deno.test("layers that are alike are one block, experts that are alike one box", () => {
  const blocks = graphBlocks(alternatingGraph(6));
  assert.deepEqual(blocks.map(({ title, layers }) => [title, layers]), [
    ["model.layers.{0, 2, 4}", 3],
    ["model.layers.{1, 3, 5}", 3],
  ]);
  const [{ nodes, edges }] = blocks;
  assert.deepEqual(nodes.map(({ op, scope, count }) => [op, scope, count]), [
    ["silu", "mlp.experts.*", 4],
  ]);
  assert.deepEqual(edges, [[-1, 0]]);
});

Deno.test("dispatches at the same place of each layer are one group", () => {
  const groups = groupDispatches([
    { kernel: "router", scope: "model.layers.0.mlp.gate", seconds: 1 },
    { kernel: "router", scope: "model.layers.11.mlp.gate", seconds: 2 },
    { kernel: "sample", scope: "", seconds: 4 },
  ]);
  assert.deepEqual(groups, [
    { kernel: "router", scope: "model.layers.*.mlp.gate", count: 2, seconds: 3 },
    { kernel: "sample", scope: "", count: 1, seconds: 4 },
  ]);
});

Deno.test("a graph without layers that choose experts has nothing to watch", () => {
  assert.deepEqual(watchExperts(alternatingGraph(2)), []);
});
