/**
 * Sums over the invocations that share a weight row.
 *
 * @module
 */

import type { Access } from "../access/access.ts";
import laneSumSubgroup from "./lane_sum_subgroup.wgsl" with { type: "text" };
import laneSumWorkgroup from "./lane_sum_workgroup.wgsl" with { type: "text" };
import type { DeviceMoeSpec } from "../moe/spec.ts";

/** `lane_sum(vec4, index)` over `lanes` neighbours: by subgroup when all are surely in one. */
export function laneSum({ profile }: DeviceMoeSpec, lanes: number): Access {
  const subgroup = profile.subgroups && lanes <= profile.subgroupSize;
  const text = subgroup ? laneSumSubgroup : laneSumWorkgroup;
  return { buffers: [], fragments: [text], constants: {} };
}
