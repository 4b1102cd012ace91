/**
 * Mixture of experts on the CPU: one loop over the experts that got tokens serves `moe` and
 * `fused_moe`, whatever their weights' layout and format.
 *
 * @module
 */

import {
  type AttrsOf,
  type HostTensor,
  isPacked,
  KernelError,
  type MoeAttrs,
  PACKED_LAYOUTS,
} from "../../graph/mod.ts";
import { ACTIVATIONS, swigluOai } from "./activation.ts";
import { expertRounding } from "./activation_quant.ts";
import { addTo, project } from "./linear.ts";
import { type CpuCall, type CpuInputs, cpuKernels } from "./kernel.ts";
import { f32Tensor, floats, integers } from "./numbers.ts";
import { moeRouter, sparseMixer } from "./router.ts";
import { plainRows, type RowReader, stackedRows } from "./rows.ts";

type Floats = Float32Array<ArrayBuffer>;

/** A matrix within a {@linkcode RowReader}, and its bias. */
interface Projection {
  readonly rows: RowReader;
  readonly first: number;
  readonly count: number;
  readonly bias?: { readonly values: Floats; readonly start: number };
  /** What happens to the rows that are multiplied, where the layer rounds them. */
  readonly round?: (values: Floats) => Floats;
}

/** The matrices of one expert: `gate` is w1, `up` is w3, `down` is w2. */
interface Expert {
  readonly gate: Projection;
  readonly up?: Projection;
  readonly down: Projection;
}

/** A layer of experts. */
interface Experts {
  readonly count: number;
  expert(index: number): Expert;
}

/** The (token, slot) pairs of every expert that has some, both ascending; ids outside are left out. */
function groupByExpert(selected: Int32Array, experts: number): (readonly [number, number[]])[] {
  const groups = new Map<number, number[]>();
  selected.forEach((expert, pair) => {
    if (expert < 0 || expert >= experts) return;
    const pairs = groups.get(expert);
    if (pairs) pairs.push(pair);
    else groups.set(expert, [pair]);
  });
  return [...groups].sort(([a], [b]) => a - b);
}

/**
 * Σ over a token's slots of routing weight · expert(x), in f64 and in ascending order of experts, so
 * that the other tokens of a step change no bit.
 */
function mixExperts(inputs: CpuInputs, attrs: MoeAttrs, experts: Experts): HostTensor {
  const [x, weights] = [inputs.get("x"), floats(inputs.get("routing_weights"))];
  const [tokens, hidden] = x.shape;
  const selected = integers(inputs.get("selected_experts"));
  const topK = selected.length / Math.max(1, tokens);
  const sums = new Float64Array(tokens * hidden);
  const values = floats(x);
  for (const [index, pairs] of groupByExpert(selected, experts.count)) {
    const xs = new Float32Array(pairs.length * hidden);
    pairs.forEach((pair, i) => {
      const from = Math.floor(pair / topK) * hidden;
      const factor = attrs.applyRoutingOnInput ? weights[pair] : 1;
      for (let n = 0; n < hidden; n++) xs[i * hidden + n] = values[from + n] * factor;
    });
    const rows = runExpert(xs, pairs.length, attrs, experts, index);
    pairs.forEach((pair, i) => {
      const to = Math.floor(pair / topK) * hidden;
      const factor = attrs.applyRoutingOnInput ? 1 : weights[pair];
      for (let n = 0; n < hidden; n++) sums[to + n] += factor * rows[i * hidden + n];
    });
  }
  return f32Tensor(x.shape, addTo(new Float32Array(sums), inputs.maybe("residual")));
}

function runExpert(
  xs: Floats,
  tokens: number,
  attrs: MoeAttrs,
  experts: Experts,
  index: number,
): Floats {
  const { gate, up, down } = experts.expert(index);
  const gated = multiply(xs, tokens, gate);
  const activated = activate(gated, up && multiply(xs, tokens, up), attrs);
  return multiply(activated, tokens, down);
}

function multiply(xs: Floats, tokens: number, projection: Projection): Floats {
  const rounded = projection.round ? projection.round(xs) : xs;
  return project(rounded, tokens, projection, projection.bias);
}

/** The activation of an expert, written over `gate`. */
function activate(gate: Floats, up: Floats | undefined, attrs: MoeAttrs): Floats {
  if (attrs.activation === "swiglu_oai") {
    if (!up) {
      throw new KernelError(
        "kernel/activation",
        `Cannot run a plain expert: expected an activation of one input, got "swiglu_oai"`,
        { hint: 'Set mlp to "gated" or choose another activation' },
      );
    }
    for (let i = 0; i < gate.length; i++) gate[i] = swigluOai(gate[i], up[i], attrs);
    return gate;
  }
  const f = ACTIVATIONS[attrs.activation];
  for (let i = 0; i < gate.length; i++) gate[i] = f(gate[i]) * (up ? up[i] : 1);
  return gate;
}

function moe({ inputs, attrs }: CpuCall<"moe">): HostTensor[] {
  const projection = (weight: string, bias: string, index: number): Projection => {
    const [w, b] = [inputs.list(weight)[index], inputs.list(bias)[index]];
    const rows = expertRows(inputs, attrs, weight, index);
    const name = `${weight}_input_scale`;
    const scale = { name, tensor: inputs.list(name)[index], index: 0 };
    return {
      rows,
      first: 0,
      count: w.shape[0],
      bias: b && { values: floats(b), start: 0 },
      round: expertRounding(attrs, rows.columns, scale),
    };
  };
  const experts: Experts = {
    count: inputs.list("w1").length,
    expert: (index) => ({
      gate: projection("w1", "b1", index),
      up: attrs.mlp === "gated" ? projection("w3", "b3", index) : undefined,
      down: projection("w2", "b2", index),
    }),
  };
  return [mixExperts(inputs, attrs, experts)];
}

/** Rows of one expert's weight, plain or packed. */
function expertRows(
  inputs: CpuInputs,
  { format, block }: AttrsOf<"moe">,
  weight: string,
  index: number,
): RowReader {
  const payload = inputs.list(weight)[index];
  if (format === undefined) return plainRows(payload);
  const [rows, width] = payload.shape;
  return stackedRows({
    format,
    block,
    matrices: 1,
    rows,
    columns: isPacked(format) ? width * PACKED_LAYOUTS[format].codesPerByte : width,
    payload,
    scale: inputs.list(`${weight}_scale`)[index],
    secondScale: inputs.list(`${weight}_scale_2`)[index],
  });
}

function fusedMoe({ inputs, attrs }: CpuCall<"fused_moe">): HostTensor[] {
  return [mixExperts(inputs, attrs, stackedExperts(inputs, attrs))];
}

/** Experts of stacked weights: rows 0..I-1 of `w_up` are up, rows I..2I-1 gate (plain: all gate). */
function stackedExperts(inputs: CpuInputs, attrs: AttrsOf<"fused_moe">): Experts {
  const { experts, hidden, intermediate, mlp, format, block } = attrs;
  const gated = mlp === "gated";
  const upRows = intermediate * (gated ? 2 : 1);
  const rowsOf = (name: string, matrices: number, rows: number, columns: number) =>
    stackedRows({
      format,
      block,
      matrices,
      rows,
      columns,
      payload: inputs.get(name),
      scale: inputs.maybe(`${name}_scale`),
      secondScale: inputs.maybe(`${name}_scale_2`),
    });
  // Up and gate rows are matrices of their own: each has its scales.
  const up = rowsOf("w_up", experts * (gated ? 2 : 1), intermediate, hidden);
  const down = rowsOf("w_down", experts, hidden, intermediate);
  const [upBias, downBias] = ["b_up", "b_down"].map((name) => {
    const bias = inputs.maybe(name);
    return bias && floats(bias);
  });
  const matrix = (rows: RowReader, first: number, count: number, bias?: Floats): Projection => ({
    rows,
    first,
    count,
    bias: bias && { values: bias, start: first },
  });
  const rounding = (name: string, columns: number, index: number) =>
    expertRounding(attrs, columns, { name, tensor: inputs.maybe(name), index });
  return {
    count: experts,
    expert(index) {
      const first = index * upRows;
      const round = rounding("x_scale", hidden, index);
      return {
        gate: { ...matrix(up, first + (gated ? intermediate : 0), intermediate, upBias), round },
        up: gated ? { ...matrix(up, first, intermediate, upBias), round } : undefined,
        down: {
          ...matrix(down, index * hidden, hidden, downBias),
          round: rounding("act_scale", intermediate, index),
        },
      };
    },
  };
}

/** MoE kernels by op. */
export const MOE_KERNELS = cpuKernels({
  moe_router: moeRouter,
  sparse_mixer: sparseMixer,
  moe,
  fused_moe: fusedMoe,
});
