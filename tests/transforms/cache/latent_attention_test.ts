import assert from "node:assert/strict";
import { constant, isOp, printGraph, type RopeAttrs, type Value } from "../../../graph/mod.ts";
import { EagerBlocks } from "../../support/eager_blocks.ts";
import { apply, steps } from "../../support/run_transforms.ts";

const [HEADS, NOPE, ROPE, VALUE, LATENT] = [3, 5, 4, 6, 12];

/** How latent attention stands in a graph when the other transforms are through. */
interface LatentForm {
  /** Every head has a turning key of its own. */
  readonly ownKeys?: boolean;
  /** RoPE of the keys differs from that of the queries. */
  readonly otherRope?: boolean;
  readonly otherPositions?: boolean;
  readonly bias?: boolean;
  readonly window?: number;
  readonly chunk?: number;
  readonly sinks?: boolean;
  /** Numbers between the latent and the key that turns. */
  readonly gap?: number;
  /** Queries do not turn. */
  readonly still?: boolean;
  /** Numbers of a latent; default LATENT. */
  readonly latent?: number;
}

function layer(form: LatentForm): EagerBlocks {
  const blocks = new EagerBlocks("latent");
  const { b, graph } = blocks;
  const x = b.input("x", { dtype: "f32", shape: ["T", 8] });
  const positions = b.input("positions", { dtype: "i32", shape: ["T"] });
  const y = b.within("attn", () => attend(blocks, x, positions, form));
  graph.setOutput("y", y);
  return blocks;
}

function attend(blocks: EagerBlocks, x: Value, positions: Value, form: LatentForm): Value {
  const { b } = blocks;
  const part = (of: Value, start: number, end: number) =>
    b.op("slice", { x: of }, { dim: -1, start, end });
  const byHead = (of: Value, size: number) =>
    b.op("transpose", { x: b.op("reshape", { x: of }, { shape: ["T", HEADS, size] }) }, {
      dims: [0, 1],
    });
  const inverse = b.weight("inv_freq", constant(Float32Array.of(1, 0.1)));
  const turn = (of: Value, layout: RopeAttrs["layout"], at = positions) =>
    b.op("rope", { x: of, positions: at, inv_freq: inverse }, {
      layout,
      rotaryDim: ROPE,
      attentionScaling: 1,
    });
  const q = byHead(blocks.linear(x, "q_proj", HEADS * (NOPE + ROPE)), NOPE + ROPE);
  const turning = part(q, NOPE, NOPE + ROPE);
  const { gap = 0, latent: size = LATENT } = form;
  const kv = blocks.linear(x, "kv_a_proj", size + gap + ROPE);
  const latent = b.within(
    "kv_a_norm",
    () =>
      b.op("rms_norm", { x: part(kv, 0, size), w: blocks.weight("weight", [size]) }, {
        eps: 1e-6,
      }),
  );
  const both = byHead(
    blocks.linear(latent, "kv_b_proj", HEADS * (NOPE + VALUE), form.bias),
    NOPE + VALUE,
  );
  const at = form.otherPositions ? b.input("others", { dtype: "i32", shape: ["T"] }) : positions;
  const single = b.op("unsqueeze", { x: part(kv, size + gap, size + gap + ROPE) }, { dim: 0 });
  const shared = turn(single, form.otherRope ? "half" : "interleaved", at);
  const keys = form.ownKeys
    ? turn(byHead(blocks.linear(x, "k_proj", HEADS * ROPE), ROPE), "interleaved")
    : b.op("expand", { x: shared }, { shape: [HEADS, "T", ROPE] });
  const mixed = b.op("attention", {
    q: b.op("concat", {
      xs: [part(q, 0, NOPE), form.still ? turning : turn(turning, "interleaved")],
    }, { dim: -1 }),
    k: b.op("concat", { xs: [part(both, 0, NOPE), keys] }, { dim: -1 }),
    v: part(both, NOPE, NOPE + VALUE),
    positions,
    sinks: form.sinks ? blocks.weight("sinks", [HEADS]) : undefined,
  }, { scale: 0.3, window: form.window, chunk: form.chunk });
  return b.op("reshape", { x: b.op("transpose", { x: mixed }, { dims: [0, 1] }) }, {
    shape: ["T", HEADS * VALUE],
  });
}

Deno.test("insert_cached_mla_attention keeps latents in place of keys and values", async () => {
  const { graph } = layer({});
  const list = steps(["insert_cached_mla_attention", { cache_dtype: "f32" }]);
  const { insert_cached_mla_attention: record } = await apply(graph, list);
  assert.equal(record.num_matches, 1);
  const node = graph.nodes.find((each) => isOp(each, "cached_mla_attention"));
  assert.ok(isOp(node, "cached_mla_attention"), printGraph(graph));
  const { rope, ...attrs } = node.attrs;
  assert.deepEqual({ ...attrs }, {
    ...{ heads: HEADS, nopeDim: NOPE, ropeDim: ROPE, valueDim: VALUE, latentDim: LATENT },
    ...{ scale: 0.3, cache: "attn", eps: 1e-6 },
  });
  assert.equal(rope.layout, "interleaved");
  assert.deepEqual(graph.nodes.map(({ op }) => op), ["linear", "linear", "cached_mla_attention"]);
  assert.deepEqual(
    graph.inputs.map(({ name }) => name),
    ["x", "positions", "sequence_ids", "block_table"],
  );
});

Deno.test("insert_cached_mla_attention says that names of CUDA kernels choose nothing", async () => {
  const list = steps(["insert_cached_mla_attention", { backend: "flashinfer_mla" }]);
  const { insert_cached_mla_attention: record } = await apply(layer({}).graph, list);
  const [note, ...others] = record.notes;
  assert.match(note, /backend "flashinfer_mla" names a CUDA kernel/);
  assert.equal(others.length, 0);
});

const REASONS: readonly (readonly [LatentForm, string])[] = [
  [{ otherRope: true }, "attn (attention): q and k have different RoPE"],
  [{ otherPositions: true }, "attn (attention): RoPE and attention have different positions"],
  [{ bias: true }, "attn.kv_b_proj (linear): it has a bias"],
  [{ gap: 2 }, "attn (attention): latent and turning key do not lie side by side"],
  [
    { latent: 13 },
    "attn (attention): a cache of latents takes multiples of 8, not 17: keys and values of every head are kept",
  ],
  [{ window: 3 }, "attn (attention): it has a window"],
  [{ chunk: 4 }, "attn (attention): it has a window"],
  [{ sinks: true }, "attn (attention): it has sinks"],
];

for (const [form, reason] of REASONS) {
  Deno.test(`insert_cached_mla_attention says why it leaves a layer: ${JSON.stringify(form)}`, async () => {
    const { graph } = layer(form);
    const text = printGraph(graph);
    const { insert_cached_mla_attention: record } = await apply(
      graph,
      steps("insert_cached_mla_attention"),
    );
    const misses = record.nearMisses.map(({ node, reason }) => `${node}: ${reason}`);
    assert.deepEqual(misses, [reason]);
    assert.equal(printGraph(graph), text);
  });
}

for (const form of [{ ownKeys: true }, { still: true }] satisfies LatentForm[]) {
  Deno.test(`insert_cached_mla_attention leaves other attention alone: ${JSON.stringify(form)}`, async () => {
    const { graph } = layer(form);
    const before = graph.nodes;
    const { insert_cached_mla_attention: record } = await apply(
      graph,
      steps("insert_cached_mla_attention"),
    );
    assert.deepEqual([record.num_matches, record.nearMisses], [0, []]);
    assert.ok(graph.nodes.every((node) => before.includes(node)));
    assert.ok(graph.nodes.some(({ op }) => op === "attention"));
  });
}
