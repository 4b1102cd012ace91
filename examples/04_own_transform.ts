/**
 * A transform of one's own. The module is a plug-in too: `plugins: [./04_own_transform.ts]` in a
 * YAML file, or `--plugin examples/04_own_transform.ts`, brings the key `scale_logits`. Run with
 * `deno run --allow-read --allow-env examples/04_own_transform.ts`.
 *
 * @module
 */

import { z } from "../deps/zod.ts";
import { constant, GraphBuilder } from "../api/transforms.ts";
import { definePlugin, defineTransform, type Pipeline, pipeline, usePlugin } from "../mod.ts";

const scaleLogits = defineTransform({
  key: "scale_logits",
  stage: "post_load_fusion",
  summary: "Multiply the logits by a number, as dividing by a temperature does",
  config: z.object({
    factor: z.number().positive().default(1).describe("What the logits are multiplied by"),
  }),
  // Says what it will do, and changes nothing.
  plan(graph, { factor }) {
    const logits = graph.outputs.get("logits");
    if (!logits) return { matches: [], skipped: "the graph has no logits" };
    if (factor === 1) return { matches: [], skipped: "a factor of 1 changes nothing" };
    return { matches: [logits] };
  },
  apply(graph, { matches: [logits] }, { factor }) {
    const b = new GraphBuilder(graph, { scope: "scale_logits" });
    const by = b.weight("factor", constant(Float32Array.of(factor), [1]));
    graph.setOutput("logits", b.op("mul", { a: logits, b: by }));
  },
});

const plugin = definePlugin({ transforms: [scaleLogits] });
export default plugin;

// The method exists once the plug-in is used; this tells the types so.
declare module "../mod.ts" {
  interface Pipeline {
    scaleLogits(fields?: { factor?: number; enabled?: boolean }): Pipeline;
  }
}

async function main() {
  usePlugin(plugin);
  const sharp = pipeline().scaleLogits({ factor: 4 });
  console.log(sharp.toYaml());
  console.log(`YAML says the same: ${pipeline.fromYaml(sharp.toYaml()).equals(sharp)}`);
  const draw = { maxNewTokens: 16, temperature: 1, seed: 1 };
  for (const each of [pipeline(), sharp] satisfies Pipeline[]) {
    await using engine = await each.deploy({ model: "demo/storyteller" });
    console.log(await engine.generate("Once upon a time", draw).text());
  }
}

// Not awaited here: a plug-in has no await at its top level.
if (import.meta.main) main();
