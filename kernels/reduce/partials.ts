/**
 * Partial results on their way from the workgroups that make them to the one that combines them:
 * `store_partial(at, value)`, `load_partial(at)` and `take_ticket(i, count)`.
 *
 * @module
 */

import { type Access, fragments, joinAccess, writes } from "../access/access.ts";
import partialsDispatch from "./partials_dispatch.wgsl" with { type: "text" };
import partialsNone from "./partials_none.wgsl" with { type: "text" };
import partialsTicket from "./partials_ticket.wgsl" with { type: "text" };

/** The memory of partial results. */
export interface Partials {
  /** Name of the scratch. */
  readonly name: string;
  readonly numbers: number;
}

/** One workgroup does everything. */
export function noPartials(): Access {
  return fragments(partialsNone);
}

/** A second dispatch combines them. */
export function dispatchPartials({ name, numbers }: Partials): Access {
  return joinAccess(
    writes("partials", "f32", { kind: "scratch", name, bytes: numbers * 4 }),
    fragments(partialsDispatch),
  );
}

/** The last workgroup to arrive, told by one of `tickets` counters, combines them. */
export function ticketPartials(
  { name, numbers, tickets }: Partials & { readonly tickets: number },
): Access {
  return joinAccess(
    writes("partials", "atomic<u32>", { kind: "scratch", name, bytes: numbers * 4 }),
    writes("tickets", "atomic<u32>", {
      kind: "scratch",
      name: "tickets",
      bytes: tickets * 4,
      tickets: true,
    }),
    fragments(partialsTicket),
  );
}
