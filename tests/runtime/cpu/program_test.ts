import assert from "node:assert/strict";
import { constant, Graph, GraphBuilder, MixlineError, type Sampling } from "../../../graph/mod.ts";
import { openCpuExecutor } from "../../../runtime/cpu/executor.ts";
import type { Program, StepRequest } from "../../../runtime/executor.ts";
import { plainOptions } from "../../support/host_tensors.ts";

const VOCAB = 5;
const GREEDY: Sampling = {
  ...{ temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 0 },
};

/** Logits of the token after each token: its successor is likeliest, then the one after that. */
const SUCCESSORS = Float32Array.from({ length: VOCAB * VOCAB }, (_, at) => {
  const [token, next] = [Math.floor(at / VOCAB), at % VOCAB];
  return [0, 3, 2, 1, 0][(next - token + VOCAB) % VOCAB];
});

/** A language model that looks at one token; its cache is there and unused. */
async function successorProgram({ gather = false, cache = true } = {}): Promise<Program> {
  const b = new GraphBuilder(new Graph("successor"));
  const ids = b.input("token_ids", { dtype: "i32", shape: ["T"] });
  const table = b.weight("table", constant(SUCCESSORS, [VOCAB, VOCAB]));
  const logits = b.op("embedding", { ids, w: table });
  const rows = gather && b.input("logits_rows", { dtype: "i32", shape: ["R"] });
  b.graph.setOutput("logits", rows ? b.op("gather_rows", { x: logits, rows }) : logits);
  if (cache) b.graph.addCache({ name: "kv", kvHeads: 1, headDim: 1, dtype: "f32", pageSize: 4 });
  return await openCpuExecutor().compile(b.graph, {
    ...plainOptions(new Map()),
    maxTokens: 8,
    pages: 2,
  });
}

/** Tokens that end one sequence each. */
function decode(tokens: number[], changes: Partial<StepRequest> = {}): StepRequest {
  return {
    tokenIds: Int32Array.from(tokens),
    positions: new Int32Array(tokens.length).fill(6),
    sequenceIds: Int32Array.from(tokens.keys()),
    blockTable: { data: new Int32Array(tokens.length), sequences: tokens.length, pages: 1 },
    logitsRows: Int32Array.from(tokens.keys()),
    want: tokens.map(() => GREEDY),
    repeat: 1,
    ...changes,
  };
}

async function sampled(program: Program, request: StepRequest): Promise<number[][]> {
  return ((await program.step(request)).tokens ?? []).map((round) => [...round]);
}

Deno.test("step() gives the logits of the wanted rows, gathered by the graph or afterwards", async () => {
  for (const gather of [false, true]) {
    const program = await successorProgram({ gather });
    const request = decode([4, 0, 2], { logitsRows: Int32Array.of(2, 0), want: "logits" });
    const { logits = [], tokens } = await program.step(request);
    assert.deepEqual([...logits], [...SUCCESSORS.slice(10, 15), ...SUCCESSORS.slice(20)]);
    assert.equal(tokens, undefined);
  }
});

Deno.test("step() with repeat feeds each sequence its own samples", async () => {
  const program = await successorProgram();
  assert.deepEqual(await sampled(program, decode([0, 3], { repeat: 3 })), [[1, 4], [2, 0], [3, 1]]);
  // Rows in another order than the tokens: samples go back to the token their row names.
  const swapped = decode([0, 3], { repeat: 2, logitsRows: Int32Array.of(1, 0) });
  assert.deepEqual(await sampled(program, swapped), [[4, 1], [0, 2]]);
});

Deno.test("step() with repeat draws what single steps draw", async () => {
  const program = await successorProgram();
  const want = [{ ...GREEDY, temperature: 2, seed: 9 }];
  const together = await sampled(program, decode([0], { repeat: 6, want }));
  const alone: number[][] = [];
  for (let i = 0; i < 6; i++) {
    const token = alone.at(-1)?.[0] ?? 0;
    alone.push(
      ...await sampled(program, decode([token], { want, positions: Int32Array.of(6 + i) })),
    );
  }
  assert.deepEqual(together, alone);
  assert.ok(new Set(together.flat()).size > 1);
});

Deno.test("step() penalizes the tokens that markSeen() set and the ones it sampled, each slot its own", async () => {
  const program = await successorProgram();
  const want = [{ ...GREEDY, repetitionPenalty: 2 }, { ...GREEDY, repetitionPenalty: 2 }];
  program.markSeen(1, Int32Array.of(1));
  // Slot 0 takes 1 (3 against 2); for slot 1 the seen token 1 counts 1.5, so 2 wins.
  assert.deepEqual(await sampled(program, decode([0, 0], { want })), [[1, 2]]);
  // Both were sampled once now: slot 0 sees 1, slot 1 sees 1 and 2 (1 again beats 3 with 1.5 to 1).
  assert.deepEqual(await sampled(program, decode([0, 0], { want })), [[2, 1]]);
  program.markSeen(0, new Int32Array(0));
  assert.deepEqual(await sampled(program, decode([0], { want: [want[0]] })), [[1]]);
});

Deno.test("step() refuses requests that do not fit together", async () => {
  const program = await successorProgram();
  const cases: [Partial<StepRequest>, RegExp][] = [
    [{ tokenIds: new Int32Array(0) }, /expected 1 to 8 tokens, got 0/],
    [{ tokenIds: new Int32Array(9) }, /expected 1 to 8 tokens, got 9/],
    [{ positions: new Int32Array(3) }, /expected 2 positions, got 3/],
    [{ sequenceIds: new Int32Array(1) }, /expected 2 sequence ids, got 1/],
    [{ logitsRows: Int32Array.of(0, 2) }, /expected rows from 0 to 1, got 2/],
    [{ want: [GREEDY] }, /expected sampling for 2 rows, got 1/],
    [
      { blockTable: { data: new Int32Array(3), sequences: 2, pages: 1 } },
      /block table of 2 x 1, got 3/,
    ],
    [{ repeat: 0 }, /at least one repetition, with sampling, got 0/],
    [{ repeat: 2, want: "logits" }, /at least one repetition, with sampling, got 2/],
    [
      { repeat: 2, sequenceIds: Int32Array.of(0, 0) },
      /one token and one row per sequence to repeat/,
    ],
  ];
  for (const [changes, message] of cases) {
    await assert.rejects(program.step(decode([0, 1], changes)), (error) => {
      assert.ok(error instanceof MixlineError);
      assert.equal(error.code, "request/step-size");
      assert.match(error.message, message);
      return true;
    });
  }
});

Deno.test("step() of a graph without cache takes whole sequences only", async () => {
  const program = await successorProgram({ cache: false });
  const whole = decode([3, 1], {
    positions: Int32Array.of(0, 1),
    sequenceIds: Int32Array.of(0, 0),
    logitsRows: Int32Array.of(1),
    want: [GREEDY],
  });
  assert.deepEqual(await sampled(program, whole), [[2]]);
  for (
    const changes of [{ positions: Int32Array.of(4, 5) }, { sequenceIds: Int32Array.of(0, 1) }]
  ) {
    await assert.rejects(program.step({ ...whole, ...changes }), (error) => {
      assert.ok(error instanceof MixlineError);
      assert.equal(error.code, "request/no-cache");
      assert.match(error.hint ?? "", /insert_cached_attention/);
      return true;
    });
  }
});

Deno.test("compile() refuses attention whose cache is missing or of other sizes", async () => {
  const compile = async (cache: { headDim: number; dtype: "f32" | "f8_e4m3" } | undefined) => {
    const b = new GraphBuilder(new Graph("caches"));
    const input = (name: string, shape: (string | number)[]) =>
      b.input(name, { dtype: "i32", shape });
    const out = b.op("cached_attention", {
      qkv: b.input("qkv", { dtype: "f32", shape: ["T", 6] }),
      positions: input("positions", ["T"]),
      sequence_ids: input("sequence_ids", ["T"]),
      block_table: input("block_table", ["S", "P"]),
    }, { heads: 1, kvHeads: 1, headDim: 2, cache: "kv", scale: 1 });
    b.graph.setOutput("out", out);
    if (cache) b.graph.addCache({ name: "kv", kvHeads: 1, pageSize: 4, ...cache });
    return await openCpuExecutor().compile(b.graph, { ...plainOptions(new Map()), pages: 2 });
  };
  const program = await compile({ headDim: 2, dtype: "f32" });
  assert.deepEqual(program.report.bytes, { weights: 0, caches: 2 * 2 * 4 * 2 * 4, total: 128 });
  const fp8 = await compile({ headDim: 2, dtype: "f8_e4m3" });
  assert.deepEqual(fp8.report.bytes, { weights: 0, caches: 2 * 2 * 4 * 2, total: 32 });
  for (
    const [cache, code, message] of [
      [undefined, "graph/missing-cache", /expected cache "kv" with 1 heads of 2, got none/],
      [{ headDim: 3, dtype: "f32" }, "graph/missing-cache", /got 1 heads of 3/],
    ] as const
  ) {
    await assert.rejects(compile(cache), (error) => {
      assert.ok(error instanceof MixlineError);
      assert.equal(error.code, code);
      assert.match(error.message, message);
      return true;
    });
  }
});

Deno.test("outputs() and recentOutputs() leave out names that there are not, as on a GPU", async () => {
  const program = await successorProgram();
  const request = decode([4, 0, 2], { want: "logits" });
  assert.deepEqual(Object.keys(await program.outputs(request, ["logits", "none"])), ["logits"]);
  assert.deepEqual(await program.recentOutputs(["none"]), {});
});

Deno.test("description says that the CPU runs, and why", () => {
  assert.equal(
    openCpuExecutor({ reason: "no WebGPU adapter" }).description,
    "CPU, one thread, f32 (no WebGPU adapter)",
  );
});
