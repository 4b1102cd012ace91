/**
 * Masks, rotary embeddings and attention on the CPU.
 *
 * @module
 */

import type { HostTensor } from "../../graph/mod.ts";
import { cachedAttention } from "./cached_attention.ts";
import { attend, firstSeen, type Sight, turnHead } from "./head.ts";
import { type CpuCall, cpuKernels } from "./kernel.ts";
import { cachedMlaAttention } from "./mla_attention.ts";
import { f32Tensor, floats, integers } from "./numbers.ts";

/** Whether a token at position `query` sees the one at position `key`. */
function sees(query: number, key: number, sight: Sight): boolean {
  return key <= query && key >= firstSeen(query, sight);
}

function attentionMask({ inputs, attrs }: CpuCall<"attention_mask">): HostTensor[] {
  const positions = integers(inputs.get("positions"));
  const tokens = positions.length;
  const mask = new Float32Array(tokens * tokens);
  for (let i = 0; i < tokens; i++) {
    for (let j = 0; j < tokens; j++) {
      if (!sees(positions[i], positions[j], attrs)) mask[i * tokens + j] = -Infinity;
    }
  }
  return [f32Tensor([tokens, tokens], mask)];
}

function rope({ inputs, attrs }: CpuCall<"rope">): HostTensor[] {
  const x = inputs.get("x");
  const [positions, invFreq] = [integers(inputs.get("positions")), floats(inputs.get("inv_freq"))];
  const width = x.shape[x.shape.length - 1];
  const result = floats(x).slice();
  for (let row = 0; row < result.length / width; row++) {
    turnHead(result, row * width, positions[row % positions.length], invFreq, attrs);
  }
  return [f32Tensor(x.shape, result)];
}

function sequenceLengths({ inputs }: CpuCall<"sequence_lengths">): HostTensor[] {
  const positions = integers(inputs.get("positions"));
  const ids = integers(inputs.get("sequence_ids"));
  const ends = new Map<number, number>();
  ids.forEach((id, token) => ends.set(id, Math.max(ends.get(id) ?? 0, positions[token] + 1)));
  const data = ids.map((id) => ends.get(id) ?? 0);
  return [{ dtype: "i32", shape: [ids.length], data }];
}

function dynamicRope({ inputs, attrs }: CpuCall<"dynamic_rope">): HostTensor[] {
  const { factor, maxPositions, rotaryDim } = attrs;
  const x = inputs.get("x");
  const [positions, lengths] = [inputs.get("positions"), inputs.get("lengths")].map(integers);
  const base = floats(inputs.get("inv_freq"));
  const width = x.shape[x.shape.length - 1];
  const result = floats(x).slice();
  for (let row = 0; row < result.length / width; row++) {
    const token = row % positions.length;
    const growth = Math.max(1, factor * lengths[token] / maxPositions - (factor - 1));
    // One pair has frequency 1 whatever the base.
    const frequencies = base.map((each, i) =>
      i === 0 ? each : each * growth ** (-2 * i / (rotaryDim - 2))
    );
    turnHead(result, row * width, positions[token], frequencies, attrs);
  }
  return [f32Tensor(x.shape, result)];
}

function attention({ inputs, attrs }: CpuCall<"attention">): HostTensor[] {
  const [q, k, v] = [inputs.get("q"), inputs.get("k"), inputs.get("v")];
  const positions = integers(inputs.get("positions"));
  const sinks = inputs.maybe("sinks");
  const [heads, tokens, keyDim] = q.shape;
  const group = heads / k.shape[0];
  const valueDim = v.shape[2];
  const [queries, keys, values] = [floats(q), floats(k), floats(v)];
  const out = new Float32Array(heads * tokens * valueDim);
  const caches = Array.from({ length: k.shape[0] }, (_, kv) => ({
    keys: keys.subarray(kv * tokens * keyDim, (kv + 1) * tokens * keyDim),
    values: values.subarray(kv * tokens * valueDim, (kv + 1) * tokens * valueDim),
    keyDim,
    valueDim,
  }));
  const rows = Array.from(positions.keys());
  for (let t = 0; t < tokens; t++) {
    const seen = rows.filter((row) => sees(positions[t], positions[row], attrs));
    for (let h = 0; h < heads; h++) {
      const row = h * tokens + t;
      const sink = sinks && floats(sinks)[h];
      const query = { values: queries, start: row * keyDim, scale: attrs.scale, sink };
      attend(query, caches[Math.floor(h / group)], seen, out, row * valueDim);
    }
  }
  return [f32Tensor([heads, tokens, valueDim], out)];
}

/** Attention kernels by op. */
export const ATTENTION_KERNELS = cpuKernels({
  attention_mask: attentionMask,
  rope,
  sequence_lengths: sequenceLengths,
  dynamic_rope: dynamicRope,
  attention,
  cached_attention: cachedAttention,
  cached_mla_attention: cachedMlaAttention,
});
