import assert from "node:assert/strict";
import { Graph, GraphBuilder, type HostTensor, MixlineError, tensor } from "../../../graph/mod.ts";
import { openCpuExecutor } from "../../../runtime/cpu/executor.ts";
import { lastUses } from "../../../runtime/cpu/interpreter.ts";
import { f32, i32, plainOptions, random } from "../../support/host_tensors.ts";

const X = { dtype: "f32", shape: ["T", 4] } as const;

Deno.test("lastUses() frees a value after its last reader, unread results at once, outputs never", () => {
  const b = new GraphBuilder(new Graph("lives"));
  const x = b.input("x", X);
  const first = b.op("silu", { x });
  const [values, ids] = b.node("topk", { x: first }, { k: 1 }).outputs;
  const sum = b.op("add", { a: first, b: b.scalar(1) });
  b.graph.setOutput("values", values);
  b.graph.setOutput("sum", sum);
  assert.deepEqual(lastUses(b.graph), [[x.id], [ids.id], [first.id]]);
});

Deno.test("run() lets a data-dependent symbol have another size in every run, zero included", async () => {
  const b = new GraphBuilder(new Graph("where"));
  const x = b.input("x", { dtype: "f32", shape: ["T", 2] });
  const mask = b.op("cast", { x: b.op("relu", { x }) }, { dtype: "i32" });
  const [rows, columns] = b.node("where", { mask }, { symbol: "hits" }).outputs;
  const picked = b.op("index", { x, rows, columns });
  b.graph.setOutput("y", b.op("add", { a: picked, b: picked }));
  const program = await openCpuExecutor().compile(b.graph, plainOptions(new Map()));
  const y = async (
    ...values: number[]
  ) => [...(await program.run({ x: Float32Array.from(values) }, { T: values.length / 2 })).y];
  assert.deepEqual(await y(1, -1, -1, 3), [2, 6]);
  assert.deepEqual(await y(-1, -1), []);
  assert.deepEqual(await y(1, 2, 3, 4), [2, 4, 6, 8]);
});

Deno.test("run() names the node and its place when a kernel fails", async () => {
  const b = new GraphBuilder(new Graph("fails"));
  const x = b.input("x", X);
  const rows = b.input("rows", { dtype: "i32", shape: ["R"] });
  const y = b.within("model.layers.3", () => b.op("gather_rows", { x, rows }));
  b.graph.setOutput("y", y);
  const program = await openCpuExecutor().compile(b.graph, plainOptions(new Map()));
  const run = program.run({ x: new Float32Array(8), rows: Int32Array.of(2) }, { T: 2, R: 1 });
  await assert.rejects(run, (error) => {
    assert.ok(error instanceof MixlineError);
    assert.deepEqual([error.code, error.exitCode], ["kernel/index", 4]);
    assert.deepEqual(error.trail, ['node "%2" (gather_rows) in "model.layers.3"']);
    return true;
  });
});

/** Some hundred milliseconds of work in many nodes. */
function longGraph(): Graph {
  const b = new GraphBuilder(new Graph("long"));
  let x = b.input("x", { dtype: "f32", shape: ["T", 256] });
  for (let i = 0; i < 700; i++) x = b.op("silu", { x });
  b.graph.setOutput("y", x);
  return b.graph;
}

const LONG_INPUT = { x: new Float32Array(256 * 150) };

Deno.test("run() gives timers their turns while it computes", async () => {
  const program = await openCpuExecutor().compile(longGraph(), plainOptions(new Map()));
  let turns = 0;
  const timer = setInterval(() => turns++, 1);
  await program.run(LONG_INPUT, { T: 150 });
  clearInterval(timer);
  assert.ok(turns >= 2, `${turns} turns`);
});

Deno.test("dispose() stops a run before its next node and refuses further ones", async () => {
  const executor = openCpuExecutor();
  const program = await executor.compile(longGraph(), plainOptions(new Map()));
  const run = () => program.run(LONG_INPUT, { T: 150 });
  const running = run();
  setTimeout(() => executor.dispose(), 0);
  for (const attempt of [running, running.catch(run)]) {
    await assert.rejects(attempt, (error) => {
      assert.ok(error instanceof MixlineError);
      assert.equal(error.code, "device/closed");
      return true;
    });
  }
});

/** A graph that adds two weights, which are the same tensor where `tied`. */
function twoWeights(tied: boolean): { graph: Graph; tensors: Map<string, HostTensor> } {
  const b = new GraphBuilder(new Graph("weights"));
  const names = tied ? ["a", "a"] : ["a", "b"];
  const [a, c] = names.map((name) => b.weight(name, tensor(name, "f32", [1024])));
  b.graph.setOutput("y", b.op("add", { a, b: c }));
  return { graph: b.graph, tensors: new Map(names.map((name, i) => [name, random([1024], i)])) };
}

Deno.test("compile() reads tied weights once and reports its progress to the last byte", async () => {
  for (const tied of [true, false]) {
    const { graph, tensors } = twoWeights(tied);
    const seen: number[] = [];
    const expected = tied ? 4096 : 8192;
    const program = await openCpuExecutor().compile(graph, {
      ...plainOptions(tensors),
      onProgress({ bytes, totalBytes }) {
        assert.equal(totalBytes, expected);
        seen.push(bytes);
      },
    });
    assert.deepEqual(seen, seen.toSorted((p, q) => p - q));
    assert.equal(seen.at(-1), expected);
    assert.deepEqual(program.report.bytes, { weights: expected, caches: 0, total: expected });
  }
});

Deno.test("compile() stops between weights when it is aborted", async () => {
  const { graph, tensors } = twoWeights(false);
  const controller = new AbortController();
  const compile = openCpuExecutor().compile(graph, {
    ...plainOptions(tensors),
    signal: controller.signal,
    onProgress: ({ bytes }) => bytes === 4096 && controller.abort(),
  });
  await assert.rejects(compile, (error) => {
    assert.ok(error instanceof MixlineError);
    assert.equal(error.code, "request/aborted");
    assert.match(error.message, /"b": expected 8192 bytes, got a request to stop after 4096/);
    return true;
  });
});

Deno.test("run() refuses inputs that are missing, of another type or of another size", async () => {
  const b = new GraphBuilder(new Graph("inputs"));
  const ids = b.input("ids", { dtype: "i32", shape: ["T"] });
  b.graph.setOutput("y", b.op("embedding", { ids, w: b.weight("w", tensor("w", "f32", [2, 2])) }));
  const options = plainOptions(new Map([["w", f32([2, 2], 1)]]));
  const program = await openCpuExecutor().compile(b.graph, options);
  const cases = [
    [{}, { T: 1 }, /expected input "ids" as Int32Array of 1 \(i32\[1\]\), got none/],
    [{ ids: new Float32Array(1) }, { T: 1 }, /got Float32Array of 1/],
    [{ ids: new Int32Array(3) }, { T: 2 }, /as Int32Array of 2 .* got Int32Array of 3/],
    [{ ids: new Int32Array(3) }, {}, /with a size for T, got none/],
  ] as const;
  for (const [inputs, bindings, message] of cases) {
    await assert.rejects(program.run(inputs, bindings), (error) => {
      assert.ok(error instanceof MixlineError);
      assert.equal(error.code, "graph/input-size");
      assert.match(error.message, message);
      return true;
    });
  }
  const { y } = await program.run({ ids: Int32Array.from(i32([2], [0, 1]).data as Int32Array) }, {
    T: 2,
  });
  assert.deepEqual([...y], [1, 1, 1, 1]);
});
