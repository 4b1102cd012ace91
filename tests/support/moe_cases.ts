/**
 * The golden MoE layers of tests/golden/kernels, as inputs of `moe` and of `fused_moe`.
 *
 * @module
 */

import { type FusedMoeAttrs, type HostTensor, invariant, type MoeAttrs } from "../../graph/mod.ts";
import { readSafetensors } from "./safetensors.ts";

/** What moe_cases.json says of a case. */
interface CaseFacts {
  readonly name: string;
  readonly activation: MoeAttrs["activation"];
  readonly gated: boolean;
  readonly apply_routing_on_input: boolean;
  readonly M: number;
  readonly E: number;
  readonly top_k: number;
  readonly hidden: number;
  readonly intermediate: number;
  readonly routing: string;
}

/** One MoE layer with the result that PyTorch computed in float64. */
export interface MoeCase {
  readonly facts: CaseFacts;
  /** `c012: silu, T=65 E=8 K=2, random`. */
  readonly title: string;
  readonly attrs: MoeAttrs;
  /** A tensor of the case: `w1`, `expected`, and so on. */
  tensor(name: string): HostTensor | undefined;
}

/** Cases of a folder that holds moe_cases.json and moe_cases.safetensors. */
export async function readMoeCases(
  folder: URL = new URL("../golden/kernels/", import.meta.url),
): Promise<readonly MoeCase[]> {
  const tensors = await readSafetensors(new URL("moe_cases.safetensors", folder));
  const { cases }: { cases: CaseFacts[] } = JSON.parse(
    await Deno.readTextFile(new URL("moe_cases.json", folder)),
  );
  return cases.map((facts) => ({
    facts,
    title: `${facts.name}: ${facts.activation}, T=${facts.M} E=${facts.E} K=${facts.top_k}, ` +
      `${facts.routing}${facts.apply_routing_on_input ? ", routing on input" : ""}`,
    attrs: {
      mlp: facts.gated ? "gated" : "plain",
      activation: facts.activation,
      applyRoutingOnInput: facts.apply_routing_on_input,
    },
    tensor: (name) => tensors.get(`${facts.name}.${name}`),
  }));
}

/** The inputs that `moe` and `fused_moe` share. */
function sharedInputs(
  given: MoeCase,
): Record<"x" | "selected_experts" | "routing_weights", HostTensor> {
  const selected = required(given, "selected_experts");
  return {
    x: asF32(required(given, "hidden_states")),
    selected_experts: {
      dtype: "i32",
      shape: selected.shape,
      data: Int32Array.from(selected.data as BigInt64Array, Number),
    },
    routing_weights: required(given, "routing_weights"),
  };
}

/** Inputs of `moe`: one weight for every expert. */
export function eagerInputs(given: MoeCase): Record<string, HostTensor | HostTensor[]> {
  const lists: Record<string, HostTensor[]> = {};
  for (const name of ["w1", "w2", "w3", "b1", "b2", "b3"]) {
    const stacked = given.tensor(name);
    if (!stacked) continue;
    const experts = Array.from({ length: given.facts.E }, (_, e) => expertOf(stacked, e));
    lists[name] = name.startsWith("b") ? experts.map(asF32) : experts;
  }
  return { ...sharedInputs(given), ...lists };
}

/** Inputs of `fused_moe`: rows of w3 and w1 of each expert side by side. */
export function fusedInputs(given: MoeCase): Record<string, HostTensor> {
  const inputs: Record<string, HostTensor> = {
    ...sharedInputs(given),
    w_up: upAndGate(given, "w3", "w1"),
    w_down: required(given, "w2"),
  };
  if (given.tensor("b1")) {
    inputs.b_up = asF32(upAndGate(given, "b3", "b1"));
    inputs.b_down = asF32(required(given, "b2"));
  }
  return inputs;
}

/** Attributes of `fused_moe` for a case. */
export function fusedAttrs({ attrs, facts }: MoeCase, backend = "reference"): FusedMoeAttrs {
  const { E: experts, top_k: topK, hidden, intermediate } = facts;
  return {
    ...attrs,
    ...{ backend, experts, topK, hidden, intermediate },
    ...{ format: "bf16", activationQuant: "none" },
  };
}

function upAndGate(given: MoeCase, upName: string, gateName: string): HostTensor {
  const gate = required(given, gateName);
  const up = given.tensor(upName);
  if (!up) return gate;
  const parts = Array.from(
    { length: given.facts.E },
    (_, e) => [expertOf(up, e), expertOf(gate, e)],
  );
  const data = Uint16Array.from(parts.flat().flatMap((part) => [...part.data as Uint16Array]));
  return { dtype: gate.dtype, shape: gate.shape.with(1, 2 * gate.shape[1]), data };
}

function expertOf({ dtype, shape, data }: HostTensor, expert: number): HostTensor {
  const size = data.length / shape[0];
  const part = (data as Uint16Array<ArrayBuffer>).slice(expert * size, (expert + 1) * size);
  return { dtype, shape: shape.slice(1), data: part };
}

function asF32({ dtype, shape, data }: HostTensor): HostTensor {
  invariant(dtype === "bf16", `expected bf16, got ${dtype}`);
  const bits = Uint32Array.from(data as Uint16Array, (half) => half << 16);
  return { dtype: "f32", shape, data: new Float32Array(bits.buffer) };
}

function required(given: MoeCase, name: string): HostTensor {
  const found = given.tensor(name);
  invariant(found, `case ${given.facts.name} has no tensor ${name}`);
  return found;
}
