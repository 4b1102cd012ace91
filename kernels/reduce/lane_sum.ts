/**
 * Sums over the invocations that share a weight row.
 *
 * @module
 */

import { type Access, fragments } from "../access/access.ts";
import type { DeviceProfile } from "../kernel.ts";
import laneSumSubgroup from "./lane_sum_subgroup.wgsl" with { type: "text" };
import laneSumWorkgroup from "./lane_sum_workgroup.wgsl" with { type: "text" };

/** Invocations that are surely in one subgroup: Intel compiles for 8, 16 or 32 as it sees fit. */
export function sureSubgroup(
  { subgroups, subgroupSize, vendor }: Pick<DeviceProfile, "subgroups" | "subgroupSize" | "vendor">,
): number {
  if (!subgroups) return 1;
  const most = /intel/i.test(vendor) ? 8 : 32;
  return Math.min(most, 2 ** Math.floor(Math.log2(subgroupSize)));
}

/** `lane_sum(vec4, index)` over `lanes` neighbours: by subgroup when all are surely in one. */
export function laneSum(
  profile: Pick<DeviceProfile, "subgroups" | "subgroupSize">,
  lanes: number,
): Access {
  const subgroup = profile.subgroups && lanes <= profile.subgroupSize;
  return fragments(subgroup ? laneSumSubgroup : laneSumWorkgroup);
}
