/**
 * Sums over the invocations that share a weight row.
 *
 * @module
 */

import { type Access, fragments } from "../access/access.ts";
import type { DeviceProfile } from "../kernel.ts";
import laneSumSubgroup from "./lane_sum_subgroup.wgsl" with { type: "text" };
import laneSumWorkgroup from "./lane_sum_workgroup.wgsl" with { type: "text" };

/** `lane_sum(vec4, index)` over `lanes` neighbours: by subgroup when all are surely in one. */
export function laneSum(
  profile: Pick<DeviceProfile, "subgroups" | "subgroupSize">,
  lanes: number,
): Access {
  const subgroup = profile.subgroups && lanes <= profile.subgroupSize;
  return fragments(subgroup ? laneSumSubgroup : laneSumWorkgroup);
}
