/**
 * A sampler of one's own, and a plug-in: `plugins: [./07_own_sampler.ts]` in a YAML file, or `--plugin
 * examples/07_own_sampler.ts`, brings the key `without_letter`. Before each draw a sampler says which
 * tokens are allowed, and what is added to their logits; the device draws. Run with
 * `deno run --allow-read --allow-env examples/07_own_sampler.ts`.
 *
 * @module
 */

import { defineSampler } from "../api/samplers.ts";
import { z } from "../deps/zod.ts";
import { definePlugin, type Pipeline, pipeline, usePlugin } from "../mod.ts";

const withoutLetter = defineSampler({
  key: "without_letter",
  summary: "Forbid every token that has a letter in it",
  config: z.object({
    letter: z.string().length(1).default("e").describe("The letter, in either case"),
  }),
  // Once for a deployment: what depends on the vocabulary alone.
  open({ letter }, { vocabSize, texts }) {
    /** One bit for each token: bit `id % 32` of word `id / 32`. */
    const allowed = new Uint32Array(Math.ceil(vocabSize / 32));
    for (const [id, text] of texts.entries()) {
      // Special tokens have no text, and are allowed: one ends the story.
      if (!text.toLowerCase().includes(letter.toLowerCase())) allowed[id >> 5] |= 1 << (id & 31);
    }
    // Once for each answer, with its prompt; then before each draw, with the tokens made so far.
    return (_prompt) => (made) => {
      const last = made.at(-1);
      // Another token than the last one: its logit is a bit lower.
      return { allowed, ...(last !== undefined && { bias: new Map([[last, -2]]) }) };
    };
  },
});

const plugin = definePlugin({ samplers: [withoutLetter] });
export default plugin;

// The method exists once the plug-in is used; this tells the types so.
declare module "../mod.ts" {
  interface Pipeline {
    withoutLetter(fields?: { letter?: string; enabled?: boolean }): Pipeline;
  }
}

async function main() {
  usePlugin(plugin);
  const strict = pipeline().withoutLetter({ letter: "e" });
  console.log(strict.toYaml());
  console.log(`YAML says the same: ${pipeline.fromYaml(strict.toYaml()).equals(strict)}`);
  const draw = { maxNewTokens: 24, temperature: 0.8, seed: 3 };
  for (const each of [pipeline(), strict] satisfies Pipeline[]) {
    await using engine = await each.deploy({ model: "demo/storyteller" });
    const text = await engine.generate("A lion and a fox sat", draw).text();
    console.log(`${text}\nno "e": ${!/e/i.test(text)}`);
  }
}

// Not awaited here: a plug-in has no await at its top level.
if (import.meta.main) main();
