import assert from "node:assert/strict";
import { type Graph, printGraph } from "../../graph/mod.ts";
import type { Model } from "../../models/mod.ts";
import {
  missingCaches,
  optimize,
  type OptimizeOptions,
  type PipelineStep,
  type TransformContext,
  transformKeys,
} from "../../transforms/mod.ts";
import { openBareModel } from "../support/bare_model.ts";
import { defaultSteps, logitsOf } from "../support/language_model.ts";
import { relativeError, TOLERANCES } from "../support/tolerances.ts";
import { assertSnapshot } from "../support/snapshot.ts";

const ROOT = new URL("../golden/", import.meta.url).pathname;
const FOLDERS = ["qwen3_moe", "qwen3_moe/fused", "mixtral", "olmoe", "gpt_oss"];
const PROMPT = [43, 67, 86, 46, 212, 65, 123, 9, 9, 200, 31, 7, 99, 100, 101, 4, 8, 15, 16, 23];

/** A cache in f32, so that results can be compared closely. */
const F32_CACHE = { insert_cached_attention: { cache_dtype: "f32" } };

function contextOf(model: Model): TransformContext {
  return {
    model,
    target: { executor: "cpu" },
    settings: { maxSeqLen: 64, maxBatchSize: 2, maxNumTokens: 64 },
    log() {},
  };
}

async function run(
  folder: string,
  steps: readonly PipelineStep[],
  use: (model: Model, result: Awaited<ReturnType<typeof optimize>>) => void | Promise<void>,
  hooks: (model: Model) => Partial<OptimizeOptions> = () => ({}),
): Promise<void> {
  const model = await openBareModel(ROOT + folder);
  try {
    const result = await optimize({ steps, context: contextOf(model), ...hooks(model) });
    await use(model, result);
  } finally {
    await model.checkpoint.close();
  }
}

for (const folder of FOLDERS) {
  Deno.test(`the default pipeline leaves the logits of ${folder} unchanged at every transform`, async () => {
    const compared: string[] = [];
    let eager: Float32Array | undefined;
    await run(folder, await defaultSteps(F32_CACHE), () => {
      assert.ok(compared.length > 12, `compared only after ${compared}`);
    }, (model) => ({
      async afterTransform(graph, record) {
        if (graph.outputs.size === 0 || missingCaches(graph).length > 0) return;
        if (eager && record.num_matches === 0) return;
        const logits = await logitsOf(graph, model.checkpoint, PROMPT);
        eager ??= logits;
        const error = relativeError(logits, eager);
        assert.ok(error <= TOLERANCES.reordered * 10, `${record.key} changes logits by ${error}`);
        compared.push(record.key);
      },
    }));
  });

  Deno.test(`the default pipeline makes the fast path of ${folder}`, async () => {
    await run(folder, await defaultSteps(), async (_model, { graph, history }) => {
      const misses = history.flatMap(({ key, nearMisses }) =>
        nearMisses.map(({ node, reason }) => `${key}: ${node}: ${reason}`)
      );
      await assertSnapshot(
        `graph/default_${folder.replace("/", "_")}.txt`,
        [printGraph(graph), ...misses].join("\n"),
      );
    });
  });
}

Deno.test("the default pipeline gives the same logits in one step, in chunks, and token by token", async () => {
  await run("olmoe", await defaultSteps(F32_CACHE), async (model, { graph }) => {
    const whole = await logitsOf(graph, model.checkpoint, PROMPT);
    const single = PROMPT.map(() => 1);
    for (const chunks of [[7, 12, 1], single]) {
      const logits = await logitsOf(graph, model.checkpoint, PROMPT, chunks);
      assert.ok(relativeError(logits, whole) <= TOLERANCES.reordered);
    }
  });
});

/** Without these there is no graph to compare, or it cannot be compiled. */
const NEEDED = new Set(["build_model", "export_to_gm", "initialize_cache"]);

/** Logits by the text of their graph: many a transform finds nothing in a model, and changes nothing. */
const logitsByGraph = new Map<string, Promise<Float32Array>>();

function knownLogitsOf(graph: Graph, model: Model): Promise<Float32Array> {
  const text = printGraph(graph);
  const known = logitsByGraph.get(text) ?? logitsOf(graph, model.checkpoint, PROMPT);
  logitsByGraph.set(text, known);
  return known;
}

for (const key of transformKeys().filter((key) => !NEEDED.has(key))) {
  Deno.test(`the default pipeline leaves logits unchanged without ${key}`, async () => {
    const steps = await defaultSteps({ ...F32_CACHE });
    const changed = steps.map((step) =>
      step.key === key ? { key, config: { ...step.config, enabled: false } } : step
    );
    await run("qwen3_moe", changed, async (model, { graph }) => {
      const logits = await knownLogitsOf(graph, model);
      const eager = await knownLogitsOf(model.build().graph, model);
      const error = relativeError(logits, eager);
      assert.ok(error <= TOLERANCES.reordered * 10, `logits differ by ${error}`);
    });
  });
}

Deno.test("transforms of the default pipeline find nothing in what they made", async () => {
  const steps = await defaultSteps();
  const again = steps.filter(({ key }) => /^(match|fuse|cleanup|gather|insert)_/.test(key));
  await run("mixtral", steps, async (model, { graph }) => {
    const before = printGraph(graph);
    const { history } = await optimize({ steps: again, graph, context: contextOf(model) });
    assert.deepEqual(history.filter(({ num_matches }) => num_matches > 0), []);
    assert.equal(printGraph(graph), before);
  });
});
