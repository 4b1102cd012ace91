/**
 * How a server ends: what it has taken is answered to the last byte.
 *
 * @module
 */

import assert from "node:assert/strict";
import { cliCommand } from "../support/cli.ts";
import { slowTest } from "../support/quick.ts";
import { serveScripted, type TestServer } from "../support/server.ts";
import { until } from "../support/until.ts";

/** Asks, and closes the server as soon as the request is in flight. */
async function askAndClose(opened: TestServer, body: object): Promise<[string, Promise<void>]> {
  const answer = fetch(`${opened.url}/v1/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  await until(() => opened.server.service.admission.inFlight === 1);
  const closed = opened.server.close();
  return [await (await answer).text(), closed];
}

Deno.test("close() sends the only answer in flight to its end, streamed or not", async () => {
  for (const stream of [false, true]) {
    await using opened = await serveScripted({ drainSeconds: 5 });
    const [text, closed] = await askAndClose(opened, { prompt: "wait 100\nsay a\nsay b", stream });
    if (stream) assert.match(text, /"finish_reason":"stop"[^\n]*\n\ndata: \[DONE\]\n\n$/);
    else assert.equal(JSON.parse(text).choices[0].text, "ab");
    await closed;
  }
});

Deno.test("close() waits for a reader that is slow", async () => {
  await using opened = await serveScripted({ drainSeconds: 5, maxBodyBytes: 64 << 20 });
  const { port } = new URL(opened.url);
  using connection = await Deno.connect({ hostname: "127.0.0.1", port: Number(port) });
  // More than what the system keeps of a connection that nobody reads.
  const line = `say ${"x".repeat(1 << 20)}\n`;
  const body = JSON.stringify({ prompt: `wait 50\n${line.repeat(12)}` });
  const head = "POST /v1/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n" +
    `content-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n`;
  const writer = connection.writable.getWriter();
  await writer.write(new TextEncoder().encode(head + body));
  writer.releaseLock();
  await until(() => opened.server.service.admission.inFlight === 1);
  const closed = opened.server.close();
  await until(() => opened.server.service.admission.inFlight === 0);
  await new Promise((resolve) => setTimeout(resolve, 200));
  const answer = await new Response(connection.readable).text();
  assert.match(answer.slice(-1000), /"finish_reason":"stop"/);
  assert.ok(answer.length > 12 << 20, `${answer.length}`);
  await closed;
});

slowTest(
  "one Ctrl-C that comes twice, as by a task, ends a server in order; a second at once",
  async () => {
    for (const [pause, max_tokens, ends] of [[20, 150, true], [400, 1000, false]] as const) {
      const args = ["serve", "--port", "0", "--executor", "cpu", "--log-level", "error"];
      const child = cliCommand(args).spawn();
      const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
      const { value: url = "" } = await reader.read();
      const answer = await fetch(`${url.trim()}/v1/completions`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({
          ...{ prompt: "Once upon a time", max_tokens, ignore_eos: true, stream: true },
        }),
      });
      child.kill("SIGINT");
      await new Promise((resolve) => setTimeout(resolve, pause));
      child.kill("SIGINT");
      const text = await answer.text().catch(() => "");
      await Promise.all([reader.cancel(), child.stderr.cancel()]);
      const { code } = await child.status;
      assert.equal(text.endsWith("data: [DONE]\n\n"), ends, text.slice(-200));
      assert.equal(code, ends ? 0 : 130);
    }
  },
);

Deno.test("a server that ends is not ready, and lives", async () => {
  await using opened = await serveScripted({ drainSeconds: 5 });
  const status = async (path: string) => {
    const answer = await fetch(`${opened.url}${path}`);
    await answer.body?.cancel();
    return answer.status;
  };
  assert.equal(await status("/health/ready"), 200);
  const held = opened.client.completions.create({ model: "scripted", prompt: "wait 400\nsay a" });
  await until(() => opened.server.service.admission.inFlight === 1);
  const closed = opened.server.close();
  const paths = ["/health/ready", "/health", "/health/live"];
  assert.deepEqual(await Promise.all(paths.map(status)), [503, 503, 200]);
  assert.equal((await held).choices[0].text, "a");
  await closed;
});
