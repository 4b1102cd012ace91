import assert from "node:assert/strict";
import { ConfigError } from "../../graph/mod.ts";
import { type MoeConfig, parseTunedFile, tunedRow } from "../../kernels/mod.ts";
import { bundledName } from "../../runtime/bundled_tables.ts";
import { TunedFolders, tunedTokens, writeTunedRow } from "../../runtime/mod.ts";

const FILE = "E=8,N=96,device_name=tests.json";

const SLOTS: MoeConfig = {
  algorithm: "slots",
  lanes: 32,
  up: { values: 4, unroll: 2, groups: 2 },
  down: { values: 4, unroll: 1, groups: 2 },
};

const EXPERTS: MoeConfig = {
  algorithm: "experts",
  lanes: 32,
  columns: 4,
  up: { values: 8 },
  down: { values: 4, groups: 2 },
};

/** Runs a test body with a folder of its own. */
async function withFolder(body: (folder: string) => void | Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

function parsed(path: string) {
  return parseTunedFile({ path, text: Deno.readTextFileSync(path) });
}

Deno.test("writeTunedRow() adds to a table, ascending, and keeps the other rows", async () => {
  await withFolder((folder) => {
    const nested = `${folder}/a/b`;
    writeTunedRow(nested, FILE, 16, [EXPERTS, SLOTS].map(tunedRow));
    const path = writeTunedRow(nested, FILE, 2, [tunedRow(SLOTS)]);
    assert.deepEqual([...parsed(path)], [[2, [SLOTS]], [16, [EXPERTS, SLOTS]]]);
    writeTunedRow(nested, FILE, 16, [tunedRow(SLOTS)]);
    assert.deepEqual(parsed(path).get(16), [SLOTS]);
    assert.deepEqual(tunedTokens(nested, FILE), [2, 16]);
  });
});

Deno.test("tunedTokens() gives nothing to skip where there is no table", async () => {
  await withFolder((folder) => assert.deepEqual(tunedTokens(folder, FILE), []));
});

Deno.test("writeTunedRow() leaves a whole table when it is interrupted", async () => {
  await withFolder((folder) => {
    const path = writeTunedRow(folder, FILE, 1, [tunedRow(SLOTS)]);
    const before = Deno.readTextFileSync(path);
    const { renameSync } = Deno;
    Deno.renameSync = () => {
      throw new Error("stopped before the file was put in its place");
    };
    try {
      assert.throws(() => writeTunedRow(folder, FILE, 4, [tunedRow(EXPERTS)]), /stopped/);
    } finally {
      Deno.renameSync = renameSync;
    }
    assert.equal(Deno.readTextFileSync(path), before);
    assert.deepEqual(tunedTokens(folder, FILE), [1], "the next run continues after one token");
    writeTunedRow(folder, FILE, 4, [tunedRow(EXPERTS)]);
    assert.deepEqual([...parsed(path).keys()], [1, 4]);
  });
});

Deno.test("writeTunedRow() and tunedTokens() refuse a table that is no table, and leave it", async () => {
  await withFolder((folder) => {
    const path = `${folder}/${FILE}`;
    const table: readonly [string, RegExp][] = [
      ['{"1": ', /expected JSON/],
      ['{"one": {"BLOCK_SIZE_M": 16}}', /expected a number of tokens as key, got "one"/],
      ['{"1": {"BLOCK_SIZE_M": 16}}', /expected a configuration at "1\.BLOCK_SIZE_N"/],
      ['{"1": {"ALGORITHM": "slots", "LANES": 32}}', /at "1\.UP"/],
      ["{}", /expected at least one configuration, got none/],
    ];
    for (const [text, message] of table) {
      Deno.writeTextFileSync(path, text);
      for (
        const use of [
          () => tunedTokens(folder, FILE),
          () => writeTunedRow(folder, FILE, 1, [tunedRow(SLOTS)]),
        ]
      ) {
        assert.throws(use, (error) => {
          assert.ok(error instanceof ConfigError);
          assert.equal(error.code, "config/tuned-file");
          assert.match(error.message, message);
          assert.ok(error.message.includes(path), error.message);
          return true;
        });
      }
      assert.equal(Deno.readTextFileSync(path), text, "nothing was written over it");
    }
  });
});

Deno.test("TunedFolders prefers the first folder, and reads a file once", async () => {
  await withFolder((folder) => {
    const [own, bundled] = [`${folder}/own`, `${folder}/bundled`];
    writeTunedRow(bundled, FILE, 1, [EXPERTS]);
    const before = new TunedFolders([own, bundled]);
    assert.equal(before.read(FILE)?.path, `${bundled}/${FILE}`);
    const path = writeTunedRow(own, FILE, 1, [SLOTS]);
    const after = new TunedFolders([own, bundled]);
    const found = after.read(FILE);
    assert.equal(found?.path, path);
    assert.equal(after.read(FILE), found);
    assert.equal(after.read(FILE.replace("tests", "another")), undefined);
  });
});

Deno.test("TunedFolders finds the tables that come with Mixline after those of the user", async () => {
  await withFolder((folder) => {
    const name = "E=64,N=1024,device_name=NVIDIA_H100_80GB_HBM3.json";
    const bundled = new TunedFolders([folder]).read(name);
    assert.equal(bundled?.path, "configs/tuned/NVIDIA_H100_80GB_HBM3_E64_N1024.json");
    assert.ok(bundled && parseTunedFile(bundled).size > 0);
    const path = writeTunedRow(folder, name, 1, [SLOTS]);
    assert.equal(new TunedFolders([folder]).read(name)?.path, path);
  });
});

Deno.test("bundledName() has no sign that registries refuse", () => {
  const name = "E=8,N=96,device_name=GPU_1,dtype=fp8_w8a16,block_shape=[128,128],operands=f16.json";
  const expected = "GPU_1_E8_N96_dtype-fp8_w8a16_block_shape-128_128_operands-f16.json";
  assert.equal(bundledName(name), expected);
  assert.match(expected, /^[\w.-]+$/);
});

Deno.test("TunedFolders tells what kept it from reading a table", async () => {
  await withFolder((folder) => {
    Deno.mkdirSync(`${folder}/${FILE}`);
    assert.throws(() => new TunedFolders([folder]).read(FILE), (error) => {
      assert.ok(error instanceof ConfigError);
      assert.ok(error.message.startsWith(`Cannot read tuned table "${folder}/${FILE}"`));
      return true;
    });
  });
});

Deno.test("TunedFolders finds a table whose GPU another provider of WebGPU spells in its way", async () => {
  await withFolder((folder) => {
    const native = "E=8,N=96,device_name=NVIDIA_GeForce_RTX_4090.json";
    const dawn = "E=8,N=96,device_name=nvidia-geforce-rtx-4090.json";
    const path = writeTunedRow(folder, native, 4, [SLOTS]);
    assert.equal(new TunedFolders([folder]).read(dawn)?.path, path);
    const own = writeTunedRow(folder, dawn, 4, [EXPERTS]);
    assert.equal(new TunedFolders([folder]).read(dawn)?.path, own);
    assert.equal(new TunedFolders([folder]).read(dawn.replace("4090", "4080")), undefined);
    const bundled = new TunedFolders([]).read("E=64,N=1024,device_name=nvidia-h100-80gb-hbm3.json");
    assert.match(bundled?.path ?? "", /NVIDIA_H100_80GB_HBM3_E64_N1024\.json$/);
  });
});
