import assert from "node:assert/strict";
import type { AttrsOf, OpName } from "../../../graph/mod.ts";
import type { StepSizes } from "../../../kernels/kernel.ts";
import { webgpuTest } from "../../support/adapter.ts";
import {
  activation,
  integerInput,
  type OpInput,
  type OpResult,
  randomWeight,
  runOp,
  worstDifference,
} from "../../support/op_case.ts";
import { TOLERANCES } from "../../support/tolerances.ts";
import { type DispatchRunner, withRunner } from "../../support/run_dispatches.ts";

const SIZES: StepSizes = { T: 7, R: 3, S: 2, P: 4 };

interface Case {
  readonly what: string;
  run(runner: DispatchRunner): Promise<OpResult>;
}

function opCase<Op extends OpName>(
  op: Op,
  attrs: AttrsOf<Op>,
  inputs: Readonly<Record<string, OpInput | readonly OpInput[]>>,
): Case {
  return {
    what: `${op} ${JSON.stringify(attrs)}`,
    run: (runner) => runOp(runner, { op, attrs, inputs, sizes: SIZES }),
  };
}

function x(shape: OpInput["shape"], scale = 2, seed = 1): OpInput {
  return activation(shape, SIZES, seed, scale);
}

/** Numbers up to the far ends, where exp overflows and angles are large. */
function extreme(shape: OpInput["shape"]): OpInput {
  const { data, ...rest } = x(shape, 1, 5);
  const wide = Float32Array.from(
    data as Float32Array,
    (value) => value * 10 ** (3 * value * value),
  );
  return { ...rest, data: wide };
}

function masked(shape: OpInput["shape"]): OpInput {
  const { data, ...rest } = x(shape, 60, 7);
  const values = Float32Array.from(
    data as Float32Array,
    (value, i) => i % 3 === 1 ? -Infinity : value,
  );
  return { ...rest, data: values };
}

const UNARY = [
  "neg",
  "cos",
  "sin",
  "relu",
  "sigmoid",
  "silu",
  "gelu",
  "gelu_tanh",
  "softplus",
] as const;

const CASES = [
  ...UNARY.map((op) => opCase(op, {}, { x: extreme(["T", 33]) })),
  opCase("rsqrt", {}, {
    x: { dtype: "f32", shape: [4], data: Float32Array.of(1e-6, 0.5, 3, 1e8), weight: true },
  }),
  opCase("add", {}, { a: x(["T", 5, 8]), b: x([5, 1], 1, 2) }),
  opCase("sub", {}, { a: x(["T", 1]), b: x([1, 9], 1, 2) }),
  opCase("mul", {}, { a: x([3, "T", 8]), b: randomWeight("bf16", [8], 3) }),
  opCase("div", {}, { a: x(["T", 6]), b: randomWeight("f16", [], 3) }),
  opCase("mul", {}, {
    a: integerInput(["T"], [1, -2, 3, 1 << 28, 5, 6, 7]),
    b: integerInput([1], [3]),
  }),
  opCase("pow", { exponent: 2 }, { x: x(["T", 9]) }),
  opCase("pow", { exponent: -3 }, { x: x(["T", 9]) }),
  opCase("pow", { exponent: 0.5 }, {
    x: { ...x(["T"]), data: Float32Array.of(0, 1, 2, 3, 4, 5, 6) },
  }),
  opCase("clamp", { min: -0.5, max: 1 }, { x: x(["T", 9]) }),
  opCase("clamp", { max: 0 }, { x: x(["T", 9]) }),
  opCase("clamp", { min: -1e39, max: 1e39 }, { x: x(["T", 9]) }),
  opCase("cast", { dtype: "f32" }, { x: randomWeight("bf16", [7, 3], 3) }),
  opCase("cast", { dtype: "i32" }, { x: x(["T"], 9) }),
  opCase("mean", { dim: -1, keepdim: true }, { x: x(["T", 130]) }),
  opCase("mean", { dim: 1, keepdim: false }, { x: x(["T", 5, 6]) }),
  opCase("sum", { dim: 0, keepdim: false }, { x: x(["T", 70]) }),
  opCase("softmax", { dim: -1 }, { x: masked([2, "T", "T"]) }),
  opCase("softmax", { dim: 0 }, { x: x(["T", 11], 90) }),
  opCase("transpose", { dims: [0, 1] }, { x: x(["T", 4, 8]) }),
  opCase("transpose", { dims: [-1, -2] }, { x: x([3, "T", 5]) }),
  opCase("expand", { shape: [3, "T", 4] }, { x: x(["T", 1]) }),
  opCase("slice", { dim: -1, start: 3, end: 30, step: 4 }, { x: x(["T", 33]) }),
  opCase("slice", { dim: 0, start: 1 }, { x: x([3, "T"]) }),
  opCase("select", { dim: 1, index: -2 }, { x: x(["T", 5, 3]) }),
  opCase("concat", { dim: 1 }, { xs: [x(["T", 3]), x(["T", 1], 1, 2), x(["T", 6], 1, 3)] }),
  opCase("concat", { dim: 0 }, { xs: [x([2, "T"]), x([3, "T"], 1, 2)] }),
  opCase("repeat_kv", { repeats: 3 }, { x: x([2, "T", 4]) }),
  opCase("index", {}, { x: x(["T", 5]), rows: integerInput(["R"], [6, 0, 3]) }),
  opCase("index", {}, {
    x: x(["T", 5]),
    rows: integerInput(["R"], [6, 0, 3]),
    columns: integerInput(["R"], [4, 0, 1]),
  }),
  opCase("index_add", {}, {
    x: x(["T", 5]),
    rows: integerInput(["R"], [6, 0, 6]),
    source: x(["R", 5], 1, 3),
  }),
  opCase("gather_rows", {}, { x: x(["T", 12]), rows: integerInput(["R"], [6, 6, 2]) }),
  opCase("zeros_like", {}, { x: x(["T", 3]) }),
  opCase("one_hot", { classes: 9 }, { ids: integerInput(["T"], [0, 8, 3, -1, 9, 4, 4]) }),
  opCase("topk", { k: 4 }, {
    x: {
      dtype: "f32",
      shape: ["T", 6],
      data: Float32Array.from({ length: 42 }, (_, i) => (i * 5) % 4),
    },
  }),
  opCase("topk", { k: 8 }, { x: x(["T", 200]) }),
  ...(["f32", "f16", "bf16"] as const).map((dtype) =>
    opCase("embedding", {}, {
      ids: integerInput(["T"], [0, 12, 5, 5, 1, 7, 3]),
      w: randomWeight(dtype, [13, 9], 3),
    })
  ),
  opCase("matmul", {}, { a: x([3, "T", 19]), b: x([3, 19, 33], 1, 2) }),
  opCase("matmul", {}, { a: x([2, 17, "T"]), b: x([2, "T", 5], 1, 2) }),
  opCase("attention_mask", {}, { positions: integerInput(["T"], [4, 5, 6, 7, 8, 9, 10]) }),
  opCase("attention_mask", { window: 5e9 }, {
    positions: integerInput(["T"], [4, 5, 6, 7, 8, 9, 10]),
  }),
  opCase("attention_mask", { window: 3 }, {
    positions: integerInput(["T"], [0, 1, 2, 3, 4, 5, 6]),
  }),
  ...(["half", "interleaved"] as const).map((layout) =>
    opCase("rope", { layout, rotaryDim: 6, attentionScaling: 1.25 }, {
      x: x([3, "T", 10]),
      positions: integerInput(["T"], [0, 1, 2, 1000, 32767, 100000, 1]),
      inv_freq: { dtype: "f32", shape: [3], data: Float32Array.of(1, 0.1, 0.01), weight: true },
    })
  ),
  opCase("attention", { scale: 0.2 }, {
    q: x([4, "T", 20]),
    k: x([2, "T", 20], 1, 2),
    v: x([2, "T", 20], 1, 3),
    positions: integerInput(["T"], [0, 1, 2, 3, 4, 5, 6]),
  }),
  opCase("attention", { scale: 0.2, window: 5e9 }, {
    q: x([4, "T", 20]),
    k: x([2, "T", 20], 1, 2),
    v: x([2, "T", 20], 1, 3),
    positions: integerInput(["T"], [0, 1, 2, 3, 4, 5, 6]),
  }),
  opCase("attention", { scale: 0.1, window: 3 }, {
    q: x([2, "T", 80]),
    k: x([2, "T", 80], 1, 2),
    v: x([2, "T", 80], 1, 3),
    positions: integerInput(["T"], [0, 1, 2, 3, 4, 5, 6]),
    sinks: randomWeight("f32", [2], 4),
  }),
  ...(["silu", "gelu", "gelu_tanh"] as const).map((activation) =>
    opCase("gated_mlp", { activation }, {
      x: x(["T", 40]),
      w_gate: randomWeight("bf16", [27, 40], 3),
      w_up: randomWeight("bf16", [27, 40], 4),
      w_down: randomWeight("bf16", [40, 27], 5),
      residual: x(["T", 40], 1, 6),
    })
  ),
  opCase("rms_norm", { eps: 1e-5 }, { x: x(["T", 77]), w: randomWeight("f32", [77], 3) }),
  opCase("post_norm", { eps: 1e-6 }, {
    x: x(["T", 77]),
    w: randomWeight("f32", [77], 3),
    residual: x(["T", 77], 1, 2),
  }),
  opCase("post_norm", { eps: 1e-2, nextEps: 1e-5 }, {
    x: x(["T", 601]),
    w: randomWeight("f32", [601], 3),
    x_2: x(["T", 601], 4, 4),
    w_2: randomWeight("f32", [601], 5),
    w_sum: randomWeight("f32", [601], 6),
    residual: x(["T", 601], 1, 7),
    scale: randomWeight("f32", [1], 8),
    next: [randomWeight("f32", [601], 9), randomWeight("f32", [601], 10)],
  }),
  opCase("add_rms_norm", { eps: 1e-6 }, {
    x: x([2, "T", 40]),
    residual: x([2, "T", 40], 1, 2),
    w: randomWeight("f32", [40], 3),
  }),
];

webgpuTest("the small ops give what the CPU gives", () =>
  withRunner(async (runner) => {
    for (const each of CASES) {
      const { got, expected } = await each.run(runner);
      for (const [i, result] of got.entries()) {
        const worst = worstDifference(result, expected[i]);
        assert.ok(worst < TOLERANCES.kernelF32, `${each.what}, output ${i}: off by ${worst}`);
      }
    }
  }));
