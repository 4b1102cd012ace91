/**
 * Deploys the bundled model and prints what it writes. Run with
 * `deno run --allow-read --allow-env examples/01_generate.ts`.
 *
 * @module
 */

import { pipeline } from "../mod.ts";

// `await using` frees the device's memory at the end of the block.
await using engine = await pipeline().deploy({ model: "demo/storyteller" });

console.error(engine.report.executor.description);

const encoder = new TextEncoder();
const story = engine.generate("Once upon a time", { maxNewTokens: 64, temperature: 0 });
for await (const piece of story) Deno.stdout.writeSync(encoder.encode(piece.text));
console.log();

const { decode } = engine.report.timings;
console.error(`${decode.tokens} tokens, ${decode.tokensPerSecond.toFixed(1)} a second`);
