import assert from "node:assert/strict";
import {
  Graph,
  GraphBuilder,
  GraphError,
  GREEDY,
  RequestError,
  type Sampling,
} from "../../../graph/mod.ts";
import {
  type CompileOptions,
  openCpuExecutor,
  openWebGpuExecutor,
  type Program,
  type RowDraw,
  type StepRequest,
  type WebGpuExecutor,
} from "../../../runtime/mod.ts";
import { nativeProvider } from "../../../runtime/webgpu/providers/native.ts";
import { WebGpuProgram } from "../../../runtime/webgpu/program.ts";
import { nativeTest, webgpuTest } from "../../support/adapter.ts";
import { countGpuCalls } from "../../support/count_gpu_calls.ts";
import { sharedExecutor } from "../../support/shared_executor.ts";
import { NO_TENSORS } from "../../support/test_kernels.ts";
import { TINY, tinyLanguageModel, type TinyOptions } from "../../support/tiny_language_model.ts";

const OPTIONS: CompileOptions = {
  source: NO_TENSORS,
  maxTokens: 32,
  maxSequences: 3,
  maxRows: 32,
  pages: 12,
  maxPagesPerSequence: 4,
};

/** Pages of three sequences, in an order that mixes them up. */
const BLOCK_TABLE = {
  data: Int32Array.of(7, 2, 9, 4, 0, 11, 1, 5, 3, 10, 6, 8),
  sequences: 3,
  pages: 4,
};

/** A step of tokens of one or several sequences: `[slot, first position, tokens]` each. */
function request(
  runs: readonly (readonly [slot: number, start: number, tokens: readonly number[]])[],
  want: StepRequest["want"],
  repeat = 1,
): StepRequest {
  const ends = runs.map((_, i) =>
    runs.slice(0, i + 1).reduce((n, [, , { length }]) => n + length, 0)
  );
  return {
    tokenIds: Int32Array.from(runs.flatMap(([, , tokens]) => tokens)),
    positions: Int32Array.from(
      runs.flatMap(([, start, tokens]) => tokens.map((_, i) => start + i)),
    ),
    sequenceIds: Int32Array.from(runs.flatMap(([slot, , tokens]) => tokens.map(() => slot))),
    blockTable: BLOCK_TABLE,
    logitsRows: Int32Array.from(ends, (end) => end - 1),
    want,
    repeat,
  };
}

const PROMPTS = [[5, 17, 80, 3, 44], Array.from({ length: 20 }, (_, i) => i * 4)];

/** The prompts of two sequences, then `count` tokens of each; returns the tokens. */
async function decode(
  program: Pick<Program, "markSeen" | "step">,
  sampling: Sampling,
  count: number,
  repeat = 1,
) {
  const want = PROMPTS.map((_, i) => ({ ...sampling, seed: sampling.seed + i }));
  PROMPTS.forEach((prompt, slot) => program.markSeen(slot, Int32Array.from(prompt)));
  const prompts = PROMPTS.map((prompt, slot) => [slot, 0, prompt] as const);
  const first = await program.step(request(prompts, want));
  const made = [...first.tokens ?? []];
  while (made.length < count) {
    const last = made[made.length - 1];
    const runs = PROMPTS.map((prompt, slot) =>
      [slot, prompt.length + made.length - 1, [last[slot]]] as const
    );
    const steps = Math.min(repeat, count - made.length);
    made.push(...(await program.step(request(runs, want, steps))).tokens ?? []);
  }
  return made.map((tokens) => [...tokens]);
}

async function withPrograms(
  body: (webgpu: Program, cpu: Program) => Promise<void>,
  options: TinyOptions = {},
) {
  await runPrograms(sharedExecutor(), options, body);
}

async function runPrograms(
  executor: WebGpuExecutor,
  options: TinyOptions,
  body: (webgpu: Program, cpu: Program) => Promise<void>,
) {
  const cpu = openCpuExecutor();
  const graph = tinyLanguageModel(options);
  const program = await executor.compile(graph, OPTIONS);
  try {
    await body(program, await cpu.compile(graph, OPTIONS));
  } finally {
    program.dispose();
    cpu.dispose();
  }
}

webgpuTest("step() samples the tokens that the CPU samples", async () => {
  const table: Partial<Sampling>[] = [
    {},
    { temperature: 1, seed: 4000000000 },
    { temperature: 1.3, topP: 0.8, seed: 3 },
    { repetitionPenalty: 1.5 },
    { temperature: 0.9, topK: 20, topP: 0.9, minP: 0.02, repetitionPenalty: 1.2, seed: 6 },
  ];
  await withPrograms(async (webgpu, cpu) => {
    const all = [];
    for (const each of table) {
      const sampling = { ...GREEDY, ...each };
      const tokens = await decode(webgpu, sampling, 5);
      assert.deepEqual(tokens, await decode(cpu, sampling, 5), JSON.stringify(each));
      all.push(String(tokens));
    }
    assert.equal(new Set(all).size, table.length, "every way of sampling gives other tokens");
  });
});

webgpuTest("step() repeated on the device gives what single steps give", async () => {
  await withPrograms(async (program) => {
    const sampling = { ...GREEDY, temperature: 1, repetitionPenalty: 1.3, seed: 11 };
    const single = await decode(program, sampling, 9);
    for (const repeat of [3, 8]) {
      assert.deepEqual(await decode(program, sampling, 9, repeat), single, `${repeat} at once`);
    }
  });
});

nativeTest("step() awaited and in parts gives what step() synchronous gives", async () => {
  const results: number[][][] = [];
  const submits: (number | undefined)[] = [];
  const parts = { ...nativeProvider, translatesOnSubmit: true };
  const ways = [
    { readMode: "synchronous" },
    { readMode: "awaited" },
    { readMode: "synchronous", provider: parts },
  ] as const;
  for (const way of ways) {
    const executor = await openWebGpuExecutor({ selfTest: false, ...way });
    await runPrograms(executor, {}, async (program) => {
      const sampling = { ...GREEDY, temperature: 1, seed: 5 };
      const calls = await countGpuCalls(async () => {
        results.push(await decode(program, sampling, 9, 4));
      });
      submits.push(calls.submit);
      if (way.readMode === "awaited") assert.equal(program.preferredRepeat, 8);
    });
    executor.dispose();
  }
  assert.deepEqual(results[1], results[0]);
  assert.deepEqual(results[2], results[0]);
  const [whole = 0, , several = 0] = submits;
  assert.equal(whole, 3, "the prompts, and twice four steps");
  assert.ok(several > 2 * whole, `${several} submits`);
});

webgpuTest(
  "step() draws with details as the CPU does, and leaves the rows beside them alone",
  async () => {
    const only = (...ids: number[]) => {
      const words = new Uint32Array(3);
      for (const id of ids) words[id >>> 5] |= 1 << (id & 31);
      return words;
    };
    await withPrograms(async (webgpu, cpu) => {
      const plain = (await decode(webgpu, GREEDY, 1))[0];
      const prompts = [...PROMPTS, [9, 8]].map((prompt, slot) => [slot, 0, prompt] as const);
      const banned = { ids: Int32Array.of(plain[1]), values: Float32Array.of(-100) };
      const want: RowDraw[] = [
        { ...GREEDY, logprobs: 4 },
        { ...GREEDY, adjust: banned },
        { ...GREEDY, temperature: 1, topP: 0.9, seed: 4, allowed: only(3, 64, 95), logprobs: 20 },
      ];
      const results = [];
      for (const program of [webgpu, cpu]) results.push(await program.step(request(prompts, want)));
      const [got, expected] = results;
      assert.deepEqual(got.tokens, expected.tokens);
      const [first, second, third] = got.tokens?.[0] ?? [];
      assert.equal(first, plain[0]);
      assert.notEqual(second, plain[1]);
      assert.equal(got.logprobs?.[1], undefined);
      const [a, b] = [got.logprobs?.[0], expected.logprobs?.[0]];
      assert.equal(a?.top[0].token, first);
      assert.equal(a?.logprob, a?.top[0].logprob);
      assert.deepEqual(a?.top.map(({ token }) => token), b?.top.map(({ token }) => token));
      assert(Math.abs((a?.logprob ?? NaN) - (b?.logprob ?? NaN)) < 1e-3);
      assert([3, 64, 95].includes(third), `token ${third}`);
      assert.equal(got.logprobs?.[2]?.top.length, 3);
      // The steps after it, which are recorded ahead, are what they were.
      assert.deepEqual(await decode(webgpu, GREEDY, 6), await decode(cpu, GREEDY, 6));
      await assert.rejects(
        webgpu.step({ ...request([[0, 8, [1]]], [{ ...GREEDY, logprobs: 1 }]), repeat: 2 }),
        /one step for draws with details, got 2/,
      );
    });
  },
);

webgpuTest("step() gathers logits itself where the graph does not", async () => {
  await withPrograms(async (program, cpu) => {
    assert.deepEqual(await decode(program, GREEDY, 6), await decode(cpu, GREEDY, 6));
    const { logits } = await program.step(request([[0, 0, [1, 2, 3, 4]]], "logits"));
    assert.equal(logits?.length, TINY.vocab);
    const outputs = await program.run({
      token_ids: Int32Array.of(1, 2, 3, 4),
      positions: Int32Array.of(0, 1, 2, 3),
      sequence_ids: new Int32Array(4),
      block_table: Int32Array.of(0),
    }, { T: 4 });
    assert.deepEqual(Object.keys(outputs), ["logits"]);
    assert.deepEqual(outputs.logits.subarray(3 * TINY.vocab), logits);
  }, { gather: false });
});

nativeTest("step() decodes without creating objects or writing buffers", async () => {
  await withPrograms(async (program) => {
    const tokens = await decode(program, GREEDY, 3);
    const start = tokens.length;
    let last = tokens[start - 1];
    const calls = await countGpuCalls(async () => {
      for (let i = 0; i < 10; i++) {
        const runs = PROMPTS.map(({ length }, slot) =>
          [slot, length + start - 1 + i, [last[slot]]] as const
        );
        const result = await program.step(
          request(runs, PROMPTS.map((_, seed) => ({ ...GREEDY, seed }))),
        );
        last = [...result.tokens?.[0] ?? []];
      }
    });
    assert.deepEqual(calls, { createCommandEncoder: 10, submit: 10 });
  });
});

webgpuTest("step() follows a batch whose sequences change", async () => {
  await withPrograms(async (program, cpu) => {
    const results = [];
    for (const each of [program, cpu]) {
      const made = await decode(each, GREEDY, 4);
      const last = made[3];
      const two = await each.step(
        request([[2, 23, [last[2]]], [0, 8, [last[0]]]], [GREEDY, GREEDY]),
      );
      const mixed = await each.step(
        request([[0, 9, [two.tokens?.[0][1] ?? 0]], [1, 0, [4, 5, 6]]], [GREEDY, GREEDY]),
      );
      results.push([...two.tokens ?? [], ...mixed.tokens ?? []].map((tokens) => [...tokens]));
    }
    assert.deepEqual(results[0], results[1]);
  });
});

webgpuTest("step() goes on decoding after a step with many logits", async () => {
  await withPrograms(async (program) => {
    const made = await decode(program, GREEDY, 5);
    const prompt = request(PROMPTS.map((tokens, slot) => [slot, 0, tokens] as const), [
      GREEDY,
      GREEDY,
    ]);
    const next = (index: number) =>
      request(
        PROMPTS.map(({ length }, slot) => [slot, length + index, [made[index][slot]]] as const),
        [
          GREEDY,
          GREEDY,
        ],
      );
    await program.step(prompt);
    await program.step(next(0));
    await program.step({
      ...prompt,
      want: "logits",
      logitsRows: Int32Array.from({ length: 25 }, (_, i) => i),
    });
    const { tokens } = await program.step(next(1));
    assert.deepEqual([...tokens?.[0] ?? []], made[2]);
  });
});

webgpuTest(
  "step() gives -1 for rows whose logits are no numbers, and the others their token",
  async () => {
    for (const poison of [NaN, Infinity]) {
      await withPrograms(async (webgpu, cpu) => {
        for (const program of [webgpu, cpu]) {
          const { tokens } = await program.step(request([[0, 0, [1, 2]]], [GREEDY]));
          assert.deepEqual([...tokens?.[0] ?? []], [-1]);
        }
      }, { poison });
    }
    await withPrograms(async (webgpu, cpu) => {
      const runs = [[0, 0, [1, 2]], [1, 0, [3, 9]], [2, 0, [4]]] as const;
      const [got, expected] = await Promise.all(
        [webgpu, cpu].map((program) => program.step(request(runs, [GREEDY, GREEDY, GREEDY]))),
      );
      assert.deepEqual(got.tokens, expected.tokens);
      const [first, second, third] = got.tokens?.[0] ?? [];
      assert(first >= 0 && second === -1 && third >= 0, String(got.tokens));
    }, { poisonToken: 9 });
  },
);

webgpuTest("profile() leaves draws, inputs and outputs of the steps around it alone", async () => {
  await withPrograms(async (program) => {
    const sampling = { ...GREEDY, repetitionPenalty: 100 };
    const alone = await decode(program, sampling, 6);
    const timed = request([[2, 0, [1]]], [GREEDY]);
    const profiled = {
      markSeen: program.markSeen.bind(program),
      async step(each: StepRequest) {
        const result = await program.step(each);
        for (let token = 0; token < TINY.vocab; token += 8) {
          await program.profile?.(request([[2, 0, [token]]], [GREEDY]));
        }
        return result;
      },
    };
    assert.deepEqual(await decode(profiled, sampling, 6), alone, "the seen tokens of a row");
    const first = await program.step(timed);
    await decode(program, GREEDY, 2);
    await program.profile?.(timed);
    assert.deepEqual((await program.step(timed)).tokens, first.tokens, "the inputs of the device");
  });
});

webgpuTest("step() checks its request", async () => {
  await withPrograms(async (program) => {
    const rows = Int32Array.of(0, 1, 0, 1);
    const table: [Partial<StepRequest>, RegExp][] = [
      [{ logitsRows: rows, want: [GREEDY, GREEDY, GREEDY, GREEDY] }, /at most 3 rows, .* got 4/],
      [{ positions: Int32Array.of(0) }, /2 positions, got 1/],
      [{ logitsRows: Int32Array.of(2) }, /rows from 0 to 1, got 2/],
      [{ repeat: 2 }, /one token and one row per sequence to repeat/],
      [{ blockTable: { ...BLOCK_TABLE, sequences: 4 } }, /block table of 4 x 4, got 12/],
    ];
    for (const [change, message] of table) {
      await assert.rejects(
        program.step({ ...request([[0, 0, [1, 2]]], [GREEDY]), ...change }),
        (error) => {
          assert(error instanceof RequestError);
          assert.match(error.message, message);
          return true;
        },
      );
    }
  });
});

webgpuTest("step() refuses a graph that is no language model", async () => {
  const b = new GraphBuilder(new Graph("relu"));
  b.graph.setOutput("y", b.op("relu", { x: b.input("x", { dtype: "f32", shape: ["T", 8] }) }));
  const program = await sharedExecutor().compile(b.graph, OPTIONS);
  await assert.rejects(program.step(request([[0, 0, [1]]], [GREEDY])), GraphError);
  program.dispose();
});

webgpuTest(
  "report counts 6 dependent dispatches a layer in decoding, 5 a MoE part in prefill",
  async () => {
    await withPrograms((program) => {
      assert(program instanceof WebGpuProgram);
      const { dispatches, lists, weightBytesPerToken, choices } = program.lists.report;
      const { decode } = dispatches;
      assert(decode.perLayer.dependent <= 6, JSON.stringify(decode));
      assert(decode.outside <= 3, JSON.stringify(decode));
      for (const list of lists) assert(list.perMoe.dependent <= 5, JSON.stringify(list));
      assert.equal(weightBytesPerToken, expectedWeightBytes());
      const backends = choices.filter(({ op }) => op === "fused_moe");
      assert(
        backends.some(({ text }) => /takes (trtllm|triton)/.test(text)),
        JSON.stringify(choices),
      );
      assert.deepEqual(backends[0].scopes, ["model.layers.0.mlp"]);
      return Promise.resolve();
    });
  },
);

/** What one token of the model must read, by hand; two of four experts. */
function expectedWeightBytes(): number {
  const { vocab, hidden, heads, kvHeads, headDim, experts } = TINY;
  const attention = (heads + 2 * kvHeads) * headDim * hidden + hidden * heads * headDim;
  const moe = experts * hidden + 2 * 3 * 32 * hidden;
  return 2 * (attention + moe) + 4 * vocab * hidden;
}
