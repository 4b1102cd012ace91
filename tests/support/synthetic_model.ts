/**
 * Model folders with weights of zeros and any number of layers and experts.
 *
 * @module
 */

/** Sizes of a Qwen3-MoE model. */
export interface SyntheticSizes {
  readonly layers: number;
  readonly experts: number;
  readonly topK: number;
  readonly hidden: number;
  readonly intermediate: number;
  readonly vocabulary: number;
}

const HEAD_DIM = 8;
const HEADS = 4;
const KV_HEADS = 2;

/** Writes `config.json` and `model.safetensors` of a Qwen3-MoE model. */
export async function writeSyntheticModel(folder: string, sizes: SyntheticSizes): Promise<void> {
  const { layers, experts, topK, hidden, intermediate, vocabulary } = sizes;
  const config = {
    architectures: ["Qwen3MoeForCausalLM"],
    model_type: "qwen3_moe",
    hidden_act: "silu",
    hidden_size: hidden,
    intermediate_size: intermediate,
    moe_intermediate_size: intermediate,
    num_attention_heads: HEADS,
    num_key_value_heads: KV_HEADS,
    head_dim: HEAD_DIM,
    num_hidden_layers: layers,
    num_experts: experts,
    num_experts_per_tok: topK,
    norm_topk_prob: true,
    max_position_embeddings: 512,
    rms_norm_eps: 1e-6,
    rope_theta: 10000,
    tie_word_embeddings: false,
    vocab_size: vocabulary,
    eos_token_id: 2,
    torch_dtype: "bfloat16",
  };
  await Deno.writeTextFile(`${folder}/config.json`, JSON.stringify(config));
  const header: Record<string, { dtype: "BF16"; shape: number[]; data_offsets: number[] }> = {};
  let offset = 0;
  for (const [name, shape] of tensorShapes(sizes)) {
    const end = offset + 2 * shape.reduce((product, size) => product * size, 1);
    header[name] = { dtype: "BF16", shape, data_offsets: [offset, end] };
    offset = end;
  }
  const text = new TextEncoder().encode(JSON.stringify(header));
  const bytes = new Uint8Array(8 + text.length + offset);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(text.length), true);
  bytes.set(text, 8);
  await Deno.writeFile(`${folder}/model.safetensors`, bytes);
}

function* tensorShapes(sizes: SyntheticSizes): Generator<[string, number[]]> {
  const { layers, experts, hidden, intermediate, vocabulary } = sizes;
  yield ["model.embed_tokens.weight", [vocabulary, hidden]];
  for (let layer = 0; layer < layers; layer++) {
    const at = `model.layers.${layer}`;
    yield [`${at}.input_layernorm.weight`, [hidden]];
    yield [`${at}.post_attention_layernorm.weight`, [hidden]];
    yield [`${at}.self_attn.q_proj.weight`, [HEADS * HEAD_DIM, hidden]];
    yield [`${at}.self_attn.k_proj.weight`, [KV_HEADS * HEAD_DIM, hidden]];
    yield [`${at}.self_attn.v_proj.weight`, [KV_HEADS * HEAD_DIM, hidden]];
    yield [`${at}.self_attn.o_proj.weight`, [hidden, HEADS * HEAD_DIM]];
    yield [`${at}.self_attn.q_norm.weight`, [HEAD_DIM]];
    yield [`${at}.self_attn.k_norm.weight`, [HEAD_DIM]];
    yield [`${at}.mlp.gate.weight`, [experts, hidden]];
    for (let e = 0; e < experts; e++) {
      yield [`${at}.mlp.experts.${e}.gate_proj.weight`, [intermediate, hidden]];
      yield [`${at}.mlp.experts.${e}.up_proj.weight`, [intermediate, hidden]];
      yield [`${at}.mlp.experts.${e}.down_proj.weight`, [hidden, intermediate]];
    }
  }
  yield ["model.norm.weight", [hidden]];
  yield ["lm_head.weight", [vocabulary, hidden]];
}
