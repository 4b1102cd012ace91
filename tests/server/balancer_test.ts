/**
 * Two servers behind HAProxy with the configuration that we ship: one is killed in the middle of
 * streams, and nothing but those streams is lost.
 *
 * @module
 */

import assert from "node:assert/strict";
import { join } from "node:path";
import OpenAI from "../../deps/openai.ts";
import { serveScripted, type TestServer } from "../support/server.ts";
import { until } from "../support/until.ts";
import { IS_QUICK } from "../support/quick.ts";

const hasHaproxy = await new Deno.Command("haproxy", {
  args: ["-v"],
  stdout: "null",
  stderr: "null",
})
  .output().then(({ success }) => success, () => false);

const REASON = IS_QUICK ? "--quick" : hasHaproxy ? undefined : "haproxy is not installed";

Deno.test({
  name: `a balancer loses nothing but the streams of a server that dies${
    REASON ? ` [left out: ${REASON}]` : ""
  }`,
  ignore: REASON !== undefined,
  async fn() {
    await using one = await serveScripted();
    await using two = await serveScripted();
    await using balancer = await startBalancer([one, two]);
    const client = new OpenAI({ baseURL: `${balancer.url}/v1`, apiKey: "none", maxRetries: 0 });
    await until(async () => (await ask(client, "say ready").catch(() => "")) === "ready");

    const streams = Array.from({ length: 8 }, () => readStream(client));
    await until(() => inFlight(one) === 4 && inFlight(two) === 4);
    const { supervisor } = one.server.service;
    Deno.kill(supervisor.pid, "SIGKILL");
    const asked = await Promise.all(
      Array.from({ length: 20 }, (_, i) => answerOf(client, `say ${i}`)),
    );
    const ended = await Promise.all(streams);
    // Those of the other server are whole, and so are those that had not begun: they began there again.
    const whole = ended.filter((text) => text === "0 1 2 3 4 5 6 7 ");
    const broken = ended.filter((text) => /^0 .*\(broken\)$/.test(text));
    assert.ok(whole.length >= 4, JSON.stringify(ended));
    assert.equal(whole.length + broken.length, 8, JSON.stringify(ended));
    // Until the health check sees it, the server without an engine says 503, which clients repeat.
    const wrong = asked.filter(({ text, status }, i) => text !== String(i) && status !== 503);
    assert.deepEqual(wrong, []);
    await until(() => supervisor.state === "ready");
    assert.equal(await ask(client, "say well"), "well");
  },
});

Deno.test({
  name: `a balancer loses nothing when a server ends${REASON ? ` [left out: ${REASON}]` : ""}`,
  ignore: REASON !== undefined,
  async fn() {
    await using one = await serveScripted({ drainSeconds: 10 });
    await using two = await serveScripted();
    await using balancer = await startBalancer([one, two]);
    const client = new OpenAI({ baseURL: `${balancer.url}/v1`, apiKey: "none", maxRetries: 0 });
    await until(async () => (await ask(client, "say ready").catch(() => "")) === "ready");
    // Longer than it takes the balancer to find that the server is not ready.
    const streams = Array.from({ length: 4 }, () => readStream(client, 300));
    await until(() => inFlight(one) === 2 && inFlight(two) === 2);
    const closed = one.server.close();
    for (let i = 0; i < 20; i++) {
      assert.equal(await ask(client, `say ${i}`), String(i));
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    const whole = Array.from({ length: 4 }, () => "0 1 2 3 4 5 6 7 ");
    assert.deepEqual(await Promise.all(streams), whole);
    await closed;
  },
});

function inFlight({ server }: TestServer): number {
  return server.service.admission.inFlight;
}

async function ask(client: OpenAI, prompt: string): Promise<string> {
  const { choices } = await client.completions.create({ model: "scripted", prompt });
  return choices[0].text;
}

async function answerOf(client: OpenAI, prompt: string) {
  try {
    return { text: await ask(client, prompt), status: 200 };
  } catch (error) {
    return { text: "", status: error instanceof OpenAI.APIError ? error.status : String(error) };
  }
}

/** The text of a stream of eight pieces, each after so many milliseconds, or what came before it broke. */
async function readStream(client: OpenAI, pause = 60): Promise<string> {
  const script = Array.from({ length: 8 }, (_, i) => `say ${i} \nwait ${pause}`).join("\n");
  let text = "";
  try {
    const stream = await client.completions.create({
      model: "scripted",
      prompt: script,
      stream: true,
    });
    for await (const { choices } of stream) text += choices[0]?.text ?? "";
  } catch {
    text += "(broken)";
  }
  return text;
}

/** Starts HAProxy with our file, its ports replaced. */
async function startBalancer(servers: readonly TestServer[]) {
  const folder = await Deno.makeTempDir({ prefix: "mixline_haproxy_" });
  const port = freePort();
  const [first, second] = servers.map(({ url }) => new URL(url).port);
  const shipped = await Deno.readTextFile(new URL("../../deploy/haproxy.cfg", import.meta.url));
  const text = shipped.replace("127.0.0.1:8080", `127.0.0.1:${port}`)
    .replace("127.0.0.1:8001", `127.0.0.1:${first}`)
    .replace("127.0.0.1:8002", `127.0.0.1:${second}`);
  const file = join(folder, "haproxy.cfg");
  await Deno.writeTextFile(file, text);
  const process = new Deno.Command("haproxy", {
    args: ["-f", file, "-db"],
    stdout: "null",
    stderr: "null",
  }).spawn();
  return {
    url: `http://127.0.0.1:${port}`,
    async [Symbol.asyncDispose]() {
      process.kill("SIGTERM");
      await process.status;
      await Deno.remove(folder, { recursive: true });
    },
  };
}

function freePort(): number {
  using listener = Deno.listen({ port: 0, hostname: "127.0.0.1" });
  return listener.addr.port;
}
