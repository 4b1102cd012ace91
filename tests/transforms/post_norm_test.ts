import assert from "node:assert/strict";
import { isOp, printGraph, type Value } from "../../graph/mod.ts";
import { EagerBlocks } from "../support/eager_blocks.ts";
import { apply, applyAndCompare, steps } from "../support/run_transforms.ts";

/** How a block with norms on both sides is written. */
interface Form {
  /** Two normed branches, whose sum is normed. */
  readonly branches?: boolean;
  /** The norm of the branches' sum has another epsilon. */
  readonly otherEps?: boolean;
  readonly swapped?: boolean;
  readonly scale?: boolean;
  /** Norms that read the sum. */
  readonly next?: number;
  /** Something else reads the norm that is added. */
  readonly normRead?: boolean;
  /** Something else reads the sum in front of the scale. */
  readonly sumRead?: boolean;
}

function layer(form: Form): EagerBlocks {
  const blocks = new EagerBlocks("post_norm");
  const { b, graph } = blocks;
  const h = b.input("x", { dtype: "f32", shape: ["T", 8] });
  const norm = (x: Value, name: string, eps = 1e-5) =>
    b.op("rms_norm", { x, w: blocks.weight(name, [8]) }, { eps });
  const { next = 0 } = form;
  const first = norm(b.op("neg", { x: h }), "first");
  const both = () => b.op("add", { a: first, b: norm(b.op("silu", { x: h }), "second") });
  const made = form.branches ? norm(both(), "outer", form.otherEps ? 1e-2 : 1e-5) : first;
  if (form.normRead) graph.setOutput("normed", b.op("neg", { x: made }));
  const sum = b.op("add", form.swapped ? { a: made, b: h } : { a: h, b: made });
  if (form.sumRead) graph.setOutput("sum", b.op("neg", { x: sum }));
  const out = form.scale ? b.op("mul", { a: sum, b: blocks.weight("scalar", [1]) }) : sum;
  for (let i = 0; i < next; i++) {
    graph.setOutput(`next${i}`, b.op("neg", { x: norm(out, `next${i}`, 1e-3) }));
  }
  graph.setOutput("y", b.op("neg", { x: out }));
  return blocks;
}

const FORMS: readonly Form[] = [
  {},
  { swapped: true, next: 1 },
  { scale: true, next: 2 },
  { branches: true },
  { branches: true, swapped: true, scale: true, next: 2 },
];

for (const form of FORMS) {
  Deno.test(`fuse_post_norm makes one op of it: ${JSON.stringify(form)}`, async () => {
    const blocks = layer(form);
    const { fuse_post_norm: record } = await applyAndCompare(blocks, steps("fuse_post_norm"));
    assert.equal(record.num_matches, 1);
    const found = blocks.graph.nodes.filter((node) => isOp(node, "post_norm"));
    assert.equal(found.length, 1);
    assert.equal(found[0].outputs.length, 1 + (form.next ?? 0));
    const others = blocks.graph.nodes.filter(({ op }) => ["rms_norm", "add", "mul"].includes(op));
    assert.deepEqual(others, [], printGraph(blocks.graph));
  });
}

Deno.test("fuse_post_norm norms a sum itself where the branches' norms have another epsilon", async () => {
  const blocks = layer({ branches: true, otherEps: true });
  await applyAndCompare(blocks, steps("fuse_post_norm"));
  const ops = blocks.graph.nodes.map(({ op }) => op);
  assert.ok(ops.includes("post_norm"));
});

Deno.test("fuse_post_norm leaves a norm that something else reads, and a sum in front of its scale", async () => {
  const { graph } = layer({ normRead: true });
  const { fuse_post_norm: record } = await apply(graph, steps("fuse_post_norm"));
  assert.equal(record.num_matches, 0);
  const blocks = layer({ scale: true, sumRead: true });
  await applyAndCompare(blocks, steps("fuse_post_norm"));
  assert.ok(blocks.graph.nodes.some(({ op }) => op === "mul"));
});
