import assert from "node:assert/strict";
import { ConfigError, DeviceError, Graph, GraphBuilder, tensor } from "../../../graph/mod.ts";
import { compileWithPages } from "../../../runtime/scheduling/fit_pages.ts";
import {
  compileSizes,
  type StepLimits,
  stepLimits,
} from "../../../runtime/scheduling/step_limits.ts";

const SETTINGS = { maxSeqLen: 1000, maxBatchSize: 4, maxNumTokens: 512 };

/** A language model's ends: logits of gathered rows or of all, with a cache or without. */
function graphOf(options: { gather?: boolean; cache?: boolean; vocab?: number }): Graph {
  const { gather = true, cache = true, vocab = 100 } = options;
  const b = new GraphBuilder(new Graph("model"));
  const x = b.input("x", { dtype: "f32", shape: ["T", 8] });
  const rows = gather ? b.input("logits_rows", { dtype: "i32", shape: ["R"] }) : undefined;
  const picked = rows ? b.op("gather_rows", { x, rows }) : x;
  const w = b.weight("lm_head", tensor("lm_head", "bf16", [vocab, 8]));
  b.graph.setOutput("logits", b.op("linear", { x: picked, w }));
  if (cache) {
    b.graph.addCache({ name: "c", kvHeads: 2, headDim: 64, dtype: "f16", pageSize: 16 });
  }
  return b.graph;
}

Deno.test("stepLimits() gives pages for every sequence", () => {
  const limits = stepLimits(graphOf({}), SETTINGS);
  assert.deepEqual(limits, {
    maxTokens: 512,
    maxRows: 512,
    maxSequences: 4,
    maxSequenceTokens: 1000,
    pages: 4 * 63,
    pageSize: 16,
    pagesReason: "4 sequences of full length",
    recompute: false,
  });
  assert.equal(compileSizes(limits).maxPagesPerSequence, 63);
});

Deno.test("stepLimits() gives 8 sequences their full length, and more within 1 GiB", () => {
  const page = 2 * 2 * 16 * 64 * 2;
  const many = { ...SETTINGS, maxBatchSize: 64 };
  assert.equal(stepLimits(graphOf({}), many).pages, 64 * 63);
  const long = { ...many, maxSeqLen: 16 * 4000 };
  assert.equal(stepLimits(graphOf({}), long).pages, Math.max(8 * 4000, 2 ** 30 / page));
  const longer = { ...many, maxSeqLen: 16 * 40000 };
  assert.equal(stepLimits(graphOf({}), longer).pages, 8 * 40000);
  assert.deepEqual(
    [many, long, longer].map((each) => stepLimits(graphOf({}), each).pagesReason),
    [
      "64 sequences of full length",
      "1 GiB of caches, which sequences share",
      "8 sequences of full length, which 64 shorter ones may share",
    ],
  );
});

Deno.test("stepLimits() bounds rows by the bytes of their logits", () => {
  assert.equal(stepLimits(graphOf({ vocab: 2 ** 17 }), SETTINGS).maxRows, 128);
  const all = stepLimits(graphOf({ vocab: 2 ** 17, gather: false }), SETTINGS);
  assert.deepEqual([all.maxTokens, all.maxRows], [128, 128]);
});

Deno.test("stepLimits() takes as many pages as the device binds, or says what fits", () => {
  const page = 2 * 16 * 64 * 2;
  const device = (pages: number) => ({ maxBindingBytes: pages * page, maxBufferBytes: 2 ** 31 });
  assert.equal(stepLimits(graphOf({}), SETTINGS, device(100)).pages, 100);
  assert.throws(() => stepLimits(graphOf({}), SETTINGS, device(50)), (error) => {
    assert(error instanceof DeviceError);
    assert.match(error.message, /cache "c": expected at most 204800 bytes, got 258048/);
    assert.match(String(error.hint), /max_seq_len to 800 or less/);
    return true;
  });
});

Deno.test("stepLimits() computes graphs without caches whole", () => {
  const limits = stepLimits(graphOf({ cache: false }), SETTINGS);
  assert.deepEqual([limits.recompute, limits.maxTokens, limits.maxSequenceTokens], [
    true,
    1000,
    1000,
  ]);
});

Deno.test("stepLimits() refuses sizes that are no counts", () => {
  assert.throws(() => stepLimits(graphOf({}), { ...SETTINGS, maxSeqLen: 0 }), ConfigError);
});

Deno.test("stepLimits() names max_batch_size when the logits of so many sequences cannot be bound", () => {
  const device = { maxBindingBytes: 2 ** 27, maxBufferBytes: 2 ** 31 };
  const many = (maxBatchSize: number) =>
    stepLimits(graphOf({ vocab: 4096 }), { ...SETTINGS, maxBatchSize }, device);
  assert.equal(many(8192).maxSequences, 8192);
  assert.throws(() => many(10_000), (error) => {
    assert(error instanceof ConfigError);
    assert.equal(
      error.message,
      "Cannot plan steps: expected max_batch_size of at most 8192 on this device, got 10000",
    );
    assert.equal(error.hint, "Lower max_batch_size to 8192 or less");
    return true;
  });
});

Deno.test("compileWithPages() takes fewer pages where there is no memory, one sequence at least", async () => {
  const wanted = stepLimits(graphOf({}), { ...SETTINGS, maxBatchSize: 64 });
  const fails = (most: number, what: string) => (limits: StepLimits) =>
    limits.pages <= most ? Promise.resolve(limits.pages) : Promise.reject(
      new DeviceError("device/out-of-memory", `Cannot allocate ${what}`, { details: { what } }),
    );
  const notes: string[] = [];
  const options = { note: (text: string) => notes.push(text) };
  const { program, limits } = await compileWithPages(wanted, fails(1100, "keys of cache"), options);
  assert.deepEqual([program, limits.pages, notes.length], [1008, 1008, 2]);
  assert.equal(limits.pagesReason, "what the device had memory for");
  assert.match(notes[0], /2016 pages instead of 4032: Cannot allocate keys of cache/);
  await assert.rejects(compileWithPages(wanted, fails(62, "keys of cache"), options), DeviceError);
  notes.length = 0;
  await assert.rejects(compileWithPages(wanted, fails(62, 'weight "w"'), options), DeviceError);
  assert.equal(notes.length, 0, "weights do not become smaller with fewer pages");
});

Deno.test("compileWithPages() takes fewer sequences for few pages, unless their number was asked for", async () => {
  const wanted = stepLimits(graphOf({}), { ...SETTINGS, maxSeqLen: 4096, maxBatchSize: 64 });
  for (
    const [most, fewerSequences, expected] of [[1e9, true, 64], [600, true, 16], [600, false, 64]]
  ) {
    const notes: string[] = [];
    const { program, limits } = await compileWithPages(
      { ...wanted, pages: 2048 },
      (limits) =>
        limits.pages <= Number(most) ? Promise.resolve(limits.maxSequences) : Promise.reject(
          new DeviceError("device/out-of-memory", "Cannot allocate keys: expected room, got none", {
            details: { what: "keys" },
          }),
        ),
      { fewerSequences: Boolean(fewerSequences), note: (text) => notes.push(text) },
    );
    assert.deepEqual([program, limits.maxSequences], [expected, expected]);
    assert.equal(limits.sequencesReason !== undefined, expected !== 64);
    if (expected !== 64) {
      assert.match(
        notes.join(),
        /16 sequences run at a time instead of 32: .* 512 pages, for 512 tokens/,
      );
    }
  }
});
