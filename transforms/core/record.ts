/**
 * The record of one run of a transform. JSON-safe.
 *
 * @module
 */

import type { NearMiss } from "../../graph/mod.ts";
import type { Stage } from "./stage.ts";

/** One entry of the history; the first fields have AutoDeploy's names and meaning. */
export interface TransformRecord {
  /** Key in YAML. */
  readonly key: string;
  /** Stage it ran in. */
  readonly stage: Stage;
  /** Whether the configuration has it on. */
  readonly enabled: boolean;
  /** True when the graph was left alone: disabled, not applicable, or failed under `skip_on_error`. */
  readonly skipped: boolean;
  /** Places that it rewrote. */
  readonly num_matches: number;
  /** No dead nodes are left. */
  readonly is_clean: boolean;
  /** All types are as the op table infers them. */
  readonly has_valid_shapes: boolean;
  /** Time of plan and rewrite, with cleanup and checks. */
  readonly milliseconds: number;
  /** Bytes that all weights of the graph would take. */
  readonly weightBytesBefore: number;
  /** The same after it. */
  readonly weightBytesAfter: number;
  /** Nodes of the graph. */
  readonly nodesBefore: number;
  /** The same after it. */
  readonly nodesAfter: number;
  /** Nodes that almost matched, and the condition that each failed. */
  readonly nearMisses: readonly NearMiss[];
  /** Sentences for the user: what was chosen and why. */
  readonly notes: readonly string[];
  /** Message of the error, where `skip_on_error` let the run go on. */
  readonly error?: string;
}

/** One line for people: `fuse_moe: 4 matches, 96 -> 24 nodes, 1.2 ms`. */
export function formatRecord(record: TransformRecord): string {
  if (record.error !== undefined) return `${record.key}: skipped, ${record.error}`;
  if (!record.enabled) return `${record.key}: disabled`;
  if (record.skipped) return `${record.key}: skipped`;
  const parts = [`${record.num_matches} ${record.num_matches === 1 ? "match" : "matches"}`];
  if (record.nodesBefore !== record.nodesAfter) {
    parts.push(`${record.nodesBefore} -> ${record.nodesAfter} nodes`);
  }
  parts.push(`${record.milliseconds.toFixed(1)} ms`);
  return `${record.key}: ${parts.join(", ")}`;
}
