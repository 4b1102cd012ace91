/**
 * What a schema expects, in words, for errors about the files of a model.
 *
 * @module
 */

import type { z } from "../../deps/zod.ts";

/** What would have satisfied the schema where this issue is. */
export function expectationOf(issue: z.core.$ZodIssue): string {
  switch (issue.code) {
    case "invalid_value":
      return issue.values.map((value) => JSON.stringify(value)).join(" or ");
    case "invalid_type":
      return `a value of type ${issue.expected}`;
    case "not_multiple_of":
      return `a multiple of ${issue.divisor}`;
    case "too_small":
      return `${issue.inclusive ? "at least" : "more than"} ${issue.minimum}`;
    case "too_big":
      return `${issue.inclusive ? "at most" : "less than"} ${issue.maximum}`;
    default:
      return issue.message;
  }
}
