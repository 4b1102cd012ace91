/**
 * What happens when the engine's process dies, hangs or takes its time.
 *
 * @module
 */

import assert from "node:assert/strict";
import { Supervisor } from "../../server/engine/supervisor.ts";
import {
  scriptedCommand,
  serveScripted,
  serveStoryteller,
  type TestServer,
} from "../support/server.ts";
import { until } from "../support/until.ts";
import { slowTest } from "../support/quick.ts";

/** Times in a row that the engine is killed. */
const KILLS = 10;

slowTest(
  "a killed engine ends eight streams with an error, and the next request succeeds, ten times",
  async () => {
    await using opened = await serveScripted();
    for (let round = 1; round <= KILLS; round++) {
      let begun = 0;
      const streams = Array.from(
        { length: 8 },
        () => readStream(opened, "say a\nhang", () => begun++),
      );
      const { supervisor } = opened.server.service;
      await until(() => begun === 8);
      Deno.kill(supervisor.pid, "SIGKILL");
      for (const { text, error } of await Promise.all(streams)) {
        assert.equal(text, "a");
        assert.match(error, /expected a running engine/);
      }
      await assert.rejects(ask(opened, "say x"), { status: 503 });
      assert.equal((await fetch(`${opened.url}/health/ready`).then(drop)).status, 503);
      assert.equal((await fetch(`${opened.url}/health/live`).then(drop)).status, 200);
      await until(() => supervisor.state === "ready");
      assert.equal(await ask(opened, "say again"), "again");
      assert.equal(supervisor.restarts, round);
      assert.equal(opened.server.service.admission.inFlight, 0);
    }
  },
);

slowTest("a real engine that is killed in the middle of a stream is replaced", async () => {
  await using opened = await serveStoryteller();
  const { supervisor } = opened.server.service;
  const stream = await opened.client.completions.create({
    model: "storyteller",
    prompt: "Once upon a time",
    max_tokens: 800,
    logit_bias: { "2": -100 },
    stream: true,
  });
  await assert.rejects(async () => {
    for await (const _ of stream) {
      if (supervisor.state === "ready") Deno.kill(supervisor.pid, "SIGKILL");
    }
  }, /expected a running engine/);
  await until(() => supervisor.state === "ready", 30_000);
  const { choices } = await opened.client.completions.create({
    model: "storyteller",
    prompt: "Once upon a time",
    max_tokens: 4,
  });
  assert.ok(choices[0].text.length > 0);
});

slowTest("an engine that stops answering is ended and replaced", async () => {
  await using opened = await serveScripted({}, {
    supervisor: { backOffMs: 10, steadyMs: 1, heartbeatMs: 20, hangMs: 300 },
  });
  const { supervisor } = opened.server.service;
  Deno.kill(supervisor.pid, "SIGSTOP");
  await assert.rejects(ask(opened, "say x"), { status: 503 });
  await until(() => supervisor.state === "ready" && supervisor.restarts === 1);
  assert.equal(await ask(opened, "say y"), "y");
});

Deno.test("a server outlives an engine that cannot be started again, until it can be", async () => {
  const folder = await Deno.makeTempDir({ prefix: "mixline engine " });
  const deno = `${folder}/deno`;
  await Deno.symlink(Deno.execPath(), deno);
  await using opened = await serveScripted({}, {
    command: { command: deno, args: scriptedCommand().args },
    supervisor: { backOffMs: 1, steadyMs: 1 },
  });
  const { supervisor } = opened.server.service;
  await Deno.rename(deno, `${deno}.away`);
  Deno.kill(supervisor.pid, "SIGKILL");
  await until(() => supervisor.state === "restarting");
  await assert.rejects(ask(opened, "say x"), { status: 503 });
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal((await fetch(`${opened.url}/health/live`).then(drop)).status, 200);
  await Deno.rename(`${deno}.away`, deno);
  await until(() => supervisor.state === "ready");
  assert.equal(supervisor.restarts, 1);
  assert.equal(await ask(opened, "say y"), "y");
  await Deno.remove(folder, { recursive: true });
});

Deno.test("a new engine that does not open says why, and is followed by another", async () => {
  const folder = await Deno.makeTempDir({ prefix: "mixline engine " });
  const flag = `${folder}/broken`;
  const error = { code: "c", message: "Cannot open the model", status: 500, exitCode: 3 };
  const { command, args } = scriptedCommand();
  const script = `if [ -e "${flag}" ]; then echo '${JSON.stringify({ kind: "error", error })}'; ` +
    `exit 3; fi; exec "$0" "$@"`;
  const states: string[] = [];
  const supervisor = Supervisor.start({
    command: { command: "sh", args: ["-c", script, command, ...args] },
    yaml: "",
    onMessage: () => {},
    onState: (state, why = "") => states.push(`${state} ${why}`),
    ...{ backOffMs: 1, steadyMs: 1 },
  });
  await supervisor.opened();
  await Deno.writeTextFile(flag, "");
  Deno.kill(supervisor.pid, "SIGKILL");
  await until(() => states.some((each) => each.includes("code 3: Cannot open the model; a new")));
  await Deno.remove(flag);
  await until(() => supervisor.state === "ready");
  await supervisor.close();
  await Deno.remove(folder, { recursive: true });
});

slowTest(
  "close() lets requests in flight end, refuses new ones, and ends what takes too long",
  async () => {
    await using opened = await serveScripted({ drainSeconds: 1 });
    const short = ask(opened, "wait 200\nsay done");
    const endless = assert.rejects(ask(opened, "hang"));
    const { admission } = opened.server.service;
    await until(() => admission.inFlight === 2);
    const closed = opened.server.close();
    await assert.rejects(ask(opened, "say late"), { status: 503 });
    assert.equal(await short, "done");
    await closed;
    await endless;
  },
);

slowTest("a request ends at its deadline", async () => {
  await using opened = await serveScripted({ requestTimeoutSeconds: 1 });
  await assert.rejects(ask(opened, "hang"), { status: 504 });
  const { error } = await readStream(opened, "say a\nhang");
  assert.match(error, /within 1 s/);
  await until(() => opened.server.service.admission.inFlight === 0);
});

slowTest(
  "a request ends at its deadline, and with its client, though the engine hangs",
  async () => {
    await using opened = await serveScripted({ requestTimeoutSeconds: 1 });
    const { supervisor, admission } = opened.server.service;
    Deno.kill(supervisor.pid, "SIGSTOP");
    try {
      await assert.rejects(ask(opened, "say x"), { status: 504 });
      const client = new AbortController();
      const body = JSON.stringify({ prompt: "say x", stream: true });
      const left = fetch(`${opened.url}/v1/completions`, {
        ...{ method: "POST", headers: { "content-type": "application/json" }, body },
        signal: client.signal,
      });
      await until(() => admission.inFlight === 1);
      client.abort();
      await assert.rejects(left, { name: "AbortError" });
      await until(() => admission.inFlight === 0, 500);
    } finally {
      Deno.kill(supervisor.pid, "SIGCONT");
    }
    await until(async () => (await supervisor.engine.stats()).running === 0);
    assert.equal(await ask(opened, "say y"), "y");
  },
);

Deno.test("requests beyond the room are refused with 429 and Retry-After", async () => {
  await using opened = await serveScripted({ maxRequests: 2 });
  // Long enough that a busy machine asks the third before one of them has its answer.
  const held = [ask(opened, "wait 2000\nsay a"), ask(opened, "wait 2000\nsay b")];
  await until(() => opened.server.service.admission.inFlight === 2);
  const answer = await fetch(`${opened.url}/v1/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ model: "scripted", prompt: "say c" }),
  });
  assert.equal(answer.status, 429);
  assert.equal(answer.headers.get("retry-after"), "1");
  assert.equal((await answer.json()).error.type, "rate_limit_error");
  assert.deepEqual(await Promise.all(held), ["a", "b"]);
});

async function ask({ client }: TestServer, content: string): Promise<string | null> {
  const { choices } = await client.chat.completions.create({
    model: "scripted",
    messages: [{ role: "user", content }],
  });
  return choices[0].message.content;
}

/** Reads a stream to its end: what came, and the error that ended it. */
async function readStream({ client }: TestServer, content: string, onText = () => {}) {
  let text = "";
  let error = "";
  try {
    const stream = await client.chat.completions.create({
      model: "scripted",
      messages: [{ role: "user", content }],
      stream: true,
    });
    for await (const { choices } of stream) {
      const piece = choices[0]?.delta.content ?? "";
      if (piece !== "") onText();
      text += piece;
    }
  } catch (thrown) {
    error = String(thrown);
  }
  return { text, error };
}

/** Reads an answer whose body nobody needs. */
async function drop(answer: Response): Promise<Response> {
  await answer.body?.cancel();
  return answer;
}
