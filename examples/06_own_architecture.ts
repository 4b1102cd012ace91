/**
 * An architecture of one's own, and a plug-in. The model here is the bundled one under a name that
 * Mixline does not know; `build` writes its layers with the plain operations of the modelling code, and
 * the transforms find what to fuse. Run with
 * `deno run --allow-read --allow-write --allow-env examples/06_own_architecture.ts`.
 *
 * @module
 */

import { z } from "../deps/zod.ts";
import { definePlugin, pipeline, usePlugin } from "../mod.ts";
import {
  baseConfigFields,
  classDefaults,
  decoder,
  defineArchitecture,
  headNorms,
  hiddenActSchema,
  moeConfigFields,
  plainAttention,
  PROJECTION_NAMES,
  softmaxMlp,
} from "../api/architectures.ts";

const teller = defineArchitecture({
  name: "teller",
  hfNames: ["TellerForCausalLM"],
  features: ["softmax router", "norms of q and k"],
  // What keys mean that a config.json leaves out: here as in Qwen3-MoE.
  reading: { defaults: classDefaults("qwen3_moe"), names: { num_local_experts: "num_experts" } },
  config: z.looseObject({
    ...baseConfigFields,
    ...moeConfigFields,
    hidden_act: hiddenActSchema,
    moe_intermediate_size: z.int().positive(),
    norm_topk_prob: z.boolean().default(false),
  }),
  build(b, config, weights) {
    decoder(b, config, weights, (_layer, module) => ({
      attention: {
        ...plainAttention(config, weights, `${module}.self_attn`),
        qkNorm: headNorms(config, weights, `${module}.self_attn`),
      },
      mlp: softmaxMlp(weights, {
        modules: [`${module}.mlp`],
        source: PROJECTION_NAMES,
        experts: config.num_experts,
        hidden: config.hidden_size,
        intermediate: config.moe_intermediate_size,
        topK: config.num_experts_per_tok,
        renormalize: config.norm_topk_prob,
        activation: config.hidden_act,
      }),
    }));
  },
});

const plugin = definePlugin({ architectures: [teller] });
export default plugin;

async function main() {
  usePlugin(plugin);
  const model = await Deno.makeTempDir();
  for await (const { name, isFile } of Deno.readDir("demo/storyteller")) {
    if (isFile) await Deno.copyFile(`demo/storyteller/${name}`, `${model}/${name}`);
  }
  const config = JSON.parse(await Deno.readTextFile(`${model}/config.json`));
  const own = { ...config, architectures: ["TellerForCausalLM"], model_type: "teller" };
  await Deno.writeTextFile(`${model}/config.json`, JSON.stringify(own));
  await using engine = await pipeline().deploy({ model });
  console.log(JSON.stringify(engine.report.model));
  console.log(
    await engine.generate("Once upon a time", { maxNewTokens: 16, temperature: 0 }).text(),
  );
  await Deno.remove(model, { recursive: true });
}

if (import.meta.main) main();
