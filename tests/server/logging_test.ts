import assert from "node:assert/strict";
import { openLog } from "../../server/mod.ts";

Deno.test("a log line in JSON has the whole message, whatever its properties are called", async () => {
  const { writeSync } = Deno.stderr;
  let written = "";
  Deno.stderr.writeSync = (bytes) => {
    written += new TextDecoder().decode(bytes);
    return bytes.length;
  };
  try {
    await using opened = await openLog({ format: "json", level: "info", colors: false });
    opened.log.info("engine: {message} {n}", { message: "ready", level: "x", n: 2 });
  } finally {
    Deno.stderr.writeSync = writeSync;
  }
  const { time, ...rest } = JSON.parse(written);
  assert.ok(Date.parse(time) > 0, time);
  assert.deepEqual(rest, {
    ...{ level: "info", logger: "mixline.server", message: "engine: ready 2", n: 2 },
  });
});
