/**
 * `deploy --dry-run`: the resolved configuration, and for every value the layer that set it.
 *
 * @module
 */

import { formatOrigin, type Pipeline } from "../dsl/mod.ts";
import type { Terminal } from "./terminal.ts";

/** Prints a pipeline as YAML with a comment behind each value, or as JSON. Nothing is opened. */
export function showDryRun(pipeline: Pipeline, terminal: Terminal): void {
  const { values, transforms, notes } = pipeline.resolve();
  if (!terminal.json) {
    for (const note of notes) terminal.progress(`note: ${note}`);
    return terminal.result(pipeline.toYaml({ resolved: true, origins: true }));
  }
  const document = {
    values: values.map(({ path, value, origin }) => ({ path, value, setBy: formatOrigin(origin) })),
    transforms: transforms.map(({ key, stage, enabled }) => ({ key, stage, enabled })),
    notes,
  };
  terminal.result(`${JSON.stringify(document, null, 2)}\n`);
}
