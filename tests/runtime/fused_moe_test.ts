import assert from "node:assert/strict";
import { ConfigError, KernelError } from "../../graph/mod.ts";
import { type Elements, fusedMoe, type FusedMoeOptions, openExecutor } from "../../runtime/mod.ts";
import { webgpuTest, withExecutor } from "../support/adapter.ts";
import { collectGarbage } from "../support/collect.ts";
import { type MoeCase, readMoeCases } from "../support/moe_cases.ts";
import { relativeError, TOLERANCES } from "../support/tolerances.ts";

const cases = await readMoeCases();

/** A golden layer with weights in the given type, as the function takes it. */
function optionsOf(given: MoeCase, dtype: "f32" | "f16" = "f32"): FusedMoeOptions {
  const { M: tokens, E: experts, top_k: topK, hidden, intermediate } = given.facts;
  const weight = (name: string) => dtype === "f16" ? halves(given, name) : singles(given, name);
  const { w1, w2 } = { w1: weight("w1"), w2: weight("w2") };
  const [x, routingWeights] = [singles(given, "hidden_states"), singles(given, "routing_weights")];
  assert.ok(w1 && w2 && x && routingWeights);
  const [w3, b1, b2, b3] = [weight("w3"), ...["b1", "b2", "b3"].map((b) => singles(given, b))];
  return {
    ...{ tokens, hidden, intermediate, experts, topK, x, routingWeights, w1, w2 },
    selectedExperts: Int32Array.from(
      given.tensor("selected_experts")?.data as BigInt64Array,
      Number,
    ),
    ...given.attrs,
    ...(w3 && { w3 }),
    ...(b1 && { b1, b2, b3 }),
  };
}

/** The same tokens so many times. */
function repeated(options: FusedMoeOptions, times: number): FusedMoeOptions {
  const { x, selectedExperts, routingWeights, tokens } = options;
  return {
    ...options,
    tokens: tokens * times,
    x: tiled(x as Float32Array, times),
    selectedExperts: Int32Array.from(
      { length: selectedExperts.length * times },
      (_, i) => Number(selectedExperts[i % selectedExperts.length]),
    ),
    routingWeights: tiled(routingWeights as Float32Array, times),
  };
}

function tiled(numbers: Float32Array, times: number): Float32Array<ArrayBuffer> {
  return Float32Array.from(
    { length: numbers.length * times },
    (_, i) => numbers[i % numbers.length],
  );
}

function singles(given: MoeCase, name: string): Float32Array<ArrayBuffer> | undefined {
  const found = given.tensor(name);
  if (found?.dtype !== "bf16") return found && Float32Array.from(found.data as Float32Array);
  const bits = Uint32Array.from(found.data as Uint16Array, (half) => half << 16);
  return new Float32Array(bits.buffer);
}

function halves(given: MoeCase, name: string): Elements | undefined {
  const values = singles(given, name);
  return values && Float16Array.from(values);
}

function expectedOf(given: MoeCase): Float32Array {
  return given.tensor("expected")?.data as Float32Array;
}

Deno.test("fusedMoe() gives what PyTorch computes on the CPU", async () => {
  for (const given of cases) {
    const y = await fusedMoe({ ...optionsOf(given), executor: "cpu" });
    assert.ok(relativeError(y, expectedOf(given)) <= TOLERANCES.moeF32, given.title);
  }
});

for (const backend of ["triton", "trtllm"] as const) {
  webgpuTest(`fusedMoe() gives what PyTorch computes with ${backend}, twice the same`, async () => {
    const { executor } = await openExecutor("webgpu");
    try {
      // Every kind of layer is among them; moe_golden_test.ts has all cases.
      for (const given of cases.filter((_, i) => i % 5 === 0)) {
        for (const [dtype, tolerance] of [["f32", "moeF32"], ["f16", "moeF16"]] as const) {
          const options = { ...optionsOf(given, dtype), executor, backend };
          const y = await fusedMoe(options);
          const error = relativeError(y, expectedOf(given));
          assert.ok(error <= TOLERANCES[tolerance], `${given.title} in ${dtype}: ${error}`);
          assert.deepEqual(await fusedMoe(options), y, given.title);
        }
      }
    } finally {
      executor.dispose();
    }
  });
}

webgpuTest("fusedMoe() gives what PyTorch computes with f16 operands", async () => {
  const { executor, profile } = await openExecutor("webgpu");
  try {
    assert.ok(profile?.shaderF16, "software Vulkan has it");
    let rounded = 0;
    for (const given of cases.filter((_, i) => i % 5 === 0)) {
      // A GPU takes the tiles that round operands for many rows of an expert only.
      const times = profile.software ? 1 : 256;
      const options = {
        ...repeated(optionsOf(given), times),
        executor,
        backend: "triton",
      } as const;
      const y = await fusedMoe({ ...options, operands: "f16" });
      const error = relativeError(y, tiled(expectedOf(given), times));
      assert.ok(error <= TOLERANCES.moeF16Operands, `${given.title}: ${error}`);
      if (error > TOLERANCES.moeF32) rounded++;
    }
    assert.ok(rounded > 0, "a GEMM with f16 operands ran");
  } finally {
    executor.dispose();
  }
});

webgpuTest("fusedMoe() refuses f16 operands where the device has no shader-f16", async () => {
  await withExecutor({ without: ["shader-f16"] }, async (executor) => {
    const options = { ...optionsOf(cases[0]), executor } as const;
    for (const backend of ["auto", "triton", "trtllm"] as const) {
      await assert.rejects(() => fusedMoe({ ...options, backend, operands: "f16" }), (error) => {
        assert.ok(error instanceof KernelError, String(error));
        assert.match(error.message, /cannot keep operands in f16: the device has no shader-f16/);
        return true;
      });
    }
    await fusedMoe(options);
  });
});

for (const kind of ["cpu", "webgpu"] as const) {
  const test = kind === "cpu" ? Deno.test : webgpuTest;
  test(`fusedMoe() on an open ${kind} executor leaves no weights behind`, async () => {
    const { executor } = await openExecutor(kind);
    const run = async () => {
      const options = optionsOf(cases[0]);
      await fusedMoe({ ...options, executor });
      return new WeakRef(options.w1);
    };
    const weights = [await run(), await run()];
    await collectGarbage();
    executor.dispose();
    assert.deepEqual(weights.map((each) => each.deref()), [undefined, undefined]);
  });
}

Deno.test("fusedMoe() computes f16 operands in f32 on the CPU", async () => {
  const options = { ...optionsOf(cases[0]), executor: "cpu" } as const;
  assert.deepEqual(await fusedMoe({ ...options, operands: "f16" }), await fusedMoe(options));
});

Deno.test("fusedMoe() takes half-precision inputs and routing weights", async () => {
  const options = optionsOf(cases[0]);
  const y = await fusedMoe({
    ...options,
    executor: "cpu",
    x: Float16Array.from(options.x),
    routingWeights: Float16Array.from(options.routingWeights),
  });
  assert.ok(relativeError(y, expectedOf(cases[0])) <= TOLERANCES.moeF16);
});

Deno.test("fusedMoe() adds nothing for experts outside [0, E)", async () => {
  const options = { ...optionsOf(cases[0]), executor: "cpu" } as const;
  const selectedExperts = options.selectedExperts.map((id, i) =>
    i % options.topK === 0 ? [-1, options.experts][i % 2] : id
  );
  const routingWeights = Float32Array.from(
    options.routingWeights,
    (weight, i) => i % options.topK === 0 ? 0 : weight,
  );
  assert.deepEqual(
    await fusedMoe({ ...options, selectedExperts }),
    await fusedMoe({ ...options, routingWeights }),
  );
});

Deno.test("fusedMoe() explains inputs that do not fit", async () => {
  const options = { ...optionsOf(cases[0]), executor: "cpu" } as const;
  const { tokens, hidden } = options;
  const wrong: readonly [Partial<FusedMoeOptions>, RegExp][] = [
    [{ x: new Float32Array(3) }, new RegExp(`"x": expected ${tokens * hidden} elements .*, got 3`)],
    [{ topK: 0 }, /"topK": expected a whole number above 0, got 0/],
    [{ w3: undefined, mlp: "gated" }, /"w3": expected an up projection.*, got none/],
    [{ mlp: "plain" }, /"w3": expected none, got one/],
    // As a program without types may.
    [JSON.parse('{"operands": "f8"}'), /"operands": expected f32, f16, auto, got f8/],
    [{ w2: Float16Array.from(options.w2) }, /"w2": expected f32, as w1, got f16/],
  ];
  for (const [change, message] of wrong) {
    await assert.rejects(() => fusedMoe({ ...options, ...change }), (error) => {
      assert.ok(error instanceof ConfigError);
      assert.match(error.message, message);
      return true;
    });
  }
});

webgpuTest("fusedMoe() gives the reason of a backend that cannot serve the layer", async () => {
  const options = { ...optionsOf(cases[0]), executor: "webgpu", backend: "reference" } as const;
  await assert.rejects(() => fusedMoe(options), (error) => {
    assert.ok(error instanceof KernelError, String(error));
    assert.match(error.message, /reference/);
    return true;
  });
});
