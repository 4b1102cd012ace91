import assert from "node:assert/strict";
import fc from "../../../../deps/fast_check.ts";
import { ConfigError } from "../../../../graph/mod.ts";
import { moeCandidates } from "../../../../kernels/moe/tuning/candidates.ts";
import { refuseConfig } from "../../../../kernels/moe/algorithms/config.ts";
import { type DeviceMoeSpec, moeSpecOf } from "../../../../kernels/moe/spec.ts";
import { findTuned, parseTunedFile, tunedFileName } from "../../../../kernels/moe/tuning/tuned.ts";
import { nearestKey } from "../../../../kernels/tuned_table.ts";
import { tunedRow } from "../../../../kernels/moe/tuning/tuned_row.ts";
import { bundledTable } from "../../../../runtime/bundled_tables.ts";
import { GPU_PROFILE } from "../../../support/gpu_profile.ts";
import { moeLayer } from "../../../support/moe_layer.ts";
import { buildNode } from "../../../support/op_case.ts";

/** A layer of 64 experts for steps of up to so many tokens. */
function spec(tokens: number, files: Readonly<Record<string, string>> = {}): DeviceMoeSpec {
  const texts = new Map(
    Object.entries(files).map(([name, text]) => [name, { path: `tuned/${name}`, text }]),
  );
  return {
    ...moeSpecOf(buildNode(moeLayer()).node),
    ...{ hidden: 2048, intermediate: 1024, experts: 64, topK: 8, profile: GPU_PROFILE },
    tokens: { min: 1, max: tokens },
    tuned: { read: (name) => texts.get(name) },
  };
}

const NAME = "E=64,N=1024,device_name=NVIDIA_H100_80GB_HBM3.json";

/** A row as vLLM's files have it. */
const VLLM_ROW = {
  BLOCK_SIZE_M: 64,
  BLOCK_SIZE_N: 64,
  BLOCK_SIZE_K: 32,
  GROUP_SIZE_M: 8,
  num_warps: 4,
  num_stages: 3,
};

Deno.test("tunedFileName() spells dtype and block shape as vLLM does", () => {
  const layer = {
    experts: 8,
    intermediate: 14336,
    activationQuant: "none",
    operands: "f32",
  } as const;
  const name = (own: object) => tunedFileName({ ...layer, format: "bf16", ...own }, "GPU_1");
  assert.equal(name({}), "E=8,N=14336,device_name=GPU_1.json");
  assert.equal(name({ format: "f16" }), "E=8,N=14336,device_name=GPU_1.json");
  assert.equal(name({ format: "f32" }), "E=8,N=14336,device_name=GPU_1,dtype=f32.json");
  const fp8 = { format: "fp8_block", block: [128, 128] };
  const block = "block_shape=[128,128].json";
  assert.equal(name(fp8), `E=8,N=14336,device_name=GPU_1,dtype=fp8_w8a16,${block}`);
  const dynamic = { ...fp8, activationQuant: "dynamic" };
  assert.equal(name(dynamic), `E=8,N=14336,device_name=GPU_1,dtype=fp8_w8a8,${block}`);
});

Deno.test("tunedFileName() keeps times with f16 operands apart", () => {
  const halves = spec(64, { [NAME]: JSON.stringify({ 64: VLLM_ROW }) });
  const name = "E=64,N=1024,device_name=NVIDIA_H100_80GB_HBM3,operands=f16.json";
  const notes: string[] = [];
  const note = (text: string) => notes.push(text);
  assert.equal(findTuned({ ...halves, operands: "f16" }, ["grouped"], note), undefined);
  assert.match(notes.join(), new RegExp(`no tuned table ${name}`));
  const own = spec(64, { [name]: JSON.stringify({ 64: VLLM_ROW }) });
  assert.equal(findTuned({ ...own, operands: "f16" }, ["grouped"], note)?.path, `tuned/${name}`);
  assert.equal(findTuned(own, ["grouped"], note), undefined);
});

Deno.test("nearestKey() stays within a factor of two and gives ties to the smaller", () => {
  assert.equal(nearestKey([1, 8, 64], 16), 8);
  assert.equal(nearestKey([1, 8, 64], 17), undefined);
  assert.equal(nearestKey([16, 4], 8), 4);
  assert.equal(nearestKey([2, 3], 1), 2);
  assert.equal(nearestKey([], 1), undefined);
});

Deno.test("findTuned() takes a row of vLLM's form and derives the thread tile from the warps", () => {
  const layer = spec(64, { [NAME]: JSON.stringify({ triton_version: "3.4.0", 64: VLLM_ROW }) });
  const notes: string[] = [];
  const found = findTuned(layer, ["grouped"], (text) => notes.push(text));
  assert.deepEqual(notes, []);
  const tile = {
    blockN: 64,
    blockK: 32,
    groupM: 8,
    threadM: 4,
    threadN: 8,
    lanes: 1,
    staging: "both",
  } as const;
  assert.deepEqual(found, {
    config: { algorithm: "grouped", blockM: 64, up: tile, down: tile },
    path: `tuned/${NAME}`,
    key: 64,
  });
});

Deno.test("findTuned() takes the first row that the backend can run", () => {
  const slots = {
    ALGORITHM: "slots",
    LANES: 32,
    UP: { VALUES: 4, UNROLL: 4, GROUPS: 2 },
    DOWN: { VALUES: 4, UNROLL: 2, GROUPS: 8 },
  };
  const layer = spec(1, { [NAME]: JSON.stringify({ 1: [slots, VLLM_ROW] }) });
  const none = () => assert.fail("nothing to say");
  assert.equal(findTuned(layer, ["slots", "grouped"], none)?.config.algorithm, "slots");
  assert.equal(findTuned(layer, ["grouped"], none)?.config.algorithm, "grouped");
  assert.equal(findTuned(layer, ["experts"], none), undefined);
});

Deno.test("findTuned() says which file is missing and what makes it", () => {
  const notes: string[] = [];
  assert.equal(findTuned(spec(8), ["grouped"], (text) => notes.push(text)), undefined);
  assert.equal(notes.length, 1);
  assert.match(notes[0], /E=64,N=1024,device_name=NVIDIA_H100_80GB_HBM3\.json.*deno task tune/);
});

Deno.test("findTuned() leaves out rows that the device cannot run, with the reason", () => {
  const rows: [Record<string, unknown>, RegExp][] = [
    [
      { ...VLLM_ROW, BLOCK_SIZE_M: 128, BLOCK_SIZE_N: 256, num_warps: 8 },
      /bytes of workgroup memory/,
    ],
    [{ ...VLLM_ROW, THREAD_M: 5 }, /do not divide it/],
    [{ ...VLLM_ROW, THREAD_M: 16, THREAD_N: 16 }, /more than 128 sums/],
    [{ ...VLLM_ROW, THREAD_N: 1 }, /2 matrices do not divide 1/],
    [{ ...VLLM_ROW, BLOCK_SIZE_K: 4 }, /no multiple of 8/],
    [{ ...VLLM_ROW, STAGING: "none", THREAD_M: 4, THREAD_N: 8 }, /subgroup of 32 does not divide/],
  ];
  for (const [row, reason] of rows) {
    const notes: string[] = [];
    const layer = spec(64, { [NAME]: JSON.stringify({ 64: row }) });
    assert.equal(findTuned(layer, ["grouped"], (text) => notes.push(text)), undefined);
    assert.match(notes.join(), /^row 64 of tuned\/E=64.* left out: /);
    assert.match(notes.join(), reason);
  }
});

Deno.test("parseTunedFile() refuses malformed files with path, place and reason", () => {
  const { BLOCK_SIZE_M: _, ...incomplete } = VLLM_ROW;
  const files: [string, RegExp][] = [
    ["{", /expected JSON/],
    ["[]", /expected an object from numbers of tokens/],
    ["null", /expected an object from numbers of tokens/],
    ["{}", /expected at least one configuration, got none/],
    ['{"many": {}}', /expected a number of tokens as key, got "many"/],
    ['{"0": {}}', /expected a number of tokens as key, got "0"/],
    [JSON.stringify({ 8: incomplete }), /at "8.BLOCK_SIZE_M"/],
    [JSON.stringify({ 8: { ...VLLM_ROW, BLOCK_SIZE: 1 } }), /BLOCK_SIZE/],
    [JSON.stringify({ 8: { ...VLLM_ROW, GROUP_SIZE_M: "8" } }), /at "8.GROUP_SIZE_M"/],
    [JSON.stringify({ 8: { ...VLLM_ROW, BLOCK_SIZE_N: -64 } }), /at "8.BLOCK_SIZE_N"/],
    [JSON.stringify({ 8: [VLLM_ROW, { ALGORITHM: "magic" }] }), /at "8.ALGORITHM"/],
    [JSON.stringify({ 8: { ALGORITHM: "slots", LANES: 32 } }), /at "8.UP"/],
    [JSON.stringify({ 8: 3 }), /configuration at "8"/],
  ];
  for (const [text, reason] of files) {
    assert.throws(() => parseTunedFile({ path: "mine.json", text }), (error) => {
      assert(error instanceof ConfigError);
      assert.equal(error.code, "config/tuned-file");
      assert.match(error.message, /^Cannot read tuned table "mine\.json": expected /);
      assert.match(error.message, reason);
      return true;
    });
  }
});

Deno.test("tunedRow() and parseTunedFile() are inverse for every candidate", () => {
  for (const tokens of [1, 8, 64, 1024]) {
    const layer = spec(tokens);
    const candidates = moeCandidates(layer);
    for (const config of candidates) {
      const text = JSON.stringify({ [tokens]: tunedRow(config) });
      assert.deepEqual(parseTunedFile({ path: "x", text }).get(tokens), [config]);
    }
  }
});

Deno.test("moeCandidates() gives what the device can run, each once, for both products", () => {
  fc.assert(
    fc.property(fc.constantFrom(1, 4, 32, 200, 4096), fc.integer(), (tokens, at) => {
      const layer = spec(tokens);
      const first = moeCandidates(layer);
      assert(first.length >= 10 && first.length <= 1000, `${first.length} candidates`);
      assert.equal(new Set(first.map((each) => JSON.stringify(each))).size, first.length);
      const best = first[Math.abs(at) % first.length];
      for (const config of [...first, ...moeCandidates(layer, best)]) {
        assert.equal(refuseConfig(config, layer), undefined);
      }
    }),
    { numRuns: 20 },
  );
});

Deno.test("the tables that come with Mixline are well formed and name the shape they are for", async () => {
  const folder = new URL("../../../../configs/tuned/", import.meta.url);
  let files = 0;
  for await (const { name } of Deno.readDir(folder)) {
    const [, device, experts, intermediate, , dtype] =
      name.match(/^(\w+)_E(\d+)_N(\d+)(_dtype-(\w+))?\.json$/) ?? [];
    const rest = dtype === undefined ? "" : `,dtype=${dtype}`;
    const users = `E=${experts},N=${intermediate},device_name=${device}${rest}.json`;
    assert.equal(bundledTable(users)?.path, `configs/tuned/${name}`);
    const text = await Deno.readTextFile(new URL(encodeURIComponent(name), folder));
    assert(parseTunedFile({ path: name, text }).size > 0);
    files++;
  }
  assert(files > 0);
});
