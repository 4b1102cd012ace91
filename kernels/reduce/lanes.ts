/**
 * How the invocations of a workgroup add up: with subgroup operations where the device has them,
 * and through workgroup memory otherwise.
 *
 * @module
 */

import { instantiate } from "../compose.ts";
import type { DeviceProfile } from "../kernel.ts";
import lanesSubgroup from "./lanes_subgroup.wgsl" with { type: "text" };
import lanesWorkgroup from "./lanes_workgroup.wgsl" with { type: "text" };
import reduceSubgroup from "./reduce_subgroup.wgsl" with { type: "text" };
import reduceWorkgroup from "./reduce_workgroup.wgsl" with { type: "text" };

/** What is combined, and how. */
export interface Reduction {
  /** Prefix of the functions: `sum_put`, `sum_meet`, `sum_get`. */
  readonly name: string;
  /** Numbers combined at once: a number, or the name of a constant. */
  readonly slots: number | string;
  readonly operation: "add" | "max";
}

const OPERATIONS = {
  add: { SUBGROUP: "subgroupAdd", COMBINE: "lanes_add" },
  max: { SUBGROUP: "subgroupMax", COMBINE: "max" },
} as const;

/** `struct Lanes`, the entry point's parameter, and the functions of each reduction. */
export function laneFragments(
  profile: Pick<DeviceProfile, "subgroups" | "subgroupSize">,
  reductions: readonly Reduction[],
): string[] {
  const reduce = profile.subgroups ? reduceSubgroup : reduceWorkgroup;
  return [
    profile.subgroups
      ? instantiate(lanesSubgroup, { SMALLEST: String(smallestSubgroup(profile)) })
      : lanesWorkgroup,
    "fn lanes_add(a: f32, b: f32) -> f32 {\n  return a + b;\n}",
    ...reductions.map(({ name, slots, operation }) =>
      instantiate(reduce, {
        NAME: name,
        SLOTS: typeof slots === "number" ? `${slots}u` : slots,
        ...OPERATIONS[operation],
      })
    ),
  ];
}

/** Numbers of workgroup memory that a reduction takes for each of its slots. */
export function sharesOfSlot(
  profile: Pick<DeviceProfile, "subgroups" | "subgroupSize">,
  threads: number,
): number {
  return profile.subgroups ? Math.max(1, Math.floor(threads / smallestSubgroup(profile))) : threads;
}

/** Compilers may choose other sizes than the measured one, but no GPU goes below 8. */
function smallestSubgroup({ subgroupSize }: Pick<DeviceProfile, "subgroupSize">): number {
  return Math.min(8, Math.max(4, subgroupSize));
}

/** Invocations of a workgroup that is one subgroup where that is wide enough, and 32 otherwise. */
export function narrowWorkgroup(profile: DeviceProfile): number {
  const { subgroupSize } = profile;
  return subgroupSize >= 32 && subgroupSize <= 128 ? subgroupSize : 32;
}
