/**
 * How the invocations of a workgroup add up: with subgroup operations where the device has them,
 * and through workgroup memory otherwise.
 *
 * @module
 */

import { type Access, fragments } from "../access/access.ts";
import { instantiate } from "../compose.ts";
import type { DeviceProfile } from "../kernel.ts";
import invocationSubgroup from "./invocation_subgroup.wgsl" with { type: "text" };
import invocationWorkgroup from "./invocation_workgroup.wgsl" with { type: "text" };
import reduceSubgroup from "./reduce_subgroup.wgsl" with { type: "text" };
import reduceWorkgroup from "./reduce_workgroup.wgsl" with { type: "text" };

/** What is combined, and how. */
export interface Reduction {
  /** Prefix of the functions: `sum_share`, `sum_join`, `sum_result`. */
  readonly name: string;
  /** Numbers combined at once: a number, or the name of a constant. */
  readonly slots: number | string;
  readonly operation: "add" | "max";
}

const OPERATIONS = {
  add: { SUBGROUP: "subgroupAdd", COMBINE: "add" },
  max: { SUBGROUP: "subgroupMax", COMBINE: "max" },
} as const;

/**
 * `struct Invocation`, the entry point's parameter, and for each reduction three functions:
 * `name_share` takes an invocation's share of a number, `name_join` waits for all, `name_result`
 * gives the number.
 */
export function reductionAccess(
  profile: Pick<DeviceProfile, "subgroups" | "subgroupSize">,
  reductions: readonly Reduction[],
): Access {
  const reduce = profile.subgroups ? reduceSubgroup : reduceWorkgroup;
  return fragments(
    profile.subgroups
      ? instantiate(invocationSubgroup, { SMALLEST: String(smallestSubgroup(profile)) })
      : invocationWorkgroup,
    "fn add(a: f32, b: f32) -> f32 {\n  return a + b;\n}",
    ...reductions.map(({ name, slots, operation }) =>
      instantiate(reduce, {
        NAME: name,
        SLOTS: typeof slots === "number" ? `${slots}u` : slots,
        ...OPERATIONS[operation],
      })
    ),
  );
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
