/**
 * `deploy --dry-run`: the resolved configuration, and for every value the layer that set it; with
 * `--changes` what the transforms do to the model.
 *
 * @module
 */

import { formatOrigin, type Pipeline } from "../dsl/mod.ts";
import { loadModel } from "../models/mod.ts";
import { listChanges } from "./changes_view.ts";
import type { CommandContext } from "./command.ts";
import { DeployView } from "./deploy_view.ts";
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

/** Runs the transforms on the model's graph, without its weights, and prints what each changed. */
export async function showChanges(
  pipeline: Pipeline,
  { terminal, signal }: CommandContext,
): Promise<void> {
  const resolved = pipeline.resolve();
  for (const note of resolved.notes) terminal.progress(`note: ${note}`);
  const view = new DeployView(terminal);
  const model = await loadModel(resolved.settings.model ?? "", {
    signal,
    onProgress: (done) => view.show({ kind: "download", ...done }),
  });
  try {
    const { document, text } = await listChanges({ resolved, model, signal });
    terminal.result(terminal.json ? `${JSON.stringify(document, null, 2)}\n` : text);
  } finally {
    await model.checkpoint.close();
  }
}
