/**
 * A sampler of one's own: `allowedTokens` is asked before each draw, and may forbid what it likes. This
 * one tells a story without the letter e. Run with
 * `deno run --allow-read --allow-env examples/07_own_sampler.ts`.
 *
 * @module
 */

import { type GenerateOptions, pipeline } from "../mod.ts";

await using engine = await pipeline().deploy({ model: "demo/storyteller" });

// The text of every token by its id; empty for special tokens, which are allowed: one ends the story.
const { texts } = engine.vocabulary() ?? { texts: [] };

/** One bit for each token: bit `id % 32` of word `id / 32`. */
const mask = new Uint32Array(Math.ceil(engine.vocabSize / 32));
for (const [id, text] of texts.entries()) {
  if (!/e/i.test(text)) mask[id >> 5] |= 1 << (id & 31);
}

let draws = 0;
const options: GenerateOptions = {
  maxNewTokens: 24,
  temperature: 0.8,
  seed: 3,
  // `made` has the tokens made so far, for rules that depend on them; undefined allows all.
  allowedTokens(made) {
    draws = Math.max(draws, made.length + 1);
    return mask;
  },
};
const text = await engine.generate("A lion and a fox sat", options).text();
console.log(text);
console.log(`in ${draws} draws no "e": ${!/e/i.test(text)}`);
