/** Downloads from a hub that runs here: cache, resuming, broken connections, refusals. */

import assert from "node:assert/strict";
import { basename } from "node:path";
import { CheckpointError, RequestError } from "../../../graph/mod.ts";
import { downloadModel, isHubId, loadModel } from "../../../models/mod.ts";
import { COMMIT, ID, LocalHub, sha256 } from "../../support/local_hub.ts";

function fails(code: string, text: string) {
  return (error: unknown) => {
    assert.ok(error instanceof CheckpointError, String(error));
    assert.equal(error.code, code);
    assert.ok(error.message.includes(text), error.message);
    assert.ok(error.hint);
    return true;
  };
}

Deno.test("loadModel() downloads a model of the hub once, and only what it needs", async () => {
  await using hub = await LocalHub.start();
  const seen: number[] = [];
  const model = await loadModel(ID, {
    ...hub.options,
    onProgress: ({ file, bytes, totalBytes }) => {
      assert.ok(bytes <= totalBytes);
      if (file === "model.safetensors") seen.push(bytes);
    },
  });
  assert.equal(model.name, "tiny-moe");
  assert.equal(model.path, `${hub.cacheDir}/models--org--tiny-moe/snapshots/${COMMIT}`);
  const norm = await model.checkpoint.read("model.norm.weight", 0, 128);
  assert.equal(norm.length, 128);
  await model.checkpoint.close();
  assert.deepEqual(seen, seen.toSorted((a, b) => a - b));
  assert.equal(seen.at(-1), hub.files.get("model.safetensors")?.length);
  const names = hub.requests.map((request) => request.split(" ")[0]);
  assert.ok(!names.includes("README.md") && !names.includes("pytorch_model.bin"));
  hub.requests.length = 0;
  await (await loadModel(ID, hub.options)).checkpoint.close();
  assert.deepEqual(hub.requests, []);
});

Deno.test("downloadModel() takes the shards that the index names", async () => {
  await using hub = await LocalHub.start();
  hub.shard();
  const model = await loadModel(ID, hub.options);
  assert.deepEqual([...model.checkpoint.files.keys()].map((path) => basename(path)), [
    "model-00001-of-00001.safetensors",
  ]);
  await model.checkpoint.close();
});

Deno.test("downloadModel() goes on when the connection breaks", async () => {
  await using hub = await LocalHub.start();
  hub.breaks.push(100_000, 50_000);
  const folder = await downloadModel(ID, hub.options);
  const bytes = await Deno.readFile(`${folder}/model.safetensors`);
  assert.deepEqual(bytes, hub.files.get("model.safetensors"));
  const starts = hub.requests.filter((request) => request.startsWith("model.safetensors"));
  assert.deepEqual(starts, [
    "model.safetensors 0-",
    "model.safetensors 100000-",
    "model.safetensors 150000-",
  ]);
});

Deno.test("downloadModel() goes on with what an earlier run left", async () => {
  await using hub = await LocalHub.start();
  hub.breaks.push(70_000, 0, 0, 0);
  await assert.rejects(downloadModel(ID, hub.options), fails("checkpoint/offline", ID));
  hub.breaks.length = 0;
  hub.requests.length = 0;
  const folder = await downloadModel(ID, hub.options);
  assert.deepEqual(hub.requests, ["model.safetensors 70000-"]);
  const bytes = await Deno.readFile(`${folder}/model.safetensors`);
  assert.deepEqual(bytes, hub.files.get("model.safetensors"));
});

Deno.test("downloadModel() shares a download with others that begin it, too", async () => {
  await using hub = await LocalHub.start();
  const folders = await Promise.all(
    Array.from({ length: 4 }, () => downloadModel(ID, hub.options)),
  );
  assert.equal(new Set(folders).size, 1);
  const weights = hub.requests.filter((request) => request.startsWith("model.safetensors"));
  assert.deepEqual(weights, ["model.safetensors 0-"]);
  const bytes = await Deno.readFile(`${folders[0]}/model.safetensors`);
  assert.deepEqual(bytes, hub.files.get("model.safetensors"));
  // Nothing is left of the files that they were on the way.
  const names = [...Deno.readDirSync(folders[0])].map(({ name }) => name);
  assert.ok(names.every((name) => hub.files.has(name)), names.join());
  const blobs = [...Deno.readDirSync(`${folders[0]}/../../blobs`)].map(({ name }) => name);
  assert.ok(blobs.every((name) => !name.endsWith(".incomplete")), blobs.join());
});

Deno.test("downloadModel() tells a cache that takes nothing from a hub that does not answer", async () => {
  await using hub = await LocalHub.start();
  const cacheDir = `${hub.cacheDir}/file`;
  await Deno.writeTextFile(cacheDir, "");
  const options = { ...hub.options, cacheDir };
  await assert.rejects(
    downloadModel(ID, options),
    fails("checkpoint/cache", "may be written, got"),
  );
  // The model is one of the hub, so nothing is said of a folder of its name.
  await assert.rejects(loadModel(ID, options), fails("checkpoint/cache", 'Cannot keep "config'));
});

Deno.test("downloadModel() stops while it waits for another download", async () => {
  await using hub = await LocalHub.start();
  const weights = hub.files.get("model.safetensors");
  assert.ok(weights);
  const blobs = `${hub.cacheDir}/models--org--tiny-moe/blobs`;
  await Deno.mkdir(blobs, { recursive: true });
  const path = `${blobs}/${sha256(weights)}.incomplete`;
  using other = await Deno.open(path, { create: true, write: true });
  await other.lock(true);
  await other.write(new Uint8Array(1000));
  const seen: number[] = [];
  const abort = new AbortController();
  const download = downloadModel(ID, {
    ...hub.options,
    signal: abort.signal,
    onProgress({ file, bytes }) {
      if (file !== "model.safetensors") return;
      seen.push(bytes);
      abort.abort();
    },
  });
  await assert.rejects(download, (error) => error instanceof RequestError);
  assert.deepEqual(seen, [1000]);
});

Deno.test("downloadModel() stops when its signal aborts, and goes on later", async () => {
  await using hub = await LocalHub.start();
  const abort = new AbortController();
  const onProgress = () => abort.abort(new Error("enough"));
  const stopped = downloadModel(ID, { ...hub.options, signal: abort.signal, onProgress });
  await assert.rejects(
    stopped,
    (error) => error instanceof RequestError && error.code === "request/aborted",
  );
  await downloadModel(ID, hub.options);
});

Deno.test("downloadModel() begins anew when what an earlier run left is wrong", async () => {
  await using hub = await LocalHub.start();
  const blobs = `${hub.cacheDir}/models--org--tiny-moe/blobs`;
  const bytes = hub.files.get("model.safetensors") ?? new Uint8Array();
  await Deno.mkdir(blobs, { recursive: true });
  await Deno.writeFile(`${blobs}/${sha256(bytes)}.incomplete`, new Uint8Array(1000).fill(7));
  const folder = await downloadModel(ID, hub.options);
  assert.deepEqual(await Deno.readFile(`${folder}/model.safetensors`), bytes);
});

Deno.test("downloadModel() refuses content with another hash", async () => {
  await using hub = await LocalHub.start();
  hub.wrongHash = true;
  await assert.rejects(downloadModel(ID, hub.options), fails("checkpoint/download", "sha256"));
});

Deno.test("downloadModel() takes the cache when the hub does not answer", async () => {
  await using hub = await LocalHub.start();
  const folder = await downloadModel(ID, hub.options);
  const { options } = hub;
  await hub.stop();
  assert.equal(await downloadModel(ID, options), folder);
  await Deno.remove(`${folder}/model.safetensors`);
  await assert.rejects(downloadModel(ID, options), fails("checkpoint/offline", ID));
  await assert.rejects(
    loadModel("org/other", options),
    fails("checkpoint/offline", "expected a folder"),
  );
});

Deno.test("downloadModel() says why the hub refuses", async () => {
  await using hub = await LocalHub.start();
  for (
    const [status, code] of [
      [401, "checkpoint/hub-refused"],
      [403, "checkpoint/hub-refused"],
      [404, "checkpoint/hub-missing"],
      [500, "checkpoint/download"],
    ] as const
  ) {
    hub.status = status;
    await assert.rejects(downloadModel(ID, hub.options), fails(code, `status ${status}`));
  }
});

Deno.test("downloadModel() names weights that are not there", async () => {
  await using hub = await LocalHub.start();
  hub.files.delete("model.safetensors");
  await assert.rejects(
    downloadModel(ID, hub.options),
    fails("checkpoint/missing-file", "model.safetensors"),
  );
});

Deno.test("downloadModel() refuses an HF_ENDPOINT that is no address", async () => {
  const before = Deno.env.get("HF_ENDPOINT");
  Deno.env.set("HF_ENDPOINT", "mirror.example");
  try {
    await assert.rejects(
      downloadModel(ID, { cacheDir: "/nowhere" }),
      /Cannot read variable "HF_ENDPOINT": expected the address of a hub, got "mirror.example"/,
    );
  } finally {
    if (before === undefined) Deno.env.delete("HF_ENDPOINT");
    else Deno.env.set("HF_ENDPOINT", before);
  }
});

Deno.test("isHubId() tells ids from paths", () => {
  for (const id of ["org/name", "Qwen/Qwen3-30B-A3B", "a/b.c_d-e"]) assert.ok(isHubId(id), id);
  for (
    const path of ["name", "./org/name", "/org/name", "a/b/c", "../name", "org/", "", "~/x"]
  ) {
    assert.ok(!isHubId(path), path);
  }
});
