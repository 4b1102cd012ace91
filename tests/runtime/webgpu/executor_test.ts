import assert from "node:assert/strict";
import { constant, Graph, GraphBuilder, KernelError } from "../../../graph/mod.ts";
import { defineKernel } from "../../../kernels/kernel.ts";
import { webgpuTest, withExecutor } from "../../support/adapter.ts";

const SOURCE = { read: () => Promise.reject(new Error("no tensors here")) };
const LIMITS = { maxTokens: 40, maxSequences: 2, pages: 1, maxPagesPerSequence: 1 };

function elementwise(op: "add" | "mul", body: string) {
  return defineKernel({
    name: `test_${op}`,
    op,
    summary: "elementwise over equal shapes, or with a row",
    refuse: (node) => node.outputs[0].dtype === "f32" ? undefined : "takes f32 only",
    lower(node) {
      const [a, b] = [node.inputs.a, node.inputs.b];
      if (!a || !b || Array.isArray(a) || Array.isArray(b)) throw new Error("two values");
      const columns = Number(node.outputs[0].shape[1]);
      return [{
        kernel: `test_${op}`,
        wgsl: `
struct Step { T: u32, R: u32, S: u32, P: u32 }
@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<uniform> step: Step;
override COLUMNS: u32 = 1;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  if (id.x >= step.T * COLUMNS) { return; }
  y[id.x] = ${body};
}`,
        constants: { COLUMNS: columns },
        bindings: [
          { buffer: a as never, access: "read" },
          { buffer: b as never, access: "read" },
          { buffer: node.outputs[0], access: "read_write" },
          { buffer: { kind: "step" }, access: "uniform" },
        ],
        workgroups: ({ T }) => [Math.ceil(T * columns / 64), 1, 1],
      }];
    },
  });
}

const KERNELS = [
  elementwise("mul", "a[id.x] * b[id.x % COLUMNS]"),
  elementwise("add", "a[id.x] + b[id.x]"),
];

function smallGraph(): Graph {
  const b = new GraphBuilder(new Graph("small"));
  const x = b.input("x", { dtype: "f32", shape: ["T", 6] });
  const row = b.weight("row", constant(Float32Array.of(1, 2, 3, 4, 5, 6)));
  const scaled = b.op("mul", { a: x, b: row });
  const twice = b.op("add", { a: scaled, b: scaled });
  const flat = b.op("reshape", { x: twice }, { shape: ["T", 2, 3] });
  b.graph.setOutput("y", b.op("reshape", { x: flat }, { shape: ["T", 6] }));
  return b.graph;
}

webgpuTest("compile() runs a small graph for every token range", async () => {
  await withExecutor({ kernels: KERNELS }, async (executor) => {
    const program = await executor.compile(smallGraph(), { source: SOURCE, ...LIMITS });
    for (const T of [1, 7, 8, 9, 40, 3]) {
      const x = Float32Array.from({ length: T * 6 }, (_, i) => i - 3);
      const { y } = await program.run({ x }, { T });
      assert.deepEqual([...y], [...x].map((value, i) => 2 * value * (1 + i % 6)));
    }
  });
});

webgpuTest("compile() names every refusal and the transform that helps", async () => {
  await withExecutor({ kernels: KERNELS }, async (executor) => {
    const b = new GraphBuilder(new Graph("attention"));
    const positions = b.input("positions", { dtype: "i32", shape: ["T"] });
    b.graph.setOutput("y", b.within("layer", () => b.op("attention_mask", { positions })));
    await assert.rejects(executor.compile(b.graph, { source: SOURCE, ...LIMITS }), (error) => {
      assert(error instanceof KernelError);
      assert.match(error.message, /op "attention_mask" of "layer".*expected a kernel, got none/);
      assert.match(String(error.hint), /insert_cached_attention.*--executor cpu/);
      return true;
    });
  });
});

webgpuTest("compile() quotes the compiler when a kernel is wrong", async () => {
  const broken = elementwise("mul", "a[id.x] * nothing");
  await withExecutor({ kernels: [broken, KERNELS[1]] }, async (executor) => {
    await assert.rejects(executor.compile(smallGraph(), { source: SOURCE, ...LIMITS }), (error) => {
      assert(error instanceof KernelError);
      assert.match(
        error.message,
        /Cannot compile kernel "test_mul": .*identifier: `nothing`, at line 11: y/,
      );
      return true;
    });
  });
});
