/**
 * Input that means harm, or makes no sense: always an answer of the 4xx kind, never a crash, never a
 * request that keeps its place.
 *
 * @module
 */

import assert from "node:assert/strict";
import fc from "../../deps/fast_check.ts";
import { serveScripted, type TestServer } from "../support/server.ts";
import { IS_QUICK, slowTest } from "../support/quick.ts";

/** Fields of requests, with their right values. */
const FIELDS: Readonly<Record<string, unknown>> = {
  model: "scripted",
  messages: [{ role: "user", content: "say x" }],
  prompt: "say x",
  temperature: 1,
  top_p: 1,
  top_k: 1,
  n: 1,
  stop: ["a"],
  seed: 1,
  max_tokens: 1,
  stream: false,
  stream_options: { include_usage: true },
  logit_bias: { "1": 1 },
  logprobs: 1,
  tools: [{ type: "function", function: { name: "f" } }],
  response_format: { type: "text" },
  chat_template_kwargs: {},
};

const PATHS = ["/v1/chat/completions", "/v1/completions", "/tokenize", "/detokenize"];

/** JSON that no client sends. */
const odd = fc.oneof(
  fc.jsonValue({ maxDepth: 3 }),
  fc.constantFrom(-1, 1e308, 2 ** 53, "", "\u0000", "\ud800", [], {}, [[[[[]]]]], { __proto__: 1 }),
);

Deno.test("requests with wrong values are answered with 4xx, or understood", async () => {
  await using opened = await serveScripted();
  const bodies = fc.record({
    path: fc.constantFrom(...PATHS),
    fields: fc.uniqueArray(fc.constantFrom(...Object.keys(FIELDS)), { maxLength: 6 }),
    wrong: fc.dictionary(fc.oneof(fc.constantFrom(...Object.keys(FIELDS)), fc.string()), odd, {
      maxKeys: 3,
    }),
  });
  await fc.assert(
    fc.asyncProperty(bodies, async ({ path, fields, wrong }) => {
      const right = Object.fromEntries(fields.map((field) => [field, FIELDS[field]]));
      const status = await send(opened, path, JSON.stringify({ ...right, ...wrong }));
      assert.ok(status === 200 || (status >= 400 && status < 500), `status ${status}`);
    }),
    { numRuns: IS_QUICK ? 200 : 1500, seed: 20261126 },
  );
  await isWell(opened);
});

Deno.test("bodies that are no JSON, or the wrong bytes, are answered with 4xx", async () => {
  await using opened = await serveScripted({ maxBodyBytes: 1 << 20 });
  const deep = "[".repeat(100_000) + "]".repeat(100_000);
  const bodies: (string | Uint8Array<ArrayBuffer>)[] = [
    "",
    "{",
    "null",
    "NaN",
    '{"model": NaN}',
    deep,
    `{"model":"scripted","messages":${deep}}`,
    new Uint8Array([0xff, 0xfe, 0x80, 0x00]),
    `{"model":"scripted","prompt":"${"a".repeat(2 << 20)}"}`,
  ];
  for (const path of PATHS) {
    for (const body of bodies) {
      const status = await send(opened, path, body);
      assert.ok(
        status >= 400 && status < 500,
        `${path} gave ${status} for ${String(body).slice(0, 40)}`,
      );
    }
    assert.equal(await send(opened, path, "{}", "text/plain"), 415);
  }
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), async (bytes) => {
      const status = await send(opened, "/v1/completions", new Uint8Array(bytes));
      assert.ok(status >= 400 && status < 500);
    }),
    { numRuns: IS_QUICK ? 50 : 300, seed: 20261126 },
  );
  await isWell(opened);
});

Deno.test("paths and methods that there are not are told apart, with the methods that there are", async () => {
  await using opened = await serveScripted();
  const ask = async (method: string, path: string) => {
    const answer = await fetch(`${opened.url}${path}`, { method });
    await answer.body?.cancel();
    return [answer.status, answer.headers.get("allow")];
  };
  assert.deepEqual(await ask("GET", "/v1/chat/completions"), [405, "POST"]);
  assert.deepEqual(await ask("DELETE", "/v1/models"), [405, "GET"]);
  assert.deepEqual(await ask("GET", "/v1/embeddings"), [404, null]);
  const meant = async (path: string) => {
    const { error } = await (await fetch(`${opened.url}${path}`)).json();
    return error.message.match(/Did you mean "(.*)"\?/)?.[1];
  };
  assert.deepEqual(
    await Promise.all([
      ...["/chat/completions", "/v1/models/", "/v1/v1/models", "/v1/moderations", "/v1//"],
    ].map(meant)),
    ["/v1/chat/completions", "/v1/models", "/v1/models", undefined, undefined],
  );
});

slowTest("bytes that are no HTTP, floods of headers and slow clients are cut off", async () => {
  await using opened = await serveScripted({ receiveTimeoutSeconds: 1, maxConnections: 40 });
  const port = Number(new URL(opened.url).port);
  const head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n";
  assert.match(await raw(port, `${head}X: ${"a".repeat(100_000)}\r\n\r\n`), /^(HTTP\/1.1 431|$)/);
  assert.match(await raw(port, "\u0000\u0001\u0002 nonsense\r\n\r\n"), /^(HTTP\/1.1 400|$)/);
  assert.match(await raw(port, head), /^HTTP\/1.1 408/);
  const slow = `${head}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{`;
  assert.match(await raw(port, slow), /^(HTTP\/1.1 4\d\d|$)/);
  await isWell(opened);
});

Deno.test("keys, hosts and origins are checked", async () => {
  await using opened = await serveScripted({ apiKeys: ["first-key-1", "second-key"] });
  const status = async (path: string, headers: Record<string, string>) => {
    const answer = await fetch(`${opened.url}${path}`, { headers });
    await answer.body?.cancel();
    return answer.status;
  };
  assert.equal(await status("/v1/models", {}), 401);
  assert.equal(await status("/v1/models", { authorization: "Bearer first-key-2" }), 401);
  assert.equal(await status("/v1/models", { authorization: "Basic first-key-1" }), 401);
  assert.equal(await status("/v1/models", { authorization: "Bearer second-key" }), 200);
  assert.equal(await status("/health/ready", {}), 200);
  assert.equal(await status("/metrics", {}), 401);

  await using open = await serveScripted({ allowedOrigins: ["https://app.example"] });
  await using wide = await serveScripted({ allowedOrigins: ["*"] });
  const from = async ({ url }: TestServer, origin: string) => {
    const answer = await fetch(`${url}/v1/models`, { headers: { origin } });
    await answer.body?.cancel();
    return answer.headers.get("access-control-allow-origin");
  };
  assert.equal(await from(open, "https://app.example"), "https://app.example");
  assert.equal(await from(open, "https://other.example"), null);
  assert.equal(await from(wide, "https://other.example"), "*");
  const port = Number(new URL(open.url).port);
  assert.match(
    await raw(port, "GET /v1/models HTTP/1.1\r\nHost: evil.example\r\n\r\n"),
    /^HTTP\/1.1 403/,
  );
});

Deno.test("paths that strangers make up are one label of the metrics", async () => {
  const key = { authorization: "Bearer first-key-1" };
  await using opened = await serveScripted({ apiKeys: ["first-key-1"] });
  const ask = (path: string, init: RequestInit = {}) =>
    fetch(`${opened.url}${path}`, init).then((answer) => answer.text());
  for (const path of ["/a", "/b", "/v1/models/c"]) await ask(path);
  await ask("/d", { method: "POST", headers: key });
  await ask("/v1/models/scripted", { headers: key });
  const lines = (await ask("/metrics", { headers: key })).split("\n");
  const requests = lines.filter((line) => line.startsWith("mixline_requests_total"));
  assert.deepEqual(requests, [
    'mixline_requests_total{route="other",status="401"} 2',
    'mixline_requests_total{route="/v1/models/:model",status="401"} 1',
    'mixline_requests_total{route="other",status="415"} 1',
    'mixline_requests_total{route="/v1/models/:model",status="200"} 1',
  ]);
});

async function send(
  { url }: TestServer,
  path: string,
  body: string | Uint8Array<ArrayBuffer>,
  type = "application/json",
): Promise<number> {
  const answer = await fetch(`${url}${path}`, {
    method: "POST",
    headers: { "content-type": type },
    body,
  });
  const text = await answer.text();
  if (answer.status >= 400) assert.ok(typeof JSON.parse(text).error.message === "string", text);
  return answer.status;
}

/** Sends bytes and reads what comes first; nothing when the other side only ends the connection. */
async function raw(port: number, text: string): Promise<string> {
  using connection = await Deno.connect({ port, hostname: "127.0.0.1" });
  try {
    await connection.write(new TextEncoder().encode(text));
    const buffer = new Uint8Array(4096);
    const read = await connection.read(buffer);
    return new TextDecoder().decode(buffer.subarray(0, read ?? 0));
  } catch (error) {
    const isEnd = error instanceof Deno.errors.ConnectionReset ||
      error instanceof Deno.errors.BrokenPipe;
    if (isEnd) return "";
    throw error;
  }
}

/** Nothing keeps its place, and the next request is answered. */
async function isWell({ server, client }: TestServer): Promise<void> {
  const { admission, supervisor } = server.service;
  const { choices } = await client.completions.create({ model: "scripted", prompt: "say well" });
  assert.equal(choices[0].text, "well");
  assert.equal(admission.inFlight, 0);
  assert.equal(supervisor.restarts, 0);
  assert.equal((await supervisor.engine.stats()).running, 0);
}
