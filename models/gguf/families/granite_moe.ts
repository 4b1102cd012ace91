import { CheckpointError } from "../../../graph/mod.ts";
import { defineGgufFamily } from "../gguf_family.ts";

/** Granite 3.x MoE. */
export const graniteMoe = defineGgufFamily({
  architectures: ["granitemoe"],
  hfName: "GraniteMoeForCausalLM",
  modelType: "granitemoe",
  config: (metadata, { has }) => ({
    ...(has("blk.0.ffn_gate_shexp.weight") ? refuseShared(metadata.path) : {}),
    num_local_experts: metadata.number("expert_count"),
    num_experts: undefined,
    intermediate_size: metadata.number("feed_forward_length"),
    attention_bias: has("blk.0.attn_q.bias"),
    attention_multiplier: metadata.number("attention.scale"),
    embedding_multiplier: metadata.number("embedding_scale"),
    residual_multiplier: metadata.number("residual_scale"),
    logits_scaling: metadata.number("logit_scale"),
  }),
  layerModules: { ffn_gate_inp: "block_sparse_moe.router.layer" },
  experts: {
    module: "block_sparse_moe.experts",
    names: { gate: "gate_proj", up: "up_proj", down: "down_proj" },
  },
  interleavesHeads: true,
});

/** The hub's form keeps gate and up of the shared MLP in one matrix. */
function refuseShared(path: string): never {
  throw new CheckpointError(
    "checkpoint/architecture",
    `Cannot use the model of "${path}": expected Granite without a shared MLP, got one with it`,
    { hint: "Take the model's safetensors", details: { path } },
  );
}
