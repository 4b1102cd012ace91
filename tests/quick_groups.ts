/**
 * Which groups share a process in a quick run: without a device each takes seconds, of which loading
 * this project and compiling its JavaScript are a good part.
 *
 * @module
 */

import type { Group } from "./groups.ts";

/**
 * Groups by process, for two to four cores. The plug-ins of `tests/dsl` and of examples stay registered, so that nothing
 * that lists all transforms is beside them.
 */
const SHARED: readonly (readonly string[])[] = [
  ["tests/models", "tests/golden_test.ts", "tests/graph", "tests/types", "tests/lint"],
  ["tests/cli", "tests/kernels", "tests/kernels/moe", "tests/kernels/attention"],
  ["tests/dsl", "tests/server", "tests/bench", "examples"],
  [
    ...["tests/runtime", "tests/runtime/webgpu", "tests/family_golden_test.ts"],
    ...["tests/quantization", "tests/transforms", "tests", "tests/doc_commands_test.ts"],
    ...["tests/latent_golden_test.ts", "tests/random_models_test.ts"],
  ],
];

/** Puts groups together; one that is not known stays alone. */
export function shareProcesses(groups: readonly Group[]): Group[] {
  const together = SHARED.flatMap((names) => {
    const found = groups.filter(({ name }) => names.includes(name));
    if (found.length === 0) return [];
    const files = found.flatMap(({ files }) => files);
    return [{ name: found.map(({ name }) => name).join(", "), files }];
  });
  return [...together, ...groups.filter(({ name }) => !SHARED.flat().includes(name))];
}
