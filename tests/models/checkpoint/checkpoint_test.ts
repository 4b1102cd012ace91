/** Safetensors files and shards: what is read, and what is refused. */

import assert from "node:assert/strict";
import { CheckpointError } from "../../../graph/mod.ts";
import { Checkpoint } from "../../../models/mod.ts";
import {
  encodeSafetensors,
  type HeaderEntry,
  joinFile,
  type TensorToWrite,
} from "../../support/write_safetensors.ts";

const bytes = (count: number, first = 0) => Uint8Array.from({ length: count }, (_, i) => first + i);

const TENSORS: Record<string, TensorToWrite> = {
  a: { dtype: "F32", shape: [2, 2], data: bytes(16) },
  b: { dtype: "BF16", shape: [3], data: bytes(6, 16) },
  c: { dtype: "I64", shape: [], data: bytes(8, 22) },
  d: { dtype: "U8", shape: [0, 4], data: bytes(0) },
};

type Files = Readonly<Record<string, Uint8Array | string>>;

async function withFolder(files: Files, use: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    for (const [name, content] of Object.entries(files)) {
      if (typeof content === "string") await Deno.writeTextFile(`${folder}/${name}`, content);
      else await Deno.writeFile(`${folder}/${name}`, content);
    }
    await use(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const single = (file: Uint8Array): Files => ({ "model.safetensors": file });
const spoilt = (spoil: (header: Record<string, HeaderEntry>) => void): Files =>
  single(encodeSafetensors(TENSORS, spoil));
const index = (weight_map: Record<string, string>) => JSON.stringify({ metadata: {}, weight_map });

const SHARDS: Files = {
  "model-1.safetensors": encodeSafetensors({ a: TENSORS.a, b: TENSORS.b }),
  "model-2.safetensors": encodeSafetensors({ c: TENSORS.c, d: TENSORS.d }),
  "model.safetensors.index.json": index({
    a: "model-1.safetensors",
    b: "model-1.safetensors",
    c: "model-2.safetensors",
    d: "model-2.safetensors",
  }),
};

for (
  const [name, files] of [["one file", single(encodeSafetensors(TENSORS))], [
    "shards",
    SHARDS,
  ]] as const
) {
  Deno.test(`Checkpoint reads ranges of the tensors of ${name}`, async () => {
    await withFolder(files, async (folder) => {
      await using checkpoint = await Checkpoint.open(folder);
      assert.deepEqual([...checkpoint.tensors.keys()].sort(), ["a", "b", "c", "d"]);
      assert.equal(checkpoint.bytes, 30);
      assert.deepEqual(await checkpoint.read("a", 4, 8), bytes(8, 4));
      assert.deepEqual(await checkpoint.read("c", 0, 8), bytes(8, 22));
      assert.deepEqual(await checkpoint.read("d", 0, 0), bytes(0));
      assert.deepEqual(checkpoint.tensor("b", [3]).dtype, "bf16");
      assert.deepEqual(checkpoint.info("c").shape, []);
      assert.deepEqual(checkpoint.unused(["a", "c"]).sort(), ["b", "d"]);
    });
  });
}

Deno.test("Checkpoint answers reads that run at the same time", async () => {
  await withFolder(SHARDS, async (folder) => {
    await using checkpoint = await Checkpoint.open(folder);
    const reads = Array.from({ length: 50 }, (_, i) => checkpoint.read("a", i % 13, 3));
    const results = await Promise.all(reads);
    results.forEach((result, i) => assert.deepEqual(result, bytes(3, i % 13)));
  });
});

Deno.test("Checkpoint refuses ranges outside of a tensor", async () => {
  await withFolder(SHARDS, async (folder) => {
    await using checkpoint = await Checkpoint.open(folder);
    await assert.rejects(checkpoint.read("a", 8, 9), RangeError);
    await assert.rejects(checkpoint.read("a", -1, 2), RangeError);
  });
});

Deno.test("Checkpoint.open() prefers a single file to a stale index, and says so", async () => {
  const stale = index({ a: "model-00001-of-00002.safetensors" });
  const files = { ...single(encodeSafetensors(TENSORS)), "model.safetensors.index.json": stale };
  await withFolder(files, async (folder) => {
    await using checkpoint = await Checkpoint.open(folder);
    assert.equal(checkpoint.files.size, 1);
    assert.match(checkpoint.notes.join(), /model\.safetensors\.index\.json beside it is not/);
  });
});

Deno.test("Checkpoint.open() accepts types that are not read until somebody asks for them", async () => {
  for (const type of ["F8_E5M2", "constructor"]) {
    await withFolder(spoilt((header) => header.d.dtype = type), async (folder) => {
      await using checkpoint = await Checkpoint.open(folder);
      assert.equal(checkpoint.bytes, 30);
      assert.deepEqual(checkpoint.unused(["a", "b", "c"]), ["d"]);
      assert.throws(
        () => checkpoint.tensor("d", [0, 4]),
        refusal("checkpoint/dtype", ['"d" of "model.safetensors"', type, "BF16"]),
      );
    });
  }
});

Deno.test("Checkpoint.tensor() refuses types that are no plain numbers, by tensor and file", async () => {
  await withFolder(SHARDS, async (folder) => {
    await using checkpoint = await Checkpoint.open(folder);
    assert.throws(
      () => checkpoint.tensor("c", []),
      refusal("checkpoint/dtype", ['"c" of "model-2.safetensors"', "f32 or f16 or bf16, got i64"]),
    );
    assert.equal(checkpoint.tensor("c", [], ["i64"]).dtype, "i64");
  });
});

Deno.test("Checkpoint.open() finds tensors that the index forgot", async () => {
  const forgetful = index({ a: "model-1.safetensors" });
  await withFolder({ ...SHARDS, "model.safetensors.index.json": forgetful }, async (folder) => {
    await using checkpoint = await Checkpoint.open(folder);
    assert.deepEqual([...checkpoint.tensors.keys()], ["a", "b"]);
  });
});

/** Something wrong with a checkpoint, the error's code, and what its message must name. */
const REFUSED: readonly (readonly [string, Files, string, readonly string[]])[] = [
  ["no weights", {}, "checkpoint/missing-weights", ["model.safetensors.index.json"]],
  [
    "a truncated file",
    single(encodeSafetensors(TENSORS).slice(0, -5)),
    "checkpoint/truncated",
    ["model.safetensors", " bytes, as its header says, got "],
  ],
  ["a file of 3 bytes", single(bytes(3)), "checkpoint/truncated", ["at least 8 bytes, got 3"]],
  [
    "a truncated header",
    single(encodeSafetensors(TENSORS).slice(0, 40)),
    "checkpoint/truncated",
    ["a header of ", "got 40 bytes"],
  ],
  [
    "bytes after the data",
    single(new Uint8Array([...encodeSafetensors(TENSORS), 0, 0])),
    "checkpoint/malformed",
    ["got 2 more"],
  ],
  [
    "a header of absurd length",
    single(new Uint8Array(64).fill(255)),
    "checkpoint/malformed",
    ["a header of at most 100000000 bytes"],
  ],
  ["a header that is no JSON", single(joinFile("{", [])), "checkpoint/malformed", ["JSON"]],
  ["a header that is a list", single(joinFile("[]", [])), "checkpoint/malformed", ["JSON object"]],
  [
    "a header that is no UTF-8",
    single(new Uint8Array([1, 0, 0, 0, 0, 0, 0, 0, 0xff])),
    "checkpoint/malformed",
    ["header"],
  ],
  [
    "an entry without offsets",
    single(joinFile('{"x":{"dtype":"F32","shape":[1]}}', [bytes(4)])),
    "checkpoint/malformed",
    ["x.data_offsets"],
  ],
  [
    "a negative size",
    spoilt((header) => header.a.shape = [-2, -2]),
    "checkpoint/malformed",
    ["a.shape.0"],
  ],
  [
    "a pointer of git-lfs",
    { "model.safetensors": "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n" },
    "checkpoint/lfs-pointer",
    ["a Git LFS pointer"],
  ],
  [
    "an index that is a pointer of git-lfs",
    { "model.safetensors.index.json": "version https://git-lfs.github.com/spec/v1\noid sha256:0" },
    "checkpoint/lfs-pointer",
    ["model.safetensors.index.json", "a Git LFS pointer"],
  ],
  ...["..", "", ".", "a/b.safetensors", "..\\b"].map((name) =>
    [
      `an index that names "${name}"`,
      { "model.safetensors.index.json": index({ a: name }) },
      "checkpoint/malformed-index",
      [`file name "${name}"`],
    ] as const
  ),
  [
    "a shape that does not fit its offsets",
    spoilt((header) => header.a.shape = [2, 3]),
    "checkpoint/malformed",
    ['24 bytes for tensor "a" (F32 [2, 3])', "offsets 0 to 16"],
  ],
  [
    "tensors that overlap",
    spoilt((header) => header.b.data_offsets = [12, 18]),
    "checkpoint/malformed",
    ['"b"', "they overlap"],
  ],
  [
    "a gap between tensors",
    spoilt((header) => header.c.data_offsets = [26, 34]),
    "checkpoint/malformed",
    ['"c" to begin at 22', "got 26"],
  ],
  [
    "offsets outside of the file",
    spoilt((header) => {
      header.c.data_offsets = [22, 1022];
      header.c.shape = [125];
    }),
    "checkpoint/malformed",
    ['tensor "d" to begin at 1022'],
  ],
  [
    "a missing shard",
    { ...SHARDS, "model.safetensors.index.json": index({ a: "model-3.safetensors" }) },
    "checkpoint/missing-shard",
    ["model-3.safetensors"],
  ],
  [
    "an index that names a tensor its shard has not",
    {
      ...SHARDS,
      "model.safetensors.index.json": index({ a: "model-1.safetensors", z: "model-2.safetensors" }),
    },
    "checkpoint/index-mismatch",
    ['"z"', '"model-2.safetensors"'],
  ],
  [
    "an index that leads out of the folder",
    { "model.safetensors.index.json": index({ a: "../model-1.safetensors" }) },
    "checkpoint/malformed-index",
    ["../model-1.safetensors"],
  ],
  [
    "an index without a map",
    { "model.safetensors.index.json": "{}" },
    "checkpoint/malformed-index",
    ["weight_map"],
  ],
  [
    "an index that is no JSON",
    { "model.safetensors.index.json": "{" },
    "checkpoint/malformed-json",
    ["model.safetensors.index.json"],
  ],
];

for (const [what, files, code, says] of REFUSED) {
  Deno.test(`Checkpoint.open() refuses ${what}`, async () => {
    await withFolder(files, async (folder) => {
      await assert.rejects(Checkpoint.open(folder), refusal(code, [...says]));
    });
  });
}

Deno.test("Checkpoint.tensor() names a tensor that is missing or has another shape", async () => {
  await withFolder(SHARDS, async (folder) => {
    await using checkpoint = await Checkpoint.open(folder);
    assert.throws(
      () => checkpoint.tensor("aa", [2, 2]),
      refusal("checkpoint/missing-tensor", ['"aa"', folder]),
    );
    assert.throws(
      () => checkpoint.tensor("a", [2, 3]),
      refusal("checkpoint/shape", ['"a"', "expected shape [2, 3], got [2, 2]"]),
    );
  });
});

function refusal(code: string, says: readonly string[]) {
  return (error: unknown) => {
    assert.ok(error instanceof CheckpointError, String(error));
    assert.equal(error.code, code, error.message);
    for (const text of says) {
      assert.ok(error.message.includes(text), `${error.message} has ${text}`);
    }
    assert.ok(error.hint, "a hint");
    assert.ok(!error.message.endsWith("."));
    return true;
  };
}
