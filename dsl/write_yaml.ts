/**
 * Writes pipelines as YAML.
 *
 * @module
 */

import { Document, isCollection, Scalar, visit } from "../deps/yaml.ts";
import { formatOrigin } from "./origin.ts";
import type { Overlay, Plain } from "./overlay.ts";
import type { ResolvedPipeline, ResolvedValue } from "./resolve.ts";

const STYLE = { lineWidth: 0 } as const;

/** What was written, in AutoDeploy's form. */
export function overlayToYaml(overlay: Overlay, base: "default" | "empty"): string {
  const root: Record<string, unknown> = base === "empty" ? { yaml_default: null } : {};
  // First, as they are read: what they bring is used below.
  const plugins = overlay.settings.get("plugins");
  if (plugins) root.plugins = plugins.value;
  for (const [name, { value }] of overlay.settings) root[name] = value;
  const transforms = [...overlay.transforms].map(([key, { fields }]) => [
    key,
    Object.fromEntries([...fields].map(([field, { value }]) => [field, value])),
  ]);
  if (transforms.length > 0) root.transforms = Object.fromEntries(transforms);
  return toDocument(root).toString(STYLE);
}

/**
 * A document whose keys are names, also the one that would be a merge key. Texts that YAML 1.1 would
 * read as something else are quoted, for AutoDeploy's reader.
 */
function toDocument(root: object): Document {
  const document = new Document(root, { compat: "yaml-1.1" });
  visit(document, {
    Scalar(key, node) {
      if (key === "key" && node.value === "<<") node.type = Scalar.QUOTE_DOUBLE;
    },
  });
  return document;
}

/** Every value, one per line; `origins` adds the layer that set it as a comment. */
export function resolvedToYaml(resolved: ResolvedPipeline, origins: boolean): string {
  const byTransform = Map.groupBy(resolved.values, ({ transform }) => transform);
  const row = (indent: string) => ({ name, value, origin }: ResolvedValue): Row => ({
    text: `${indent}${formatEntry(name, value)}`,
    ...(origins && { comment: formatOrigin(origin) }),
  });
  const rows: Row[] = [{ text: "yaml_default: null" }];
  rows.push(...(byTransform.get(undefined) ?? []).map(row("")));
  if (resolved.transforms.length > 0) rows.push({ text: "transforms:" });
  for (const { key } of resolved.transforms) {
    const fields = byTransform.get(key) ?? [];
    rows.push({ text: fields.length > 0 ? `  ${key}:` : `  ${key}: {}` });
    rows.push(...fields.map(row("    ")));
  }
  return alignRows(rows);
}

/** A line and the comment behind it. */
interface Row {
  readonly text: string;
  readonly comment?: string;
}

/** Comments start in one column, unless a line is longer than that. */
function alignRows(rows: readonly Row[]): string {
  const width = Math.min(56, Math.max(...rows.map(({ text }) => text.length)));
  return rows.map(({ text, comment }) =>
    comment === undefined ? `${text}\n` : `${text.padEnd(width)}  # ${comment}\n`
  ).join("");
}

/** `name: value` on one line. */
function formatEntry(name: string, value: Plain): string {
  const document = toDocument({ [name]: value });
  const node = document.get(name, true);
  if (isCollection(node)) node.flow = true;
  return document.toString({ ...STYLE, blockQuote: false, flowCollectionPadding: false }).trimEnd();
}
