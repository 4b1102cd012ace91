/**
 * Texts on record under tests/golden: graphs, shaders, help. `MIXLINE_UPDATE_SNAPSHOTS=1 deno task test
 * FILE` writes those of a test file anew; the diff is then for a reviewer to judge.
 *
 * @module
 */

import assert from "node:assert/strict";

const FOLDER = new URL("../golden/", import.meta.url);

/** Fails when a text differs from its record, `graph/fuse_moe.txt`, naming the first line that does. */
export async function assertSnapshot(record: string, text: string): Promise<void> {
  const file = new URL(record, FOLDER);
  // A file of text ends with a line break, whatever the text does.
  const lines = text.endsWith("\n") ? text : `${text}\n`;
  if (Deno.env.get("MIXLINE_UPDATE_SNAPSHOTS") === "1") {
    await Deno.mkdir(new URL(".", file), { recursive: true });
    await Deno.writeTextFile(file, lines);
    return;
  }
  const expected = await Deno.readTextFile(file).catch(() => "");
  if (expected === lines) return;
  const [before, after] = [expected.split("\n"), lines.split("\n")];
  const line = before.findIndex((each, i) => each !== after[i]);
  const at = line === -1 ? before.length : line;
  assert.fail(
    `tests/golden/${record} differs from line ${at + 1}:\n- ${before[at]}\n+ ${after[at]}\n` +
      "MIXLINE_UPDATE_SNAPSHOTS=1 writes it anew",
  );
}
