/**
 * Chooses the MoE backend of each layer, and shows the same pipeline as YAML. Run with
 * `deno run --allow-read --allow-env examples/02_backend_per_layer.ts`.
 *
 * @module
 */

import { pipeline } from "../mod.ts";

const mixed = pipeline().fuseMoe({
  backend: "trtllm",
  overrides: [
    { match: "model.layers.0.*", backend: "triton" },
    { match: "model.layers.4.*", backend: "triton" },
  ],
});

console.log(mixed.toYaml());

await using engine = await mixed.deploy({ model: "demo/storyteller" });
await using plain = await pipeline().fuseMoe({ backend: "trtllm" })
  .deploy({ model: "demo/storyteller" });

const options = { maxNewTokens: 24, temperature: 0 };
const ours = await engine.generate("Once upon a time", options).text();
const theirs = await plain.generate("Once upon a time", options).text();
console.log(ours);
console.log(`The backends agree: ${ours === theirs}`);
