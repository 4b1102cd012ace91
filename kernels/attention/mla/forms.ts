/**
 * Which form each sequence of a step takes: the plan that is made on the device, where positions are.
 *
 * @module
 */

import { input } from "../../../graph/mod.ts";
import {
  type Access,
  binds,
  constants,
  fragments,
  joinAccess,
  reads,
  writes,
} from "../../access/access.ts";
import { STEP } from "../../access/extent.ts";
import { f32Literal } from "../../compose.ts";
import { composeDispatch } from "../../dispatch.ts";
import type { Dispatch, Scratch } from "../../kernel.ts";
import absorbedOnly from "./absorbed_only.wgsl" with { type: "text" };
import planBody from "./plan.wgsl" with { type: "text" };
import planned from "./planned.wgsl" with { type: "text" };
import type { Expansion, MlaProblem } from "./problem.ts";
import stretchText from "./stretch.wgsl" with { type: "text" };

const INVOCATIONS = 256;
/** The place of what is not expanded. */
const NOT_EXPANDED = constants({ NOT_EXPANDED: 2 ** 32 - 1 });

/** Two counts, and two numbers for every sequence. */
function planOf({ slots }: Expansion): Scratch {
  return { kind: "scratch", name: "plan", bytes: 4 * (2 + 2 * slots) };
}

/** Words of a stretch: bindings begin at multiples of 256 bytes. */
const STRETCH_WORDS = 64;

function stretchesOf({ stretches }: Expansion): Scratch {
  return { kind: "scratch", name: "stretches", bytes: 4 * STRETCH_WORDS * stretches };
}

/** Which tokens a stretch has: `stretch_first` and `stretch_rows`. */
export function stretchAccess(expansion: Expansion, stretch: number): Access {
  const range = { offset: 4 * STRETCH_WORDS * stretch, bytes: 16 };
  return joinAccess(
    binds({
      ...{ name: "stretch", type: "array<u32>", access: "read", range },
      buffer: stretchesOf(expansion),
    }),
    fragments(stretchText),
  );
}

/** The plan with `is_expanded` and `first_place`. */
export function plannedAccess(expansion: Expansion): Access {
  return joinAccess(reads("plan", "u32", planOf(expansion)), NOT_EXPANDED, fragments(planned));
}

/** `is_expanded`, for kernels of the absorbed form. */
export function formAccess(expansion: Expansion | undefined): Access {
  return expansion ? plannedAccess(expansion) : fragments(absorbedOnly);
}

/** Decides for the sequences of a step. */
export function planDispatch({ node, context }: MlaProblem, expansion: Expansion): Dispatch {
  const { slots, rows, stretches, least, perToken, perPair } = expansion;
  const results = context.tokens.max * node.attrs.heads;
  return composeDispatch({
    kernel: "mla_plan",
    accesses: [
      ...["positions", "sequence_ids"].map((name) => reads(name, "i32", input(node, name))),
      STEP,
      writes("plan", "u32", planOf(expansion)),
      writes("stretches", "u32", stretchesOf(expansion)),
      NOT_EXPANDED,
      constants({
        INVOCATIONS: Math.min(INVOCATIONS, context.profile.maxInvocations),
        SLOTS: slots,
        ...{ STRETCHES: stretches, STRETCH_ROWS: rows, STRETCH_WORDS, RESULTS: results },
        LEAST: least,
        PER_TOKEN: f32Literal(perToken),
        PER_PAIR: f32Literal(perPair),
      }),
    ],
    body: planBody,
    workgroups: () => [1, 1, 1],
  });
}
