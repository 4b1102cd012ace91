/** Tiles of attention by matrices: which a device makes for heads of some sizes. */

import assert from "node:assert/strict";
import { prefillTile } from "../../../kernels/attention/matrix_tiles.ts";
import type { DeviceProfile } from "../../../kernels/kernel.ts";
import { GPU_PROFILE } from "../../support/gpu_profile.ts";
import { MATRIX_SHAPES, withMatrices } from "../../support/matrix_configs.ts";

const H100 = {
  ...withMatrices(GPU_PROFILE, MATRIX_SHAPES[0]),
  matrices: MATRIX_SHAPES.slice(0, 2),
};

const MANY = { heads: 32, tokens: { min: 513, max: 2048 } };

/** Queries, keys, and teams of the same queries; or undefined. */
function tileOf(
  headDim: number,
  valueDim: number,
  changed: Partial<DeviceProfile> = {},
  { heads, tokens } = MANY,
) {
  const profile = { ...H100, ...changed };
  const sizes = { heads, headDim, valueDim };
  const tile = prefillTile(sizes, { operands: "auto", profile, tokens }, "f16");
  return tile && [tile.queries, tile.keys, tile.columns];
}

Deno.test("prefillTile() takes fewer keys, then fewer queries, where workgroup memory is short", () => {
  assert.deepEqual(tileOf(64, 64), [64, 32, 1]);
  assert.deepEqual(tileOf(192, 128), [64, 32, 1]);
  assert.deepEqual(tileOf(192, 192), [64, 64, 2]);
  assert.deepEqual(tileOf(256, 256), [64, 32, 2]);
  const small = { maxWorkgroupStorageBytes: 32 << 10 };
  assert.deepEqual(tileOf(128, 128, small), [64, 32, 1]);
  assert.deepEqual(tileOf(192, 192, small), [64, 32, 2]);
  assert.deepEqual(tileOf(256, 256, small), [64, 32, 2]);
  const smallest = { maxWorkgroupStorageBytes: 16 << 10 };
  assert.deepEqual(tileOf(128, 128, smallest), [32, 32, 1]);
  assert.equal(tileOf(192, 192, smallest), undefined);
  assert.deepEqual(tileOf(256, 256, { maxWorkgroupStorageBytes: 64 << 10 }), [64, 64, 2]);
});

Deno.test("prefillTile() gives the same queries to several teams where registers are short", () => {
  assert.deepEqual(tileOf(192, 192), [64, 64, 2]);
  assert.deepEqual(tileOf(256, 128), [64, 32, 1]);
  assert.deepEqual(tileOf(256, 256, { subgroupSize: 64 }), [64, 32, 1]);
  assert.deepEqual(tileOf(128, 128, { subgroupSize: 16 }), [64, 64, 2]);
  assert.equal(tileOf(256, 256, { subgroupSize: 16 }), undefined);
  assert.deepEqual(tileOf(256, 256, { maxInvocations: 128 }), [32, 32, 2]);
});

Deno.test("prefillTile() makes larger workgroups where there are few", () => {
  const few = { heads: 16, tokens: { min: 129, max: 512 } };
  assert.deepEqual(tileOf(64, 64, {}, few), [64, 64, 2]);
  assert.deepEqual(tileOf(192, 128, {}, few), [64, 64, 2]);
  assert.deepEqual(tileOf(256, 256, {}, few), [64, 32, 2]);
  assert.deepEqual(tileOf(64, 64, {}, { ...few, heads: 17 }), [64, 32, 1]);
});

Deno.test("prefillTile() takes the largest matrices that make up the tile", () => {
  const shapeOf = (matrices: DeviceProfile["matrices"]) =>
    prefillTile(
      { heads: MANY.heads, headDim: 256, valueDim: 256 },
      {
        operands: "auto",
        profile: { ...H100, ...(matrices && { matrices }) },
        tokens: MANY.tokens,
      },
      "f8_e4m3",
    )?.shape;
  assert.equal(shapeOf(MATRIX_SHAPES), MATRIX_SHAPES[0]);
  assert.equal(shapeOf([MATRIX_SHAPES[2], { m: 16, n: 32, k: 16 }]), MATRIX_SHAPES[2]);
  assert.equal(shapeOf([]), undefined);
  assert.equal(shapeOf([{ m: 32, n: 16, k: 16 }]), undefined);
});

Deno.test("prefillTile() refuses what registers do not hold, other sizes, wider caches, and f32", () => {
  for (const [keys, values] of [[512, 512], [320, 256], [80, 80], [96, 64], [64, 128]]) {
    assert.equal(tileOf(keys, values), undefined, `${keys}, ${values}`);
  }
  assert.equal(tileOf(64, 64, { subgroups: false }), undefined);
  assert.equal(tileOf(64, 64, { subgroupSize: 8 }), undefined);
  assert.equal(tileOf(64, 64, { maxStorageBuffers: 8 }), undefined);
  const { heads, tokens } = MANY;
  const sizes = { heads, headDim: 64, valueDim: 64 };
  const device = { profile: H100, tokens };
  assert.equal(prefillTile(sizes, { ...device, operands: "auto" }, "f32"), undefined);
  assert.equal(prefillTile(sizes, device, "f16"), undefined);
  assert.equal(prefillTile(sizes, { ...device, operands: "f32" }, "f16"), undefined);
});
