/**
 * Which tuned table a deployment takes, and what it says about it.
 *
 * @module
 */

import assert from "node:assert/strict";
import { tunedFileName, tunedRow } from "../../kernels/mod.ts";
import { openDevice, TUNED_DIR_VARIABLE, writeTunedRow } from "../../runtime/mod.ts";
import { webgpuTest } from "../support/adapter.ts";
import { deployBundled } from "../support/deploy_bundled.ts";

/** Name of the table of the bundled model's layers on this machine's device, or on another. */
async function tableName(deviceKey?: string): Promise<string> {
  const device = await openDevice();
  const { key } = device.profile;
  device.close();
  return tunedFileName(
    { experts: 16, intermediate: 96, format: "bf16", activationQuant: "none", operands: "f32" },
    deviceKey ?? key,
  );
}

/** Deploys the bundled model with a folder of tables: what it told, and what its layers took. */
async function deployWith(prepare: (folder: string) => unknown) {
  const folder = await Deno.makeTempDir();
  try {
    await prepare(folder);
    const { told = [], texts = [], error } = await deployBundled({ [TUNED_DIR_VARIABLE]: folder });
    return { folder, texts, error, told: told.filter((text) => text.startsWith("auto:")) };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

webgpuTest("deploy() takes the user's table and reports file and row", async () => {
  const name = await tableName();
  const { folder, texts, told } = await deployWith((folder) =>
    writeTunedRow(folder, name, 1, [
      tunedRow({
        algorithm: "slots",
        lanes: 8,
        up: { values: 4, unroll: 1, groups: 1 },
        down: { values: 4, unroll: 1, groups: 1 },
      }),
    ])
  );
  const expected = new RegExp(`takes trtllm, measured; .*\\(row 1 of ${folder}/`);
  assert.ok(texts.some((text) => expected.test(text)), texts.join("\n"));
  assert.deepEqual(told, []);
});

webgpuTest("deploy() leaves a table of another device alone, and says so in one line", async () => {
  const name = await tableName("another_device");
  const { texts, told } = await deployWith((folder) =>
    Deno.writeTextFile(`${folder}/${name}`, "not even JSON")
  );
  assert.equal(told.length, 1, told.join("\n"));
  assert.ok(told[0].includes(await tableName()), told[0]);
  assert.ok(texts.some((text) => text.includes("(heuristic)")), texts.join("\n"));
});

webgpuTest("deploy() takes nothing of a row that the device cannot run, and says so", async () => {
  const name = await tableName();
  const row = { BLOCK_SIZE_M: 16, BLOCK_SIZE_N: 24, BLOCK_SIZE_K: 10, GROUP_SIZE_M: 1 };
  const { texts, told } = await deployWith((folder) =>
    Deno.writeTextFile(`${folder}/${name}`, JSON.stringify({ 1: row }))
  );
  assert.equal(told.length, 1, told.join("\n"));
  assert.match(told[0], /row 1 of .* left out: .*(depth|divide)/);
  assert.ok(!texts.some((text) => text.includes("measured")), texts.join("\n"));
});

webgpuTest("deploy() refuses a malformed table with its path", async () => {
  const name = await tableName();
  const { error } = await deployWith((folder) =>
    Deno.writeTextFile(`${folder}/${name}`, '{"1": {"BLOCK_SIZE_M": 0}}')
  );
  assert.equal(error?.code, "config/tuned-file");
  assert.ok(error?.message.includes(name), error?.message);
});
