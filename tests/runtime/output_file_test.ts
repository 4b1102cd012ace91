import assert from "node:assert/strict";
import { OutputError } from "../../graph/mod.ts";
import { checkOutputFile, writeOutputFile } from "../../runtime/mod.ts";

async function withFolder(body: (folder: string) => void): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const namesIn = (folder: string) => [...Deno.readDirSync(folder)].map(({ name }) => name).sort();

Deno.test("writeOutputFile() makes the folder, replaces the file, and leaves nothing beside it", () =>
  withFolder((folder) => {
    writeOutputFile(`${folder}/a/b.json`, "old");
    writeOutputFile(`${folder}/a/b.json`, "new");
    assert.equal(Deno.readTextFileSync(`${folder}/a/b.json`), "new");
    assert.deepEqual(namesIn(`${folder}/a`), ["b.json"]);
  }));

Deno.test("writeOutputFile() that fails keeps the file that was there", () =>
  withFolder((folder) => {
    const path = `${folder}/b.json`;
    writeOutputFile(path, "old");
    // Stands for a full disk: nothing can be written beside the file.
    Deno.mkdirSync(`${path}.unfinished/x`, { recursive: true });
    assert.throws(() => writeOutputFile(path, "new"), (error) => {
      assert.ok(error instanceof OutputError);
      assert.equal(error.code, "output/file");
      assert.ok(error.message.startsWith(`Cannot write "${path}": `), error.message);
      return true;
    });
    assert.equal(Deno.readTextFileSync(path), "old");
  }));

Deno.test("checkOutputFile() finds what cannot be written, and writes nothing", () =>
  withFolder((folder) => {
    checkOutputFile(`${folder}/a/b.json`);
    assert.deepEqual(namesIn(`${folder}/a`), []);
    Deno.writeTextFileSync(`${folder}/file`, "");
    assert.throws(
      () => checkOutputFile(`${folder}/file/b.json`),
      (error) =>
        error instanceof OutputError &&
        /expected a folder ".*\/file", got a file/.test(error.message) &&
        error.hint?.startsWith("Name a folder"),
    );
    assert.throws(() => checkOutputFile(folder), /there is a folder of this name/);
  }));
