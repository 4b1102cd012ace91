/**
 * The bundled model from prompt to text: tokens per second of prefill and decode through
 * `pipeline().deploy()`, on WebGPU and on the CPU.
 *
 * @module
 */

import { invariant } from "../graph/mod.ts";
import { pipeline } from "../mod.ts";
import type { Engine } from "../runtime/mod.ts";
import { formatRatio, summarize } from "./statistics.ts";

const MODEL = new URL("../demo/storyteller", import.meta.url).pathname;
const PROMPT_TOKENS = 128;
const NEW_TOKENS = 32;
const RUNS = { n: 5, warmup: 1 };

interface Rates {
  readonly device: string;
  readonly prefill: number[];
  readonly decode: number[];
}

const results: Rates[] = [];
let current:
  | { readonly executor: string; readonly engine: Engine; readonly rates: Rates }
  | undefined;

/** The engine on an executor; the one before is closed. */
async function deployOn(executor: "webgpu" | "cpu") {
  if (current?.executor === executor) return current;
  await current?.engine.close();
  const engine = await pipeline().deploy({ model: MODEL, executor });
  const rates = { device: engine.report.device, prefill: [], decode: [] };
  results.push(rates);
  return current = { executor, engine, rates };
}

for (const executor of ["webgpu", "cpu"] as const) {
  Deno.bench(`${NEW_TOKENS} tokens after ${PROMPT_TOKENS}, ${executor}`, {
    group: "end to end",
    ...RUNS,
  }, async (b) => {
    const { engine, rates } = await deployOn(executor);
    const words = engine.encode("Once upon a time there was a little girl who");
    const prompt = Int32Array.from({ length: PROMPT_TOKENS }, (_, i) => words[i % words.length]);
    const before = engine.report.timings;
    b.start();
    const generation = engine.generate(prompt, {
      ...{ maxNewTokens: NEW_TOKENS, temperature: 0, ignoreEos: true },
    });
    let letters = 0;
    for await (const { text } of generation) letters += text.length;
    b.end();
    invariant(letters > 0, "the model says something");
    const after = engine.report.timings;
    for (const phase of ["prefill", "decode"] as const) {
      const tokens = after[phase].tokens - before[phase].tokens;
      rates[phase].push(tokens / (after[phase].seconds - before[phase].seconds));
    }
  });
}

addEventListener("unload", () => {
  for (const { device, prefill, decode } of results) {
    // The first run compiles.
    const [before, after] = [prefill, decode].map((list) => formatRatio(summarize(list.slice(1))));
    console.log(`\n${device}: prefill ${before} tokens/s, decode ${after} tokens/s`);
  }
});
