import assert from "node:assert/strict";
import {
  constant,
  DeviceError,
  Graph,
  GraphBuilder,
  GREEDY,
  KernelError,
  RequestError,
  tensor,
} from "../../../graph/mod.ts";
import type { Program, StepRequest } from "../../../runtime/executor.ts";
import { openWebGpuExecutor } from "../../../runtime/webgpu/executor.ts";
import { nativeProvider } from "../../../runtime/webgpu/providers/native.ts";
import { nativeTest, webgpuTest, withExecutor } from "../../support/adapter.ts";
import { countGpuCalls } from "../../support/count_gpu_calls.ts";
import {
  elementwise,
  NO_TENSORS,
  SMALL,
  smallGraph,
  TEST_KERNELS,
} from "../../support/test_kernels.ts";
import { tinyLanguageModel } from "../../support/tiny_language_model.ts";

webgpuTest("compile() runs a small graph for every token range", async () => {
  await withExecutor({ kernels: TEST_KERNELS }, async (executor) => {
    const program = await executor.compile(smallGraph(), SMALL);
    for (const T of [1, 7, 8, 9, 40, 3]) {
      const x = Float32Array.from({ length: T * 6 }, (_, i) => i - 3);
      const { y } = await program.run({ x }, { T });
      assert.deepEqual([...y], [...x].map((value, i) => 2 * value * (1 + i % 6)));
    }
  });
});

webgpuTest("compile() names every refusal and the transform that helps", async () => {
  await withExecutor({ kernels: TEST_KERNELS }, async (executor) => {
    const b = new GraphBuilder(new Graph("attention"));
    const positions = b.input("positions", { dtype: "i32", shape: ["T"] });
    b.graph.setOutput("y", b.within("layer", () => b.op("attention_mask", { positions })));
    await assert.rejects(executor.compile(b.graph, SMALL), (error) => {
      assert(error instanceof KernelError);
      assert.match(error.message, /op "attention_mask" of "layer".*expected a kernel, got none/);
      assert.match(String(error.hint), /insert_cached_attention.*--executor cpu/);
      return true;
    });
  });
});

webgpuTest("compile() quotes the compiler when a kernel is wrong", async () => {
  const broken = elementwise("mul", "a[id.x] * nothing");
  await withExecutor({ kernels: [broken, TEST_KERNELS[1]] }, async (executor) => {
    await assert.rejects(executor.compile(smallGraph(), SMALL), (error) => {
      assert(error instanceof KernelError);
      assert.match(
        error.message,
        /Cannot compile kernel "test_mul": .*[`']nothing[`'].*, at line 11: y/,
      );
      return true;
    });
  });
});

nativeTest("run() creates no GPU object once a list is ready", async () => {
  await withExecutor({ kernels: TEST_KERNELS }, async (executor) => {
    const program = await executor.compile(smallGraph(), SMALL);
    const x = new Float32Array(6);
    await program.run({ x }, { T: 1 });
    const before = { ...executor.device.created };
    const calls = await countGpuCalls(async () => {
      for (let i = 0; i < 20; i++) await program.run({ x }, { T: 1 });
    });
    assert.deepEqual(executor.device.created, before);
    assert.deepEqual(calls, { createCommandEncoder: 20, submit: 20, writeBuffer: 40 });
  });
});

nativeTest("run() gives the same synchronously and awaited", async () => {
  const results: number[][] = [];
  for (const readMode of ["synchronous", "awaited"] as const) {
    await withExecutor({ kernels: TEST_KERNELS, readMode }, async (executor) => {
      const program = await executor.compile(smallGraph(), SMALL);
      const rows: number[] = [];
      for (let T = 1; T < 12; T++) {
        const x = Float32Array.from({ length: T * 6 }, (_, i) => i + T);
        rows.push(...(await program.run({ x }, { T })).y);
      }
      assert.equal(executor.readback.mode, readMode);
      results.push(rows);
    });
  }
  assert.deepEqual(results[0], results[1]);
});

webgpuTest("run() refuses steps that the program was not compiled for", async () => {
  await withExecutor({ kernels: TEST_KERNELS }, async (executor) => {
    const program = await executor.compile(smallGraph(), SMALL);
    await assert.rejects(program.run({ x: new Float32Array(246) }, { T: 41 }), (error) => {
      assert(error instanceof RequestError);
      assert.match(error.message, /expected T from 1 to 40, got 41/);
      return true;
    });
    await assert.rejects(
      program.run({ x: new Float32Array(5) }, { T: 1 }),
      /expected input "x" of 24 bytes, got 20/,
    );
  });
});

webgpuTest("compile() names the weight that exceeds a buffer or a binding", async () => {
  const table: [Record<string, number>, typeof DeviceError | typeof KernelError, RegExp][] = [
    [
      { maxBufferSize: 2 ** 20, maxStorageBufferBindingSize: 2 ** 20 },
      DeviceError,
      /Cannot allocate weight "big": expected at most 1048576 bytes a buffer, got 2400000/,
    ],
    [
      { maxStorageBufferBindingSize: 2 ** 20 },
      KernelError,
      /Cannot bind weight "big" to kernel "test_mul": expected at most 1048576 bytes, got 2400000/,
    ],
  ];
  for (const [limits, kind, message] of table) {
    const range = "maxBufferSize" in limits;
    await withExecutor(
      { kernels: [rangedMul(range), TEST_KERNELS[1]], limits },
      async (executor) => {
        const b = new GraphBuilder(new Graph("big"));
        const x = b.input("x", { dtype: "f32", shape: ["T", 600000] });
        const big = b.weight("big", constant(new Float32Array(600000)));
        b.graph.setOutput("y", b.op("mul", { a: big, b: x }));
        await assert.rejects(executor.compile(b.graph, { ...SMALL, maxTokens: 1 }), (error) => {
          assert(error instanceof kind, String(error));
          assert.match(error.message, message);
          assert(error.hint);
          return true;
        });
        assert.equal(executor.device.allocatedBytes, 0);
      },
    );
  }
});

webgpuTest("compile() uploads equal weights once and reports its progress", async () => {
  const reads: string[] = [];
  const source = {
    read(name: string, offset: number, length: number) {
      reads.push(`${name} ${offset} ${length}`);
      return Promise.resolve(new Uint8Array(length));
    },
  };
  await withExecutor({ kernels: TEST_KERNELS }, async (executor) => {
    const b = new GraphBuilder(new Graph("tied"));
    const x = b.input("x", { dtype: "f32", shape: ["T", 6] });
    const first = b.op("mul", { a: x, b: b.weight("one", tensor("row", "f32", [6])) });
    b.graph.setOutput(
      "y",
      b.op("mul", { a: first, b: b.weight("two", tensor("row", "f32", [6])) }),
    );
    const progress: number[] = [];
    const program = await executor.compile(b.graph, {
      ...SMALL,
      source,
      onProgress: ({ bytes, totalBytes }) => progress.push(bytes / totalBytes),
    });
    assert.deepEqual(reads, ["row 0 24"]);
    assert.deepEqual(progress, [1]);
    const { bytes } = program.report as { bytes: { weights: number } };
    assert.equal(bytes.weights, 24);
  });
});

webgpuTest("compile() stops at an abort and frees what it had allocated", async () => {
  const controller = new AbortController();
  const source = {
    read(_name: string, _offset: number, length: number) {
      controller.abort();
      return Promise.resolve(new Uint8Array(length));
    },
  };
  await withExecutor({ kernels: TEST_KERNELS }, async (executor) => {
    const b = new GraphBuilder(new Graph("aborted"));
    const x = b.input("x", { dtype: "f32", shape: ["T", 6] });
    b.graph.setOutput("y", b.op("mul", { a: x, b: b.weight("w", tensor("row", "f32", [6])) }));
    await assert.rejects(
      executor.compile(b.graph, { ...SMALL, source, signal: controller.signal }),
      /Cannot load weight "w": expected 24 bytes, got a request to stop after 0/,
    );
    assert.equal(executor.device.allocatedBytes, 0);
  });
});

webgpuTest("dispose() gives every buffer back", async () => {
  await withExecutor({ kernels: TEST_KERNELS }, async (executor) => {
    const before = executor.device.allocatedBytes;
    const program = await executor.compile(smallGraph(), SMALL);
    await program.run({ x: new Float32Array(6) }, { T: 1 });
    assert(executor.device.allocatedBytes > before);
    program.dispose();
    program.dispose();
    assert.equal(executor.device.allocatedBytes, before);
  });
});

webgpuTest("check() throws what the device reported, naming the device", async () => {
  await withExecutor({ kernels: TEST_KERNELS }, async (executor) => {
    const { gpu } = executor.device;
    gpu.createBuffer({ size: 16, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.STORAGE });
    await new Promise((resolve) => setTimeout(resolve, 5));
    assert.throws(() => executor.device.check(), (error) => {
      assert(error instanceof DeviceError);
      assert.equal(error.code, "device/error");
      assert.match(error.message, /Cannot go on with device/);
      return true;
    });
  });
});

webgpuTest("run() on a lost device says that it was lost", async () => {
  await withExecutor({ kernels: TEST_KERNELS }, async (executor) => {
    const program = await executor.compile(smallGraph(), SMALL);
    executor.device.gpu.destroy();
    for (let i = 0; i < 2; i++) {
      await assert.rejects(program.run({ x: new Float32Array(6) }, { T: 1 }), (error) => {
        assert(error instanceof DeviceError);
        assert.equal(error.code, "device/lost");
        assert.match(String(error.hint), /deploy again/);
        return true;
      });
    }
  });
});

nativeTest("compile() names the weight for which memory did not suffice", async () => {
  const original = GPUDevice.prototype.popErrorScope;
  await withExecutor({ kernels: TEST_KERNELS }, async (executor) => {
    GPUDevice.prototype.popErrorScope = () =>
      Promise.resolve(new GPUOutOfMemoryError("not enough memory left"));
    try {
      await assert.rejects(executor.compile(smallGraph(), SMALL), (error) => {
        assert(error instanceof DeviceError);
        assert.equal(error.code, "device/out-of-memory");
        assert.match(error.message, /Cannot allocate weight "row": expected room for 32 bytes/);
        assert.match(String(error.hint), /max_seq_len|smaller or quantized/);
        return true;
      });
    } finally {
      GPUDevice.prototype.popErrorScope = original;
    }
    assert.equal(executor.device.allocatedBytes, 0);
  });
});

nativeTest("openWebGpuExecutor() that fails closes every device that it opened", async () => {
  const { destroy, popErrorScope } = GPUDevice.prototype;
  let closed = 0;
  GPUDevice.prototype.destroy = function () {
    closed++;
    destroy.call(this);
  };
  try {
    // Asked for with each list of features, and by the error at the end.
    let asked = 0;
    const describe = () => {
      if (++asked <= 2) throw new Error("no name");
      return "a GPU";
    };
    await assert.rejects(openWebGpuExecutor({ provider: { ...nativeProvider, describe } }), {
      code: "device/refused",
    });
    assert.equal(closed, 2);
    GPUDevice.prototype.popErrorScope = () => Promise.resolve(new GPUOutOfMemoryError("none"));
    await assert.rejects(openWebGpuExecutor(), { code: "device/out-of-memory" });
    assert.equal(closed, 3);
  } finally {
    Object.assign(GPUDevice.prototype, { destroy, popErrorScope });
  }
});

nativeTest("allocate() that throws names what did not fit, and hides no later error", async () => {
  const original = GPUDevice.prototype.createBuffer;
  await withExecutor({ kernels: TEST_KERNELS }, async ({ device }) => {
    GPUDevice.prototype.createBuffer = () => {
      throw new RangeError("mapped memory");
    };
    try {
      await assert.rejects(device.allocate("staging", 64), (error) => {
        assert(error instanceof DeviceError);
        assert.equal(error.code, "device/out-of-memory");
        assert.match(error.message, /Cannot allocate staging: expected room for 64 bytes/);
        return true;
      });
    } finally {
      GPUDevice.prototype.createBuffer = original;
    }
    device.gpu.createBuffer({ size: 16, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.STORAGE });
    await new Promise((resolve) => setTimeout(resolve, 5));
    assert.throws(() => device.check(), { code: "device/error" });
  });
});

/** `mul` whose weight is bound in parts, or whole. */
function rangedMul(parts: boolean) {
  const whole = elementwise("mul", "a[id.x] * b[id.x % COLUMNS]");
  if (!parts) return whole;
  return {
    ...whole,
    lower(...call: Parameters<typeof whole.lower>) {
      return whole.lower(...call).map((dispatch) => ({
        ...dispatch,
        bindings: dispatch.bindings.map((each, i) =>
          i < 3 ? { ...each, range: { offset: 0, bytes: 1024 } } : each
        ),
      }));
    },
  };
}

/** Sizes for the tiny language model. */
const TINY_SIZES = {
  ...{ source: NO_TENSORS, maxTokens: 64, maxSequences: 4, pages: 8, maxPagesPerSequence: 4 },
};

webgpuTest(
  "a step whose results found no memory leaves the program and its memory whole",
  async () => {
    await withExecutor({ selfTest: false }, async (executor) => {
      const { device } = executor;
      const before = device.allocatedBytes;
      const program = await executor.compile(tinyLanguageModel(), TINY_SIZES);
      const logits = (tokens: number) =>
        program.step({
          tokenIds: new Int32Array(tokens),
          positions: Int32Array.from({ length: tokens }, (_, i) => i),
          sequenceIds: new Int32Array(tokens),
          blockTable: { data: Int32Array.of(1, 2, 3, 4), sequences: 1, pages: 4 },
          logitsRows: Int32Array.from({ length: tokens }, (_, i) => i),
          want: "logits",
          repeat: 1,
        });
      const { logits: first } = await logits(1);
      const allocate = device.allocate;
      // First for what the list of such steps needs, then for their results alone.
      for (const prepare of [async () => {}, async () => await program.warmUp?.()]) {
        await prepare();
        device.allocate = () =>
          Promise.reject(
            new DeviceError(
              "device/out-of-memory",
              "Cannot allocate it: expected memory, got none",
            ),
          );
        await assert.rejects(logits(8), { code: "device/out-of-memory" });
        device.allocate = allocate;
        assert.deepEqual((await logits(1)).logits, first);
      }
      program.dispose();
      assert.equal(device.allocatedBytes, before);
    });
  },
);

webgpuTest("dispose() in the middle of work ends it and leaves the device to others", async () => {
  await withExecutor({ selfTest: false }, async (executor) => {
    const other = await executor.compile(smallGraph(), SMALL);
    const request: StepRequest = {
      tokenIds: new Int32Array(1),
      positions: new Int32Array(1),
      sequenceIds: new Int32Array(1),
      blockTable: { data: Int32Array.of(1, 2, 3, 4), sequences: 1, pages: 4 },
      logitsRows: new Int32Array(1),
      want: "logits",
      repeat: 1,
    };
    const works: ((program: Program) => Promise<unknown> | undefined)[] = [
      (program) => program.recentOutputs(["logits"]),
      (program) => program.step(request),
      (program) => program.warmUp?.(),
      (program) => program.profile?.({ ...request, want: [GREEDY] }),
    ];
    for (const work of works) {
      for (const turns of [0, 1, 3, 10, 20]) {
        const program = await executor.compile(tinyLanguageModel(), TINY_SIZES);
        await program.step(request);
        const ended = Promise.resolve(work(program)).then(() => undefined, (error) => error);
        for (let i = 0; i < turns; i++) await Promise.resolve();
        program.dispose();
        const error = await ended;
        assert(error === undefined || error.code === "device/closed", String(error));
      }
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
    await other.run({ x: new Float32Array(6) }, { T: 1 });
  });
});

nativeTest("compile() makes steps of every size ready when asked to", async () => {
  await withExecutor({}, async (executor) => {
    for (const compileAll of [true, false]) {
      const program = await executor.compile(tinyLanguageModel(), { compileAll, ...TINY_SIZES });
      const calls = await countGpuCalls(async () => {
        for (const tokens of [1, 5, 30, 60]) {
          await program.step({
            tokenIds: new Int32Array(tokens),
            positions: Int32Array.from({ length: tokens }, (_, i) => i),
            sequenceIds: new Int32Array(tokens),
            blockTable: { data: Int32Array.of(1, 2, 3, 4), sequences: 1, pages: 4 },
            logitsRows: Int32Array.of(tokens - 1),
            want: [GREEDY],
            repeat: 1,
          });
        }
      });
      // The first program's pipelines are there for the second, but not its bind groups.
      assert.equal(calls.createBindGroup === undefined, compileAll, JSON.stringify(calls));
      if (compileAll) assert.equal(calls.createComputePipeline, undefined);
    }
  });
});

webgpuTest(
  "compile() that is aborted stops loading and compiling, and frees all memory",
  async () => {
    await withExecutor({}, async (executor) => {
      const before = executor.device.allocatedBytes;
      const stop = new AbortController();
      const compiling = executor.compile(tinyLanguageModel(), {
        ...TINY_SIZES,
        compileAll: true,
        signal: stop.signal,
        onProgress: () => stop.abort(),
      });
      await assert.rejects(compiling, { code: "request/aborted" });
      assert.equal(executor.device.allocatedBytes, before);
    });
  },
);
