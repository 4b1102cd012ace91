import type { Dispatch } from "../../../kernels/kernel.ts";
import { CONFIGS } from "../../support/moe_configs.ts";
import { GPU_PROFILE } from "../../support/gpu_profile.ts";
import { type LayerOptions, lowerWith, moeLayer } from "../../support/moe_layer.ts";
import { buildNode } from "../../support/op_case.ts";
import { assertSnapshot } from "../../support/snapshot.ts";

type ConfigName = keyof typeof CONFIGS;

/** One layer for every algorithm, and one for each further thing that changes a shader's text. */
const SPECIALIZATIONS: readonly (readonly [string, ConfigName, LayerOptions])[] = [
  ["slots", "slots", { bias: true, residual: true }],
  ["slots_plain_f32_routing_on_input", "slots", {
    ...{ mlp: "plain", activation: "relu2", dtype: "f32", applyRoutingOnInput: true },
  }],
  ["slots_odd_f16", "slots", { hidden: 37, intermediate: 19, dtype: "f16", activation: "gelu" }],
  ["experts", "experts", { bias: true, residual: true, activation: "swiglu_oai" }],
  ["grouped", "grouped", { bias: true, residual: true }],
  ["grouped_f16_operands", "grouped", { activation: "gelu_tanh", operands: "f16" }],
  ["skinny", "skinny", { bias: true, activation: "swiglu_oai" }],
  ["direct", "direct", { activation: "gelu_tanh" }],
  ["permuted", "permuted", { residual: true, applyRoutingOnInput: true }],
];

/** The shaders of a layer on a device with subgroups of 8. */
function lower(config: ConfigName, options: LayerOptions): readonly Dispatch[] {
  const { node } = buildNode(moeLayer(options));
  return lowerWith(CONFIGS[config])(node, {
    profile: { ...GPU_PROFILE, subgroupSize: 8 },
    tokens: { min: 1, max: 16 },
    maxRows: 1,
    pageSize: 16,
    cacheDtype: () => "f32",
    note() {},
  });
}

for (const [name, config, options] of SPECIALIZATIONS) {
  Deno.test(`the WGSL of MoE layer ${name} is the one on record`, async () => {
    for (const [i, { kernel, wgsl }] of lower(config, options).entries()) {
      const file = new URL(`../../golden/wgsl/moe_${name}.${i}.${kernel}.wgsl`, import.meta.url);
      await assertSnapshot(file, wgsl);
    }
  });
}
