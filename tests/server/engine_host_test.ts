/**
 * The engine's side of the line, without a process.
 *
 * @module
 */

import assert from "node:assert/strict";
import { DeviceError } from "../../graph/mod.ts";
import { answerCalls } from "../../server/engine/host.ts";
import {
  encodeLine,
  type EngineCall,
  type EngineEvent,
  readLines,
} from "../../server/engine/protocol.ts";
import { cpuTimer } from "../support/cpu_time.ts";
import { fakeEngine } from "../support/fake_engine.ts";
import { until } from "../support/until.ts";

function open() {
  return fakeEngine({
    defaults: { eosTokenIds: [], maxNewTokens: 4 },
    executor: { kind: "webgpu", description: "fake", reason: "test" },
  });
}

/** Lines that come when they are pushed, without an end until there is one. */
function lineSource() {
  const { readable, writable } = new TransformStream<string, string>(undefined, {
    highWaterMark: 8,
  });
  const writer = writable.getWriter();
  return {
    lines: readable,
    push: (call: EngineCall) => void writer.write(encodeLine(call)),
    end: () => writer.close(),
  };
}

Deno.test("readLines() gives lines whole, however they are cut", async () => {
  const text = 'é\n\n{"a":1}\nlong line\nlast';
  const bytes = new TextEncoder().encode(text);
  for (let size = 1; size <= bytes.length; size++) {
    const parts = Array.from(
      { length: Math.ceil(bytes.length / size) },
      (_, i) => bytes.slice(i * size, (i + 1) * size),
    );
    assert.deepEqual(await Array.fromAsync(readLines(ReadableStream.from(parts))), [
      ...["é", "", '{"a":1}', "long line", "last"],
    ]);
  }
});

Deno.test("readLines() takes no longer for a byte of a long line than of a short one", async () => {
  const time = async (kilobytes: number) => {
    const parts = Array.from({ length: kilobytes }, () => new Uint8Array(1024).fill(97));
    const elapsed = cpuTimer();
    const [line] = await Array.fromAsync(readLines(ReadableStream.from(parts)));
    assert.equal(line.length, kilobytes * 1024);
    return elapsed() / kilobytes;
  };
  await time(1000);
  const [short, long] = [await time(1000), await time(8000)];
  assert.ok(long < 4 * short, `${long} ms a kilobyte of 8,000, ${short} ms of 1,000`);
});

Deno.test("answerCalls() ends when the device is lost, and only then", async () => {
  for (const code of ["device/lost", "device/error", "device/out-of-memory"]) {
    const { program, engine } = open();
    const source = lineSource();
    const events: EngineEvent[] = [];
    let exitCode: number | undefined;
    const answered = answerCalls(engine, source.lines, (event) => events.push(event))
      .then((code) => exitCode = code);
    const ask = async (id: number) => {
      source.push({ kind: "generate", id, prompt: "ab", options: {} });
      await until(() => events.some((event) => event.kind === "end" || event.kind === "error"));
      return events.splice(0).at(-1);
    };
    assert.equal((await ask(1))?.kind, "end");
    program.failure = new DeviceError(code, "Cannot go on: expected a device, got none");
    const event = await ask(2);
    assert(event?.kind === "error" && event.error.code === code, JSON.stringify(event));
    await new Promise((resolve) => setTimeout(resolve, 1));
    assert.equal(exitCode, code === "device/out-of-memory" ? undefined : 5, code);
    await source.end();
    await answered;
  }
});
