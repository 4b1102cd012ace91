/** Measured sizes of dense layers and of attention: which rows lowering takes, and what it says of others. */

import assert from "node:assert/strict";
import { ConfigError, Graph, GraphBuilder, type Node, tensor } from "../../graph/mod.ts";
import { type Dispatch, KERNELS, type LoweringContext } from "../../kernels/mod.ts";
import { attentionNode } from "../support/attention_node.ts";
import { GPU_PROFILE } from "../support/gpu_profile.ts";

const KEY = GPU_PROFILE.key;
const LINEAR_FILE = `linear,N=64,K=256,device_name=${KEY}.json`;
const ATTENTION_FILE = `attention,H=4,KV=2,D=64,cache=f16,device_name=${KEY}.json`;

function linearNode(): Node {
  const b = new GraphBuilder(new Graph("test"));
  const x = b.input("x", { dtype: "f32", shape: ["T", 256] });
  return b.node("linear", { x, w: b.weight("w", tensor("w", "bf16", [64, 256])) });
}

const ATTENTION = attentionNode({ heads: 4, kvHeads: 2, headDim: 64 });

/** What a node becomes with these tables, and what is said. */
function lower(node: Node, tables: Readonly<Record<string, unknown>>, tokens = 1) {
  const notes: string[] = [];
  const texts = new Map(
    Object.entries(tables).map((
      [name, rows],
    ) => [name, { path: `tuned/${name}`, text: JSON.stringify(rows) }]),
  );
  const context: LoweringContext = {
    profile: GPU_PROFILE,
    tokens: { min: 1, max: tokens, single: true },
    ...{ maxRows: 1, pageSize: 16, maxSequences: 8, maxSequenceTokens: 4096 },
    tuned: { read: (name) => texts.get(name) },
    cacheDtype: () => "f16",
    note: (text, kind) => notes.push(kind ? `${kind}: ${text}` : text),
  };
  const kernel = KERNELS.find(({ op }) => op === node.op);
  assert.ok(kernel);
  return {
    dispatches: kernel.lower(node, context),
    notes,
    tunable: kernel.tunable?.(node, context),
  };
}

/** The workgroup's size in a shader. */
function threadsOf([{ wgsl }]: readonly Dispatch[]): number {
  return Number(wgsl.match(/const INVOCATIONS = (\d+)u/)?.[1]);
}

Deno.test("a dense layer takes the row of its table, which the report names", () => {
  const usual = lower(linearNode(), {});
  const row = { THREADS: 256, ROWS: 4, UNROLL: 1 };
  const { dispatches, notes } = lower(linearNode(), { [LINEAR_FILE]: { 1: [row] } });
  assert.equal(threadsOf(dispatches), 256);
  assert.notEqual(threadsOf(usual.dispatches), 256);
  assert.deepEqual(dispatches[0].workgroups({ T: 1, R: 1, S: 1, P: 1 }), [16, 1, 1]);
  assert.match(notes.join(), /256 threads \(row 1 of tuned\/linear,N=64,K=256/);
  // A table of other tokens serves nobody here.
  assert.equal(
    threadsOf(lower(linearNode(), { [LINEAR_FILE]: { 4: [row] } }).dispatches),
    threadsOf(usual.dispatches),
  );
});

Deno.test("a row that the device cannot run is left out with its reason", () => {
  for (
    const [row, reason] of [
      [{ THREADS: 48, ROWS: 1, UNROLL: 1 }, /48 invocations: expected a power of two from 8/],
      [{ THREADS: 65536, ROWS: 1, UNROLL: 1 }, /the device allows/],
    ] as const
  ) {
    const { notes } = lower(linearNode(), { [LINEAR_FILE]: { 1: row } });
    assert.match(notes.join(), new RegExp(`notice: row 1 of .* left out: .*${reason.source}`));
  }
  const heads = { THREADS: 128, UNIT_HEADS: 3, UNROLL: 2, SPLITS: 8 };
  const { notes } = lower(ATTENTION, { [ATTENTION_FILE]: { 1: heads } });
  assert.match(notes.join(), /left out: 3 heads a unit do not divide/);
});

Deno.test("a row with another field is an error that names the file, the row and the field", () => {
  const table = { [LINEAR_FILE]: { 1: { THREADS: 32, ROWS: 1, UNROLL: 1, LANES: 4 } } };
  assert.throws(() => lower(linearNode(), table), (error) => {
    assert.ok(error instanceof ConfigError);
    assert.match(error.message, /tuned\/linear,N=64.*a configuration at "1".*LANES/);
    return true;
  });
});

Deno.test("attention takes the row of its table", () => {
  const row = { THREADS: 256, UNIT_HEADS: 2, UNROLL: 4, SPLITS: 8 };
  const { dispatches, notes } = lower(ATTENTION, { [ATTENTION_FILE]: { 1: [row] } });
  assert.equal(threadsOf(dispatches), 256);
  assert.match(notes.join(), /sizes of row 1 of tuned\/attention,H=4,KV=2,D=64,cache=f16/);
});

Deno.test("what a tuner tries begins with what runs without a table, and all of it can run", () => {
  for (const node of [linearNode(), ATTENTION]) {
    const usual = lower(node, {});
    assert.ok(usual.tunable && typeof usual.tunable !== "string");
    const { file, rows } = usual.tunable;
    assert.ok(rows.length > 20);
    const texts = rows.map((row) => {
      const { dispatches, notes } = lower(node, { [file]: { 1: row } });
      assert.ok(!notes.some((note) => note.startsWith("notice")), notes.join());
      return dispatches[0].wgsl;
    });
    assert.equal(texts[0], usual.dispatches[0].wgsl);
    assert.equal(new Set(texts).size, texts.length, "all differ");
  }
});
