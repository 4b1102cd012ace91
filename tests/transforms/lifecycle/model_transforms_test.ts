import assert from "node:assert/strict";
import { Graph, printGraph } from "../../../graph/mod.ts";
import { optimize, type TransformContext } from "../../../transforms/mod.ts";
import { openBareModel } from "../../support/bare_model.ts";
import { contextWithoutModel, steps } from "../../support/run_transforms.ts";
import { EagerBlocks } from "../../support/eager_blocks.ts";

const FOLDER = new URL("../../golden/mixtral", import.meta.url).pathname;

async function withModel(
  use: (context: TransformContext) => Promise<void>,
  folder = FOLDER,
): Promise<void> {
  const model = await openBareModel(folder);
  try {
    const { target, settings, log } = contextWithoutModel();
    await use({ model, target, settings, log });
  } finally {
    await model.checkpoint.close();
  }
}

Deno.test("build_model and export_to_gm make the eager graph and note what it is of", async () => {
  await withModel(async (context) => {
    const { graph, history } = await optimize({
      steps: steps("build_model", "export_to_gm"),
      context,
    });
    assert.equal(graph.name, "mixtral");
    assert.deepEqual(graph.meta.model, {
      name: "mixtral",
      architecture: "mixtral",
      layers: 2,
      hidden: 64,
      vocabulary: 256,
    });
    assert.deepEqual(history[0].notes, ["MixtralForCausalLM with 2 layers"]);
    const eager = context.model.build().graph;
    const body = (of: Graph) => printGraph(of).split("\n").slice(1).join("\n");
    assert.equal(body(graph), body(eager));
  });
});

Deno.test("export_to_gm refuses without a built model, and over a graph that has nodes", async () => {
  await withModel(async (context) => {
    await assert.rejects(optimize({ steps: steps("export_to_gm"), context }), {
      code: "transform/refused",
      message:
        'Cannot run transform "export_to_gm" on "mixtral": no model was built; enable build_model',
    });
    const { b, graph } = new EagerBlocks("full");
    graph.setOutput("y", b.op("neg", { x: b.input("x", { dtype: "f32", shape: ["T"] }) }));
    await assert.rejects(
      optimize({ graph, steps: steps("build_model", "export_to_gm"), context }),
      /the graph has 1 nodes already$/,
    );
    assert.equal(graph.nodes.length, 1);
    // The model's note stays: build_model itself went well.
    assert.ok(graph.meta.model);
  });
});

Deno.test("load_weights names every tensor that nothing reads, and why", async () => {
  await withModel(async (context) => {
    const { graph } = await optimize({ steps: steps("build_model", "export_to_gm"), context });
    // Cut the head off: its tensors are in the checkpoint, and now nothing needs them.
    const [first] = graph.nodes;
    graph.setOutput("logits", first.outputs[0]);
    const { history } = await optimize({ graph, steps: steps("load_weights"), context });
    const [record] = history;
    const total = context.model.checkpoint.tensors.size;
    assert.equal(record.notes[0], `1 of ${total} tensors are read when the executor starts`);
    assert.match(record.notes[1], /^Not read \(no node reads it any more\): .* and \d+ more$/);
    const unread = graph.meta.unread_tensors as { name: string }[];
    assert.equal(unread.length, total - 1);
    assert.ok(unread.some(({ name }) => name === "lm_head.weight"));
  });
});

Deno.test("load_weights says aloud that a config with a layer less leaves tensors unread", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const config = JSON.parse(await Deno.readTextFile(`${FOLDER}/config.json`));
    const shorter = { ...config, num_hidden_layers: config.num_hidden_layers - 1 };
    await Deno.writeTextFile(`${folder}/config.json`, JSON.stringify(shorter));
    await Deno.copyFile(`${FOLDER}/model.safetensors`, `${folder}/model.safetensors`);
    const said: string[] = [];
    await withModel(async (context) => {
      const log = (message: string) => void said.push(message);
      const made = steps("build_model", "export_to_gm", "load_weights");
      await optimize({ steps: made, context: { ...context, log } });
    }, folder);
    const [warning] = said.filter((message) => message.includes("not read"));
    assert.match(
      warning,
      /^\d+ tensors .* no reason is known: model\.layers\.1 \(\d+\); check that/,
    );
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("visualize_namespace writes text and DOT, and only reports a folder it cannot make", async () => {
  const blocks = new EagerBlocks("a/b c");
  const { b, graph } = blocks;
  graph.setOutput("y", b.op("neg", { x: b.input("x", { dtype: "f32", shape: ["T"] }) }));
  const folder = await Deno.makeTempDir();
  try {
    const context = contextWithoutModel();
    const config = { enabled: true, folder: `${folder}/graphs` };
    const run = (fields: Record<string, unknown>) =>
      optimize({ graph, steps: steps(["visualize_namespace", { ...config, ...fields }]), context });
    await run({});
    assert.equal(await Deno.readTextFile(`${folder}/graphs/a_b_c.txt`), printGraph(graph));
    assert.match(await Deno.readTextFile(`${folder}/graphs/a_b_c.dot`), /^digraph/);
    const { history: [record] } = await run({ folder: `${folder}/graphs/a_b_c.txt` });
    assert.equal(record.skipped, true);
    assert.ok(record.error);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
