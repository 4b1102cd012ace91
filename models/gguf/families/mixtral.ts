import { CheckpointError } from "../../../graph/mod.ts";
import { defineGgufFamily } from "../gguf_family.ts";

/** Mixtral, which is Llama with experts to llama.cpp. */
export const mixtral = defineGgufFamily({
  architectures: ["llama"],
  hfName: "MixtralForCausalLM",
  modelType: "mixtral",
  config(metadata, { has }) {
    refuseOthers(metadata.path, metadata.optionalNumber("expert_count") ?? 0, has);
    return {
      intermediate_size: metadata.number("feed_forward_length"),
      sliding_window: metadata.optionalNumber("attention.sliding_window") || undefined,
    };
  },
  layerModules: { ffn_gate_inp: "block_sparse_moe.gate" },
  experts: { module: "block_sparse_moe.experts", names: { gate: "w1", up: "w3", down: "w2" } },
  interleavesHeads: true,
});

/** Dense models, and those whose frequencies are scaled in a tensor, are called llama too. */
function refuseOthers(path: string, experts: number, has: (tensor: string) => boolean): void {
  const scaled = has("rope_freqs.weight");
  if (experts > 0 && !scaled) return;
  throw new CheckpointError(
    "checkpoint/architecture",
    `Cannot use the model of "${path}": expected a mixture of experts such as Mixtral, got ${
      scaled ? "one with frequencies of RoPE in a tensor" : "a dense Llama"
    }`,
    {
      hint: "Choose a mixture of experts; docs/checkpoints.md lists the families",
      details: { path },
    },
  );
}
