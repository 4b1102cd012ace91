/**
 * Spans of requests, sent by Deno to a collector.
 *
 * @module
 */

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";
import { slowTest } from "../support/quick.ts";
import { until } from "../support/until.ts";

const MAIN = fileURLToPath(new URL("../../cli/main.ts", import.meta.url));
const TRACE = "0af7651916cd43dd8448eb211c80319c";

slowTest("with OTEL_DENO a request is a span of its client's trace", async () => {
  const traces: string[] = [];
  // Not `Deno.serve`: HTTP of the servers under test replaces `Response` in this process.
  const collector = createServer((request, answer) => {
    request.setEncoding("utf8");
    let text = "";
    request.on("data", (part) => text += part);
    request.on("end", () => {
      if (request.url === "/v1/traces") traces.push(text);
      answer.setHeader("content-type", "application/json").end("{}");
    });
  });
  await new Promise<void>((resolve) => collector.listen(0, "127.0.0.1", resolve));
  const address = collector.address();
  assert.ok(address !== null && typeof address === "object");
  const server = new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "-A", "--no-lock", "--no-check", MAIN, "serve", "--port", "0"],
      ...["--executor", "cpu", "--log-level", "error"],
    ],
    env: {
      OTEL_DENO: "true",
      OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${address.port}`,
      OTEL_BSP_SCHEDULE_DELAY: "50",
    },
    ...{ stdin: "null", stdout: "piped" },
  }).spawn();
  try {
    const reader = server.stdout.pipeThrough(new TextDecoderStream()).getReader();
    const { value: url = "" } = await reader.read();
    const answer = await fetch(`${url.trim()}/v1/completions`, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        traceparent: `00-${TRACE}-b7ad6b7169203331-01`,
      },
      body: JSON.stringify({ model: "storyteller", prompt: "A fox", max_tokens: 2, stream: true }),
    });
    assert.match(await answer.text(), /\[DONE\]/);
    await until(() => traces.some((text) => text.includes(TRACE)), 30_000);
    assert.match(traces.join(), /"name":\s*"POST/);
    assert.doesNotMatch(traces.join(), /A fox/);
    await reader.cancel();
  } finally {
    server.kill("SIGTERM");
    await server.status;
    collector.closeAllConnections();
    await new Promise((resolve) => collector.close(resolve));
  }
});
