/**
 * How a server starts, and what keeps it from starting.
 *
 * @module
 */

import assert from "node:assert/strict";
import { pipeline } from "../../mod.ts";
import { openLog, serve } from "../../server/mod.ts";
import { serveScripted } from "../support/server.ts";
import { slowTest } from "../support/quick.ts";

slowTest("serve() refuses an address that is taken before it loads a model", async () => {
  await using opened = await openLog({ format: "json", level: "error", colors: false });
  using taken = Deno.listen({ port: 0, hostname: "127.0.0.1" });
  const { port } = taken.addr;
  const begin = performance.now();
  // This engine would take a minute to open.
  const command = { command: "sleep", args: ["60"] };
  const serving = serve(pipeline(), { port }, { log: opened.log, command });
  await assert.rejects(serving, { code: "serve/cannot-listen" });
  assert.ok(performance.now() - begin < 30_000);
});

slowTest("serve() raises what keeps the engine from opening, with its code", async () => {
  await using opened = await openLog({ format: "json", level: "error", colors: false });
  const serving = serve(pipeline().settings({ model: "/nowhere" }), { port: 0 }, {
    log: opened.log,
  });
  await assert.rejects(serving, { exitCode: 3, message: /Cannot open model "\/nowhere"/ });
});

Deno.test("serve() demands a key for addresses beyond this machine, and checks its options", async () => {
  const context = { log: (await openLog({ format: "json", level: "error", colors: false })).log };
  for (
    const [options, code] of [
      [{ host: "0.0.0.0" }, "serve/no-key"],
      [{ port: 70_000 }, "serve/invalid-option"],
      [{ maxRequests: 0.5 }, "serve/invalid-option"],
      [{ apiKeys: ["short"] }, "serve/invalid-key"],
      [{ allowedOrigins: ["app.example"] }, "serve/invalid-origin"],
      [{ allowedOrigins: ["https://app.example/path"] }, "serve/invalid-origin"],
      [{ servedModelName: "" }, "serve/invalid-option"],
    ] as const
  ) {
    await assert.rejects(serve(pipeline(), options, context), { code });
  }
});

Deno.test("the OpenAPI document describes every route", async () => {
  await using opened = await serveScripted();
  const document = await (await fetch(`${opened.url}/openapi.json`)).json();
  assert.equal(document.openapi, "3.1.0");
  assert.deepEqual(Object.keys(document.paths).sort(), [
    "/detokenize",
    "/experts",
    "/health",
    "/health/live",
    "/health/ready",
    "/tokenize",
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/models",
    "/v1/models/{model}",
    "/v1/responses",
  ]);
  const body = document.components.schemas.ChatCompletionRequest;
  assert.deepEqual(body.required, ["messages"]);
  const unnamed = await fetch(`${opened.url}/v1/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ messages: [{ role: "user", content: "say a" }] }),
  });
  assert.equal((await unnamed.json()).model, "scripted");
  const metrics = await (await fetch(`${opened.url}/metrics`)).text();
  assert.match(metrics, /^mixline_kv_pages_total 8$/m);
  assert.match(metrics, /^mixline_engine_state\{state="ready"\} 1$/m);
  assert.match(metrics, /^mixline_experts_used\{layer="model\.layers\.0\.mlp"\} 3$/m);
  assert.match(metrics, /^mixline_experts_most_over_mean\{layer="model\.layers\.0\.mlp"\} 2$/m);
  const { layers } = await (await fetch(`${opened.url}/experts`)).json();
  assert.deepEqual(layers[1], { layer: "model.layers.1.mlp", counts: [2, 2, 2, 2] });
});
