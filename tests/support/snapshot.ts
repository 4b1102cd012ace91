/**
 * Texts that are compared with files under tests/golden. `MIXLINE_UPDATE_SNAPSHOTS=1` writes them
 * anew; the diff is then for a reviewer to judge.
 *
 * @module
 */

import assert from "node:assert/strict";

/** Fails when the text differs from the file, naming the first line that does. */
export async function assertSnapshot(file: URL, text: string): Promise<void> {
  if (Deno.env.get("MIXLINE_UPDATE_SNAPSHOTS") === "1") {
    await Deno.mkdir(new URL(".", file), { recursive: true });
    await Deno.writeTextFile(file, text);
    return;
  }
  const expected = await Deno.readTextFile(file);
  if (expected === text) return;
  const [before, after] = [expected.split("\n"), text.split("\n")];
  const line = before.findIndex((each, i) => each !== after[i]);
  const at = line === -1 ? before.length : line;
  assert.fail(
    `${file.pathname.split("/").pop()} differs from line ${at + 1}:\n- ${before[at]}\n+ ${
      after[at]
    }\nMIXLINE_UPDATE_SNAPSHOTS=1 writes it anew`,
  );
}
