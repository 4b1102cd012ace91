import assert from "node:assert/strict";
import fc from "../../../deps/fast_check.ts";
import {
  type FusedMoeAttrs,
  type HostTensor,
  MixlineError,
  MOE_ACTIVATIONS,
  type MoeAttrs,
  type MoeRouterAttrs,
} from "../../../graph/mod.ts";
import { evaluate, f32, i32, numbersOf, random, rounded } from "../../support/host_tensors.ts";
import { relativeError, TOLERANCES } from "../../support/tolerances.ts";

/** A layer with random weights and routing, some of it to experts that do not exist. */
interface Layer {
  readonly tokens: number;
  readonly hidden: number;
  readonly intermediate: number;
  readonly experts: number;
  readonly topK: number;
  readonly dtype: "f32" | "f16" | "bf16";
  readonly bias: boolean;
  readonly ids: readonly number[];
  readonly attrs: MoeAttrs;
}

const layers = fc.record({
  tokens: fc.integer({ min: 1, max: 6 }),
  hidden: fc.integer({ min: 1, max: 9 }),
  intermediate: fc.integer({ min: 1, max: 7 }),
  experts: fc.integer({ min: 1, max: 5 }),
  topK: fc.integer({ min: 1, max: 3 }),
  dtype: fc.constantFrom("f32" as const, "f16" as const, "bf16" as const),
  bias: fc.boolean(),
  ids: fc.array(fc.integer({ min: -1, max: 5 }), { minLength: 18, maxLength: 18 }),
  attrs: fc.record({
    mlp: fc.constantFrom("gated" as const, "plain" as const),
    activation: fc.constantFrom(...MOE_ACTIVATIONS),
    applyRoutingOnInput: fc.boolean(),
  }),
}).map((layer): Layer =>
  layer.attrs.activation === "swiglu_oai"
    ? { ...layer, attrs: { ...layer.attrs, mlp: "gated" } }
    : layer
);

function routing({ tokens, topK, hidden, ids }: Layer) {
  return {
    x: random([tokens, hidden], 1),
    selected_experts: i32([tokens, topK], ids.slice(0, tokens * topK)),
    routing_weights: random([tokens, topK], 2),
  };
}

function eager(layer: Layer): Record<string, HostTensor[]> {
  const { experts, hidden: H, intermediate: I, dtype, bias, attrs } = layer;
  const each = (shape: number[], seed: number, type: Layer["dtype"]) =>
    Array.from({ length: experts }, (_, e) => rounded(type, random(shape, seed + 10 * e)));
  return {
    w1: each([I, H], 3, dtype),
    w2: each([H, I], 4, dtype),
    ...(attrs.mlp === "gated" ? { w3: each([I, H], 5, dtype) } : {}),
    ...(bias ? { b1: each([I], 6, "f32"), b2: each([H], 7, "f32") } : {}),
    ...(bias && attrs.mlp === "gated" ? { b3: each([I], 8, "f32") } : {}),
  };
}

function stacked(parts: readonly HostTensor[], shape: number[]): HostTensor {
  const [first] = parts;
  const bytes = parts.flatMap(({ data }) => [...new Uint8Array(data.buffer)]);
  const { buffer } = Uint8Array.from(bytes);
  const data = first.dtype === "f32"
    ? new Float32Array(buffer)
    : first.dtype === "f16"
    ? new Float16Array(buffer)
    : new Uint16Array(buffer);
  return { dtype: first.dtype, shape, data };
}

function fused(layer: Layer): { inputs: Record<string, HostTensor>; attrs: FusedMoeAttrs } {
  const { experts: E, hidden: H, intermediate: I, topK, dtype, bias, attrs } = layer;
  const { w1, w2, w3, b1, b2, b3 } = eager(layer);
  const both = (up: HostTensor[] | undefined, gate: HostTensor[]) =>
    gate.flatMap((each, e) => (up ? [up[e], each] : [each]));
  const rows = attrs.mlp === "gated" ? 2 * I : I;
  return {
    inputs: {
      w_up: stacked(both(w3, w1), [E, rows, H]),
      w_down: stacked(w2, [E, H, I]),
      ...(bias ? { b_up: stacked(both(b3, b1), [E, rows]), b_down: stacked(b2, [E, H]) } : {}),
    },
    attrs: {
      ...attrs,
      ...{ backend: "reference", experts: E, topK, hidden: H, intermediate: I },
      ...{ format: dtype, activationQuant: "none" },
    },
  };
}

Deno.test("fused_moe equals moe bit for bit, whatever the layer", async () => {
  await fc.assert(
    fc.asyncProperty(layers, async (layer) => {
      const [expected] = await evaluate("moe", { ...routing(layer), ...eager(layer) }, layer.attrs);
      const { inputs, attrs } = fused(layer);
      const [got] = await evaluate("fused_moe", { ...routing(layer), ...inputs }, attrs);
      assert.deepEqual(got, expected);
      const residual = random([layer.tokens, layer.hidden], 9);
      const given = { ...routing(layer), ...inputs, residual };
      const [added] = await evaluate("fused_moe", given, attrs);
      const sums = expected.map((value, i) => Math.fround(value + numbersOf(residual)[i]));
      assert.deepEqual([...added], [...sums]);
    }),
    { numRuns: 120 },
  );
});

Deno.test("moe equals the dense ops it stands for, token by token and slot by slot", async () => {
  await fc.assert(
    fc.asyncProperty(layers, async (layer) => {
      const { tokens, hidden, topK, experts, attrs } = layer;
      const [got] = await evaluate("moe", { ...routing(layer), ...eager(layer) }, attrs);
      const { x, selected_experts, routing_weights } = routing(layer);
      const expected = new Float64Array(tokens * hidden);
      for (let pair = 0; pair < tokens * topK; pair++) {
        const expert = Number(selected_experts.data[pair]);
        if (expert < 0 || expert >= experts) continue;
        const weight = numbersOf(routing_weights)[pair];
        const start = Math.floor(pair / topK) * hidden;
        const token = numbersOf(x).slice(start, start + hidden);
        const scaled = attrs.applyRoutingOnInput ? token.map((value) => value * weight) : token;
        const result = await expertByOps(layer, expert, f32([1, hidden], scaled));
        const factor = attrs.applyRoutingOnInput ? 1 : weight;
        result.forEach((value, i) => expected[start + i] += factor * value);
      }
      assert.ok(relativeError(got, expected) < TOLERANCES.moeF32);
    }),
    { numRuns: 60 },
  );
});

/** One expert on one token through `linear` and the activation ops. */
async function expertByOps(layer: Layer, expert: number, x: HostTensor): Promise<Float32Array> {
  const { w1, w2, w3, b1, b2, b3 } = eager(layer);
  const linear = async (input: HostTensor, w: HostTensor, bias?: HostTensor) =>
    Float32Array.from((await evaluate("linear", { x: input, w, bias }, {}))[0]);
  const gate = await linear(x, w1[expert], b1?.[expert]);
  const up = w3 && await linear(x, w3[expert], b3?.[expert]);
  const { activation } = layer.attrs;
  const activated = activation === "swiglu_oai"
    ? gate.map((value, i) => {
      const g = Math.min(value, 7);
      return (Math.min(Math.max(up[i], -7), 7) + 1) * g / (1 + Math.exp(-1.702 * g));
    })
    : activation === "relu2"
    ? gate.map((value) => (value > 0 ? value * value : 0))
    : activation === "linear"
    ? gate
    : Float32Array.from((await evaluate(activation, { x: f32([gate.length], gate) }, {}))[0]);
  const hidden = up && activation !== "swiglu_oai"
    ? activated.map((value, i) => value * up[i])
    : activated;
  return await linear(f32([1, hidden.length], hidden), w2[expert], b2?.[expert]);
}

const SMALL: Layer = {
  ...{ tokens: 4, hidden: 5, intermediate: 3, experts: 3, topK: 2, dtype: "f32", bias: true },
  ids: [],
  attrs: { mlp: "gated", activation: "silu", applyRoutingOnInput: false },
};

Deno.test("moe gives zeros when every id is outside, and the residual alone when fused", async () => {
  const layer = { ...SMALL, ids: [-1, 3, 99, -5, 3, 3, -1, -1] };
  const [got] = await evaluate("moe", { ...routing(layer), ...eager(layer) }, layer.attrs);
  assert.deepEqual([...got], new Array(20).fill(0));
  const { inputs, attrs } = fused(layer);
  const residual = random([4, 5], 9);
  const [kept] = await evaluate("fused_moe", { ...routing(layer), ...inputs, residual }, attrs);
  assert.deepEqual([...kept], [...residual.data]);
});

Deno.test("moe counts an expert twice when a token chose it twice", async () => {
  const once = { ...SMALL, topK: 1, ids: [1, 1, 1, 1] };
  const twice = { ...SMALL, ids: new Array(8).fill(1) };
  const weights = (topK: number) => ({ routing_weights: f32([4, topK], 1) });
  const [single] = await evaluate(
    "moe",
    { ...routing(once), ...eager(once), ...weights(1) },
    once.attrs,
  );
  const [double] = await evaluate(
    "moe",
    { ...routing(twice), ...eager(twice), ...weights(2) },
    twice.attrs,
  );
  assert.deepEqual([...double], [...single].map((value) => 2 * value));
});

Deno.test("moe gives a token the same bits alone and among others", async () => {
  const layer = { ...SMALL, ids: [0, 1, 1, 2, 0, 2, 1, 0] };
  const all = routing(layer);
  const [together] = await evaluate("moe", { ...all, ...eager(layer) }, layer.attrs);
  for (let t = 0; t < 4; t++) {
    const alone = {
      x: f32([1, 5], numbersOf(all.x).subarray(5 * t, 5 * t + 5)),
      selected_experts: i32([1, 2], layer.ids.slice(2 * t, 2 * t + 2)),
      routing_weights: f32([1, 2], numbersOf(all.routing_weights).subarray(2 * t, 2 * t + 2)),
    };
    const [got] = await evaluate("moe", { ...alone, ...eager(layer) }, layer.attrs);
    assert.deepEqual([...got], [...together.subarray(5 * t, 5 * t + 5)]);
  }
});

Deno.test("moe refuses swiglu_oai for plain experts", async () => {
  const attrs = { mlp: "plain", activation: "swiglu_oai", applyRoutingOnInput: false } as const;
  const layer: Layer = { ...SMALL, ids: [0, 0, 0, 0, 0, 0, 0, 0], attrs };
  await assert.rejects(evaluate("moe", { ...routing(layer), ...eager(layer) }, attrs), (error) => {
    assert.ok(error instanceof MixlineError);
    assert.equal(error.code, "kernel/activation");
    return true;
  });
});

const ROUTER: MoeRouterAttrs = {
  ...{ topK: 2, scoring: "softmax", softmaxOver: "all", renormalize: false, scale: 1 },
};
const IDENTITY = f32([3, 3], [1, 0, 0, 0, 1, 0, 0, 0, 1]);

/** Router results for tokens whose logits are given (the weight is the identity). */
async function route(logits: number[], attrs: Partial<MoeRouterAttrs>, bias?: HostTensor) {
  const x = f32([logits.length / 3, 3], logits);
  const [ids, weights] = await evaluate("moe_router", { x, w: IDENTITY, bias }, {
    ...ROUTER,
    ...attrs,
  });
  return { ids: [...ids], weights: [...weights] };
}

Deno.test("moe_router scores by softmax over all or the chosen, or by sigmoid", async () => {
  const [a, b, c] = [Math.exp(1), Math.exp(3), Math.exp(2)];
  const near = (got: number[], expected: number[]) =>
    assert.ok(relativeError(got, expected) < 1e-6);
  const all = await route([1, 3, 2], {});
  assert.deepEqual(all.ids, [1, 2]);
  near(all.weights, [b / (a + b + c), c / (a + b + c)]);
  near((await route([1, 3, 2], { renormalize: true })).weights, [b / (b + c), c / (b + c)]);
  near((await route([1, 3, 2], { softmaxOver: "selected" })).weights, [b / (b + c), c / (b + c)]);
  const sigmoid = await route([1, 3, 2], { scoring: "sigmoid", scale: 2.5 });
  near(sigmoid.weights, [2.5 * b / (1 + b), 2.5 * c / (1 + c)]);
});

Deno.test("moe_router gives ties to the lower expert and adds the bias to the logits", async () => {
  assert.deepEqual((await route([1, 1, 1, 0, 2, 2], {})).ids, [0, 1, 1, 2]);
  assert.deepEqual((await route([1, 1, 1], {}, f32([3], [0, 0, 1]))).ids, [2, 0]);
  const extreme = await route([1e4, -1e4, 9999], { renormalize: true });
  assert.ok(extreme.weights.every(Number.isFinite));
});

Deno.test("moe_router norms its input and gives it as third output", async () => {
  const [x, w, norm_weight] = [random([4, 6], 1), random([5, 6], 2), random([6], 3)];
  const [normed] = await evaluate("rms_norm", { x, w: norm_weight }, { eps: 1e-5 });
  const outside = await evaluate("moe_router", { x: f32([4, 6], normed), w }, ROUTER);
  const inside = await evaluate("moe_router", { x, w, norm_weight }, { ...ROUTER, normEps: 1e-5 });
  assert.deepEqual(inside, [...outside, normed]);
});

Deno.test("moe_router equals softmax, topk and renormalisation as ops", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 4 }),
      fc.integer({ min: 1, max: 6 }),
      fc.nat(),
      async (topK, tokens, seed) => {
        const [x, w] = [random([tokens, 8], seed, 3), random([6, 8], seed + 1)];
        const [logits] = await evaluate("linear", { x, w }, {});
        const [scores] = await evaluate("softmax", { x: f32([tokens, 6], logits) }, { dim: -1 });
        const [values, ids] = await evaluate("topk", { x: f32([tokens, 6], scores) }, { k: topK });
        const chosen = f32([tokens, topK], values);
        const [sums] = await evaluate("sum", { x: chosen }, { dim: -1, keepdim: true });
        const [weights] = await evaluate("div", { a: chosen, b: f32([tokens, 1], sums) }, {});
        const got = await evaluate("moe_router", { x, w }, { ...ROUTER, topK, renormalize: true });
        assert.deepEqual(got[0], ids);
        assert.ok(relativeError(got[1], weights) < TOLERANCES.reordered);
      },
    ),
    { numRuns: 40 },
  );
});
