/**
 * Two kernels and a graph for tests of the WebGPU executor that are about the executor, not about
 * any real kernel.
 *
 * @module
 */

import { constant, Graph, GraphBuilder, input } from "../../graph/mod.ts";
import { defineKernel } from "../../kernels/mod.ts";
import type { CompileOptions } from "../../runtime/mod.ts";

/** For graphs that read no checkpoint. */
export const NO_TENSORS = { read: () => Promise.reject(new Error("no tensors here")) };

/** Sizes of the programs of small graphs. */
export const SMALL: CompileOptions = {
  source: NO_TENSORS,
  maxTokens: 40,
  maxSequences: 2,
  pages: 1,
  maxPagesPerSequence: 1,
};

/** A kernel of `add` or `mul` whose shader computes `body`. */
export function elementwise(op: "add" | "mul", body: string) {
  return defineKernel({
    name: `test_${op}`,
    op,
    summary: "elementwise over equal shapes, or with a row",
    refuse: (node) => node.outputs[0].dtype === "f32" ? undefined : "takes f32 only",
    lower(node) {
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
          { buffer: input(node, "a"), access: "read" },
          { buffer: input(node, "b"), access: "read" },
          { buffer: node.outputs[0], access: "read_write" },
          { buffer: { kind: "step" }, access: "uniform" },
        ],
        workgroups: ({ T }) => [Math.ceil(T * columns / 64), 1, 1],
      }];
    },
  });
}

/** `mul` with a row, `add` of equal shapes. */
export const TEST_KERNELS = [
  elementwise("mul", "a[id.x] * b[id.x % COLUMNS]"),
  elementwise("add", "a[id.x] + b[id.x]"),
];

/** y = 2 · x · [1 .. 6], through two views. */
export function smallGraph(): Graph {
  const b = new GraphBuilder(new Graph("small"));
  const x = b.input("x", { dtype: "f32", shape: ["T", 6] });
  const row = b.weight("row", constant(Float32Array.of(1, 2, 3, 4, 5, 6)));
  const scaled = b.op("mul", { a: x, b: row });
  const twice = b.op("add", { a: scaled, b: scaled });
  const flat = b.op("reshape", { x: twice }, { shape: ["T", 2, 3] });
  b.graph.setOutput("y", b.op("reshape", { x: flat }, { shape: ["T", 6] }));
  return b.graph;
}
