/** Layers whose weights f16 cannot hold: with plain WGSL as matrices, on software Vulkan. */

import assert from "node:assert/strict";
import {
  concat,
  Graph,
  GraphBuilder,
  PACKED_FORMATS,
  stack,
  tensor,
} from "../../../../graph/mod.ts";
import { tunedRow } from "../../../../kernels/mod.ts";
import { largestMagnitude } from "../../../../models/loading/largest_numbers.ts";
import { openCpuExecutor } from "../../../../runtime/mod.ts";
import { nativeProvider } from "../../../../runtime/webgpu/providers/native.ts";
import { nodesBeyondHalves } from "../../../../runtime/webgpu/plan/half_range.ts";
import { webgpuTest, withExecutor } from "../../../support/adapter.ts";
import { latentAttrs, latentInputs } from "../../../support/latent_cases.ts";
import { MATRIX_CONFIGS, MATRIX_SHAPES } from "../../../support/matrix_configs.ts";
import { buildNode, randomF32 } from "../../../support/op_case.ts";
import { packedInputs } from "../../../support/packed_inputs.ts";
import { run } from "../../../support/paged_steps.ts";
import { relativeError, TOLERANCES } from "../../../support/tolerances.ts";

const [T, HIDDEN, INTERMEDIATE, EXPERTS, TOP_K] = [40, 24, 16, 2, 2];
const EXPERT = [INTERMEDIATE, HIDDEN] as const;

/** Experts and a dense layer behind them, both of which may use matrices. */
function layers(): Graph {
  const b = new GraphBuilder(new Graph("layers"));
  const expert = (e: number, part: string) =>
    tensor(`mlp.experts.${e}.${part}`, "f32", part === "down" ? EXPERT.toReversed() : EXPERT);
  const experts = Array.from({ length: EXPERTS }, (_, e) => e);
  const inputs = {
    x: b.input("x", { dtype: "f32", shape: ["T", HIDDEN] }),
    selected_experts: b.input("selected_experts", { dtype: "i32", shape: ["T", TOP_K] }),
    routing_weights: b.input("routing_weights", { dtype: "f32", shape: ["T", TOP_K] }),
    w_up: b.weight("w_up", stack(experts.map((e) => concat([expert(e, "up"), expert(e, "gate")])))),
    w_down: b.weight("w_down", stack(experts.map((e) => expert(e, "down")))),
  };
  const y = b.within("layers.0.mlp", () =>
    b.op("fused_moe", inputs, {
      ...{ backend: "triton", mlp: "gated", activation: "relu2", format: "f32" },
      ...{ experts: EXPERTS, topK: TOP_K, hidden: HIDDEN, intermediate: INTERMEDIATE },
      ...{ applyRoutingOnInput: false, activationQuant: "none", operands: "auto" },
    }));
  const w = b.weight("o", tensor("layers.0.o", "f32", [32, HIDDEN]));
  b.graph.setOutput("y", b.within("layers.0.o", () => b.op("fused_linear", { x: y, w }, {})));
  b.graph.setMeta("compile", { operands: "auto", token_ranges: [T] });
  return b.graph;
}

/** Tensors of random numbers, one of which is replaced. */
function sourceWith(name: string, element: number) {
  return {
    read(wanted: string, at: number, length: number) {
      const values = randomF32(32 * HIDDEN, wanted.length + wanted.charCodeAt(12));
      if (wanted === name) values[5] = element;
      return Promise.resolve(new Uint8Array(values.buffer, at, length));
    },
  };
}

const SIZES = { maxTokens: T, maxSequences: 1, pages: 0, maxPagesPerSequence: 1 };
const INPUTS = {
  x: randomF32(T * HIDDEN, 1),
  selected_experts: Int32Array.from({ length: T * TOP_K }, (_, i) => i % 2),
  routing_weights: randomF32(T * TOP_K, 2).map(Math.abs),
};

/** A software adapter takes no matrices by itself. */
const TABLE = {
  path: "auto.json",
  text: JSON.stringify({ [T]: tunedRow(MATRIX_CONFIGS.grouped) }),
};
const TUNED = { read: (name: string) => name.includes("operands=auto") ? TABLE : undefined };

const BEYOND = [
  ["mlp.experts.1.gate", 1e5, "layers.0.mlp", "are up to 1.00e+5, and f16 ends at 65504"],
  ["layers.0.o", -1e30, "layers.0.o", "are up to 1.00e+30, and f16 ends at 65504"],
  ["", 0, "", ""],
] as const;

webgpuTest("layers with weights beyond f16 keep f32 operands and say so", async (t) => {
  const provider = {
    ...nativeProvider,
    matrices: () => MATRIX_SHAPES.slice(0, 1).map((shape) => ({ ...shape, plain: true })),
  };
  await withExecutor({ provider, tuned: TUNED, selfTest: false }, async (executor) => {
    if (!executor.device.profile.matrices) return;
    const cpu = openCpuExecutor();
    for (const [name, number, scope, text] of BEYOND) {
      await t.step(`${name} ${number}`, async () => {
        const options = { ...SIZES, source: sourceWith(name, number), compileAll: true };
        const program = await executor.compile(layers(), options);
        const expected = await (await cpu.compile(layers(), options)).run(INPUTS, { T });
        const { y } = await program.run(INPUTS, { T });
        const error = relativeError(y, expected.y);
        assert.ok(error < 2 * TOLERANCES.moeF16Operands, `relative error ${error}`);
        const notices = program.notices?.filter((notice) => notice.includes("keeps f32")) ?? [];
        assert.deepEqual(
          notices,
          name ? [`"${scope}" keeps f32 operands: numbers of tensor "${name}" ${text}`] : [],
        );
        const choices = program.report.choices as readonly { text: string; scopes: string[] }[];
        const halves = choices.filter((choice) => /f16 operands|by matrices/.test(choice.text));
        const scopes = new Set(halves.flatMap((choice) => choice.scopes));
        const all = ["layers.0.mlp", "layers.0.o"];
        assert.deepEqual([...scopes].sort(), all.filter((each) => each !== scope));
        program.dispose();
      });
    }
    cpu.dispose();
  });
});

Deno.test("packed weights are too large or too small by their scales, in every format", () => {
  const [rows, columns] = [8, 64];
  const profile = { matrices: MATRIX_SHAPES };
  for (const format of PACKED_FORMATS) {
    const reason = (factor: number) => {
      const inputs = packedInputs(format, rows, columns, undefined, factor);
      const { node, values } = buildNode({
        ...{ op: "fused_linear", attrs: { format } },
        inputs: {
          x: { dtype: "f32", shape: ["T", columns], data: new Float32Array(0) },
          ...inputs,
        },
      });
      const found = nodesBeyondHalves({ nodes: [node], operands: "auto", profile }, (value) => {
        const data = [...values].find(([each]) => each.id === value.id)?.[1];
        assert.ok(data);
        return [largestMagnitude(value.dtype, new Uint8Array(data.buffer))];
      });
      return found.get(node.id) ?? "none";
    };
    assert.equal(reason(1), "none", format);
    assert.match(
      reason(2 ** 18),
      /^numbers scaled by tensor "w_scale" are up to .*, and f16 ends at 65504/,
      format,
    );
    assert.match(
      reason(2 ** -24),
      /^numbers scaled by tensor "w_scale" are at most .*too few digits/,
      format,
    );
    assert.equal(reason(0), "none", `${format}, zeros`);
  }
});

Deno.test("weights that make keys, values and queries of latents may meet halves", () => {
  const model = { heads: 2, nopeDim: 8, ropeDim: 8, valueDim: 8, latentDim: 16, rank: 16 };
  const { node } = buildNode({
    ...{ op: "cached_mla_attention", attrs: latentAttrs(model) },
    inputs: latentInputs(model, run(0, 0, 1)),
  });
  const given = { nodes: [node], operands: "auto", profile: { matrices: MATRIX_SHAPES } } as const;
  const reason = (large: string) =>
    nodesBeyondHalves(given, ({ name }) => [name === large ? 1e5 : 1]).get(node.id);
  assert.match(reason("w") ?? "", /tensor "w" are up to 1.00e\+5, and f16 ends at 65504/);
  assert.match(reason("q_w") ?? "", /tensor "q_w" are up to/);
  assert.equal(reason(""), undefined);
});
