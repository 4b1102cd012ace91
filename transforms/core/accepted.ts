/**
 * Fields of AutoDeploy's files that are read and change nothing here: their description says so, and
 * why, and whoever sets one is told.
 *
 * @module
 */

import type { z } from "../../deps/zod.ts";

const ACCEPTED = "Accepted for AutoDeploy's files";

/** The description of such a field. */
export function accepted(why?: string): string {
  return why === undefined ? ACCEPTED : `${ACCEPTED}; ${why}`;
}

/** Why a field changes nothing; undefined for one that does. */
export function whyWithoutEffect({ description }: z.ZodType): string | undefined {
  if (!description?.startsWith(ACCEPTED)) return undefined;
  return description.slice(ACCEPTED.length).replace(/^; /, "") ||
    "AutoDeploy's meaning does not exist here";
}
