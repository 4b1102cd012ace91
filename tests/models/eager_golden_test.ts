/** Eager graphs on the CPU executor against transformers: logits, hidden states, router choices. */

import assert from "node:assert/strict";
import { type Graph, type HostTensor, isOp, type Node, nodeInputs } from "../../graph/mod.ts";
import { Checkpoint, findArchitecture, normalizeConfig } from "../../models/mod.ts";
import { openCpuExecutor } from "../../runtime/mod.ts";
import { readSafetensors } from "../support/safetensors.ts";
import { relativeError, TOLERANCES } from "../support/tolerances.ts";
import { FIRST_MODELS } from "../support/verified_models.ts";

const GOLDEN = new URL("../golden/", import.meta.url);

type Arrays = Record<string, Float32Array | Int32Array>;

/** A fixture: weights and a config, without a tokenizer. */
async function openFixture(folder: string, configFile = "config.json") {
  const file = `${folder}/${configFile}`;
  const raw = normalizeConfig(JSON.parse(await Deno.readTextFile(file)), file);
  const { config, build } = findArchitecture(raw, file).configure(raw, file);
  const checkpoint = await Checkpoint.open(folder);
  return { config, checkpoint, build: () => build(checkpoint) };
}

type Fixture = Awaited<ReturnType<typeof openFixture>>;

/** Makes values within the graph outputs, under the names of the golden tensors. */
function exposeInternals(graph: Graph, layers: number): void {
  const nodes = (scope: string) => graph.nodes.filter((node) => node.scope === scope);
  const expose = (name: string, node: Node | undefined, output = 0) => {
    assert.ok(node, `a node for ${name}`);
    graph.setOutput(name, node.outputs[output]);
  };
  expose("hidden.embed", nodes("model.embed_tokens")[0]);
  expose("hidden.final", nodes("model.norm").at(-1));
  for (let layer = 0; layer < layers; layer++) {
    const scope = `model.layers.${layer}`;
    expose(`hidden.${layer}`, nodes(scope).at(-1));
    expose(`moe.${layer}.in`, nodes(`${scope}.post_attention_layernorm`).at(-1));
    expose(`moe.${layer}.out`, nodes(`${scope}.mlp`).at(-1));
    const router = [...nodes(`${scope}.mlp.gate`), ...nodes(`${scope}.mlp.router`)];
    expose(`router.${layer}.logits`, router.find((node) => isOp(node, "linear")));
    const topk = router.find((node) => isOp(node, "topk"));
    expose(`router.${layer}.ids`, topk, 1);
    expose(`router.${layer}.weights`, router.at(-1));
  }
}

/** Experts ascending, each with its weight, as the golden data have them. */
function sortChoices(outputs: Arrays, layer: number, k: number): void {
  const [ids, weights] = [outputs[`router.${layer}.ids`], outputs[`router.${layer}.weights`]];
  for (let row = 0; row < ids.length; row += k) {
    const order = Array.from({ length: k }, (_, i) => row + i).sort((a, b) => ids[a] - ids[b]);
    const sorted = order.map((at) => [ids[at], weights[at]]);
    sorted.forEach(([id, weight], i) => [ids[row + i], weights[row + i]] = [id, weight]);
  }
}

async function compare(model: Fixture, golden: ReadonlyMap<string, HostTensor>, prompt: number) {
  const { graph, unusedTensors } = model.build();
  assert.deepEqual(unusedTensors, []);
  const layers = model.config.num_hidden_layers;
  exposeInternals(graph, layers);
  const executor = openCpuExecutor();
  const expected = new Map(
    [...golden].filter(([name]) => name.startsWith(`p${prompt}.`))
      .map(([name, tensor]) => [name.slice(3), tensor]),
  );
  const tokenIds = Int32Array.from(expected.get("input_ids")?.data ?? [], Number);
  const program = await executor.compile(graph, {
    source: model.checkpoint,
    maxTokens: tokenIds.length,
    maxSequences: 1,
    pages: 0,
    maxPagesPerSequence: 1,
  });
  const outputs = await program.run(
    { token_ids: tokenIds, positions: Int32Array.from(tokenIds.keys()) },
    { T: tokenIds.length },
  );
  executor.dispose();
  for (let l = 0; l < layers; l++) sortChoices(outputs, l, model.config.num_experts_per_tok ?? 1);
  for (const name of graph.outputs.keys()) {
    const want = Array.from(expected.get(name)?.data ?? [], Number);
    assert.ok(want.length > 0, `golden tensor ${name}`);
    if (name.endsWith(".ids")) assert.deepEqual([...outputs[name]], want, name);
    else {
      const error = relativeError(outputs[name], want);
      assert.ok(error <= TOLERANCES.logitsF32, `${name} is off by ${error}`);
    }
  }
}

for (const name of FIRST_MODELS) {
  const folder = new URL(name, GOLDEN).pathname;
  for (
    const [variant, path, configFile] of [
      ["hub names", folder, "config.json"],
      ["the config of transformers 4", folder, "config_legacy.json"],
      ["stacked experts", `${folder}/fused`, "config.json"],
    ].slice(0, name === "gpt_oss" ? 2 : 3) // on the hub, its experts are stacked already
  ) {
    Deno.test(`build() of ${name} gives transformers' values with ${variant}`, async () => {
      const golden = await readSafetensors(new URL(`${name}/golden.safetensors`, GOLDEN));
      const model = await openFixture(path, configFile);
      await compare(model, golden, variant === "hub names" ? 1 : 0);
      await model.checkpoint.close();
    });
  }
}

Deno.test("build() gives every loop over experts symbols of its own", async () => {
  const model = await openFixture(new URL("qwen3_moe", GOLDEN).pathname);
  const { graph } = model.build();
  await model.checkpoint.close();
  const symbols = graph.nodes.flatMap((node) => isOp(node, "where") ? [node.attrs.symbol] : []);
  const { num_hidden_layers: layers, num_experts: experts = 0 } = model.config;
  assert.equal(symbols.length, layers * experts);
  assert.equal(new Set(symbols).size, symbols.length);
  assert.ok(graph.nodes.every((node) => nodeInputs(node).length > 0));
});
