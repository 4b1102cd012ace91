/**
 * Checked reading of the objects that describe quantization.
 *
 * @module
 */

import type { z } from "../../deps/zod.ts";
import { CheckpointError } from "../../graph/mod.ts";
import { expectationOf } from "../config/expectation.ts";
import type { QuantizationSource } from "./quantization.ts";

const HINT =
  "See docs/checkpoints.md for what is read; of other checkpoints take the unquantized one and add quantize_moe";

/** The part through a schema; the error names the key, what was expected, and what was found. */
export function parseSource<Schema extends z.ZodType>(
  schema: Schema,
  from: QuantizationSource,
): z.output<Schema> {
  const parsed = schema.safeParse(from.value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const got = issue.path.reduce<unknown>(
    (of, key) => typeof of === "object" && of !== null ? Reflect.get(of, key) : undefined,
    from.value,
  );
  throw sourceError(from, issue.path.join("."), expectationOf(issue), got);
}

/** A key of the part has a value that is not read. */
export function sourceError(
  { folder, source }: QuantizationSource,
  key: string,
  expected: string,
  got: unknown,
  hint = HINT,
): CheckpointError {
  const what = key === "" ? "" : ` for ${key}`;
  return new CheckpointError(
    "checkpoint/quantization",
    `Cannot read ${source} of "${folder}": expected ${expected}${what}, got ${describe(got)}`,
    { hint, details: { source, folder, key } },
  );
}

const LONGEST = 120;

function describe(value: unknown): string {
  const text = JSON.stringify(value) ?? "none";
  return text.length > LONGEST ? `${text.slice(0, LONGEST)} …` : text;
}
