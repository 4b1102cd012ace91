/**
 * Eager graphs of every family on the CPU against transformers: logits, hidden states, choices of
 * experts; by the config of transformers 5 and of 4, by the hub's names and those in memory, and below
 * a vision model.
 */

import assert from "node:assert/strict";
import { type Graph, type HostTensor, isOp, type Node } from "../../graph/mod.ts";
import { Checkpoint, findArchitecture, normalizeConfig } from "../../models/mod.ts";
import { openCpuExecutor } from "../../runtime/mod.ts";
import { keptTensors, wrappedTensors, writeModel } from "../support/kept_layout.ts";
import { GOLDEN } from "../support/golden_values.ts";
import { readSafetensors } from "../support/safetensors.ts";
import { relativeError, TOLERANCES } from "../support/tolerances.ts";
import { FIRST_MODELS, VERIFIED_MODELS } from "../support/verified_models.ts";

/** Models with more than logits; those of the first architectures are in `eager_golden_test.ts`. */
const FAMILIES = Object.entries(VERIFIED_MODELS)
  .filter(([name, { legacy }]) => legacy && !FIRST_MODELS.includes(name));

type Arrays = Record<string, Float32Array | Int32Array>;

async function readConfig(folder: string, file: string): Promise<Record<string, unknown>> {
  return JSON.parse(await Deno.readTextFile(`${folder}/${file}`));
}

async function openModel(folder: string, raw: unknown) {
  const config = normalizeConfig(raw, "config.json");
  const { build } = findArchitecture(config, "config.json").configure(config, "config.json");
  const checkpoint = await Checkpoint.open(folder);
  // Beyond 64 tokens LongRoPE takes its other factors.
  return { checkpoint, ...build(checkpoint, undefined, { maxSeqLen: 64 }) };
}

/** Makes hidden states and choices results, where the golden data have them. */
function exposeInternals(graph: Graph, wanted: ReadonlySet<string>): void {
  const scopes = Map.groupBy(graph.nodes, ({ scope }) => scope);
  const expose = (name: string, node: Node | undefined, output = 0) => {
    assert.ok(node, `a node for ${name}`);
    if (wanted.has(name)) graph.setOutput(name, node.outputs[output]);
  };
  const last = (pattern: RegExp) =>
    graph.nodes.findLast(({ scope, op }) => pattern.test(scope) && op !== "reshape");
  expose("hidden.embed", last(/^(model\.embed_tokens|transformer\.wte)$/));
  expose("hidden.final", last(/^(model\.norm|transformer\.norm_f)$/));
  for (let layer = 0; wanted.has(`hidden.${layer}`); layer++) {
    const at = `(model\\.layers|transformer\\.blocks)\\.${layer}`;
    expose(`hidden.${layer}`, last(new RegExp(`^${at}$`)));
    if (!wanted.has(`router.${layer}.ids`)) continue;
    const router = [...scopes].find(([scope, nodes]) =>
      new RegExp(`^${at}\\.`).test(scope) &&
      nodes.some((node) => isOp(node, "topk") || isOp(node, "sparse_mixer"))
    )?.[1] ?? [];
    expose(`router.${layer}.logits`, router.find((node) => isOp(node, "linear")));
    const mixer = router.find((node) => isOp(node, "sparse_mixer"));
    const topk = router.findLast((node) => isOp(node, "topk"));
    expose(`router.${layer}.ids`, mixer ?? topk, mixer ? 0 : 1);
    const weights = router.findLast((node) => !isOp(node, "scatter"));
    expose(`router.${layer}.weights`, weights, mixer ? 1 : 0);
  }
}

/** Experts ascending, each with its weight, as the golden data have them. */
function sortChoices(outputs: Arrays, layer: number, k: number): void {
  const [ids, weights] = [outputs[`router.${layer}.ids`], outputs[`router.${layer}.weights`]];
  for (let row = 0; ids && row < ids.length; row += k) {
    const order = Array.from({ length: k }, (_, i) => row + i).sort((a, b) => ids[a] - ids[b]);
    const sorted = order.map((at) => [ids[at], weights[at]]);
    sorted.forEach(([id, weight], i) => [ids[row + i], weights[row + i]] = [id, weight]);
  }
}

async function compare(
  model: Awaited<ReturnType<typeof openModel>>,
  golden: ReadonlyMap<string, HostTensor>,
  prompt: string,
): Promise<void> {
  const unknown = model.unusedTensors.filter(({ reason }) => reason === undefined);
  assert.deepEqual(unknown, []);
  const expected = new Map(
    [...golden].filter(([name]) => name.startsWith(`${prompt}.`))
      .map(([name, { data }]) => [name.slice(3), Array.from(data as ArrayLike<number>, Number)]),
  );
  exposeInternals(model.graph, new Set(expected.keys()));
  const tokenIds = Int32Array.from(expected.get("input_ids") ?? []);
  const executor = openCpuExecutor();
  const program = await executor.compile(model.graph, {
    source: model.checkpoint,
    maxTokens: tokenIds.length,
    ...{ maxSequences: 1, pages: 0, maxPagesPerSequence: 1 },
  });
  const outputs = await program.run(
    { token_ids: tokenIds, positions: Int32Array.from(tokenIds.keys()) },
    { T: tokenIds.length },
  );
  executor.dispose();
  for (let layer = 0; layer < 8; layer++) {
    const ids = expected.get(`router.${layer}.ids`);
    if (ids) sortChoices(outputs, layer, ids.length / tokenIds.length);
  }
  for (const name of model.graph.outputs.keys()) {
    const want = expected.get(name) ?? [];
    assert.ok(want.length > 0, `golden tensor ${name}`);
    if (name.endsWith(".ids")) assert.deepEqual([...outputs[name]], want, name);
    else {
      const error = relativeError(outputs[name], want);
      assert.ok(error <= TOLERANCES.logitsF32, `${name} is off by ${error}`);
    }
  }
}

for (const [name, { kept }] of FAMILIES) {
  const folder = new URL(name, GOLDEN).pathname;
  const goldens = () => readSafetensors(new URL(`${name}/golden.safetensors`, GOLDEN));

  Deno.test(`build() of ${name} gives transformers' values, inside too`, async () => {
    const model = await openModel(folder, await readConfig(folder, "config.json"));
    await compare(model, await goldens(), "p1");
    await model.checkpoint.close();
  });

  Deno.test(`build() of ${name} understands the config of transformers 4`, async () => {
    const model = await openModel(folder, await readConfig(folder, "config_legacy.json"));
    await compare(model, await goldens(), "p0");
    await model.checkpoint.close();
  });

  if (!kept) continue;
  Deno.test(`build() of ${name} finds experts as transformers keeps them`, async () => {
    const raw = await readConfig(folder, "config.json");
    const other = await writeModel(await keptTensors(folder, name), raw);
    try {
      const model = await openModel(other, raw);
      await compare(model, await goldens(), "p0");
      await model.checkpoint.close();
    } finally {
      await Deno.remove(other, { recursive: true });
    }
  });
}

/** Models of which golden data have logits alone. */
const TAIL = Object.keys(VERIFIED_MODELS).filter((name) => !VERIFIED_MODELS[name].legacy);

for (const name of TAIL) {
  Deno.test(`build() of ${name} gives transformers' logits`, async () => {
    const folder = new URL(name, GOLDEN).pathname;
    const golden = await readSafetensors(new URL(`${name}/golden.safetensors`, GOLDEN));
    for (const prompt of ["p0", "p1"]) {
      const model = await openModel(folder, await readConfig(folder, "config.json"));
      await compare(model, golden, prompt);
      await model.checkpoint.close();
    }
  });
}

/** Models that are published below a vision model, and its config. */
const WRAPPERS: Readonly<Record<string, (folder: string) => Promise<Record<string, unknown>>>> = {
  gemma4: (folder) => readConfig(`${folder}/hub`, "config.json"),
  // Kimi-K2.5.
  deepseek_v3: async (folder) => {
    const { architectures: _, ...text } = await readConfig(folder, "config.json");
    return {
      ...{ architectures: ["KimiK25ForConditionalGeneration"], model_type: "kimi_k25" },
      ...{ text_config: text, vision_config: { model_type: "kimi_k25_vision" } },
    };
  },
};

for (
  const [what, inside, outside] of [
    ["transformers 5", "model.language_model.", ""],
    ["transformers 4", "language_model.model.", "language_model."],
  ]
) {
  for (const [name, config] of Object.entries(WRAPPERS)) {
    Deno.test(`build() of ${name} loads the text of a vision model of ${what}`, async () => {
      const folder = new URL(name, GOLDEN).pathname;
      const raw = await config(folder);
      const other = await writeModel(await wrappedTensors(folder, inside, outside), raw);
      try {
        const model = await openModel(other, raw);
        assert.equal(model.unusedTensors.length, 2);
        const golden = await readSafetensors(new URL(`${name}/golden.safetensors`, GOLDEN));
        await compare(model, golden, "p0");
        await model.checkpoint.close();
      } finally {
        await Deno.remove(other, { recursive: true });
      }
    });
  }
}

for (const name of ["gptoss_rope_scaling_null", "mixtral_partial_rotary_top_level"]) {
  Deno.test(`build() reads ${name} as transformers does`, async () => {
    const folder = new URL(`odd_configs/${name}`, GOLDEN).pathname;
    const model = await openModel(folder, await readConfig(folder, "config.json"));
    const golden = await readSafetensors(new URL(`odd_configs/${name}/golden.safetensors`, GOLDEN));
    await compare(model, golden, "p0");
    await model.checkpoint.close();
  });
}
