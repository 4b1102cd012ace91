/**
 * What to do about an op that no WebGPU kernel runs: which transform would have removed it.
 *
 * @module
 */

import type { Node, OpName } from "../../../graph/mod.ts";

/** Transforms after which an op is gone from the graph. */
const REMOVED_BY: Partial<Record<OpName, readonly string[]>> = {
  moe: ["fuse_moe"],
  one_hot: ["match_moe_pattern", "fuse_moe"],
  where: ["match_moe_pattern", "fuse_moe"],
  index: ["match_moe_pattern", "fuse_moe"],
  index_add: ["match_moe_pattern", "fuse_moe"],
  select: ["match_moe_pattern", "fuse_moe"],
  zeros_like: ["match_moe_pattern", "fuse_moe"],
  topk: ["match_router_pattern"],
  softmax: ["match_eager_attention", "match_router_pattern"],
  attention: ["insert_cached_attention"],
  attention_mask: ["match_eager_attention", "insert_cached_attention"],
  rope: ["insert_cached_attention"],
  repeat_kv: ["match_repeat_kv", "match_grouped_attention"],
  matmul: ["match_eager_attention"],
  pow: ["match_rmsnorm_pattern"],
  mean: ["match_rmsnorm_pattern"],
  rsqrt: ["match_rmsnorm_pattern"],
  cos: ["match_rope_pattern"],
  sin: ["match_rope_pattern"],
  neg: ["match_rope_pattern"],
  transpose: ["insert_cached_attention"],
};

/** The hint of the error that names the node. */
export function missingKernelHint(node: Node): string {
  const transforms = REMOVED_BY[node.op];
  const elsewhere = "use --executor cpu, which runs every op";
  if (!transforms) return `Disable the transform that made the op, or ${elsewhere}`;
  return `Enable ${transforms.join(" and ")}, which ${
    transforms.length > 1 ? "remove" : "removes"
  } this op, or ${elsewhere}`;
}
