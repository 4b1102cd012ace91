/**
 * The module that `tests/run.ts` gives to `deno test`: it imports what the environment names. The
 * types of all that have been checked, or are not asked for.
 *
 * @module
 */

import { defineExamples } from "./doc_examples.ts";
import { GROUP_VARIABLE, isTest } from "./groups.ts";

const paths: string[] = JSON.parse(Deno.env.get(GROUP_VARIABLE) ?? "[]");
for (const path of paths) {
  const url = new URL(`../${path}`, import.meta.url);
  if (isTest(path)) await import(url.href);
  else defineExamples(path, url);
}
