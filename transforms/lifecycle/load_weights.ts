/**
 * `load_weights`: accounts for every tensor of the checkpoint: either the graph reads it, or it is
 * reported by name. No data is read: the executor streams each weight from the file to its memory.
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import { type Graph, nearest, tensorNames } from "../../graph/mod.ts";
import { UNREAD_META } from "./export_to_gm.ts";
import { accepted } from "../core/accepted.ts";
import { defineTransform } from "../core/transform.ts";

/** Names in a note; the graph's notes have all of them. */
const SHOWN = 8;

/** A tensor of the checkpoint that the graph does not read. */
interface Unread {
  readonly name: string;
  readonly reason?: string;
}

/** See the module's documentation. */
export const loadWeights = defineTransform({
  key: "load_weights",
  stage: "weight_load",
  summary: "Report every tensor of the checkpoint that the graph does not read",
  base: { run_per_gm: false, expect_mem_change: true },
  config: z.object({
    checkpoint_device: z.string().nullable().default(null).describe(
      accepted("weights go from the file to the executor's memory"),
    ),
  }),
  plan(graph, _config, { model: { checkpoint }, log }) {
    const read = new Set<string>();
    for (const { weight } of graph.weights) {
      if (weight) { for (const name of tensorNames(weight)) read.add(name); }
    }
    const reasons = new Map(unreadByExport(graph).map(({ name, reason }) => [name, reason]));
    const unread: Unread[] = checkpoint.unused(read).map((name) => ({
      name,
      reason: reasons.has(name) ? reasons.get(name) : "no node reads it any more",
    }));
    const unexplained = unread.filter(({ reason }) => reason === undefined);
    if (unexplained.length > 0) log(warnOf(unexplained.map(({ name }) => name), read));
    return {
      matches: [{ unread }],
      notes: [
        `${read.size} of ${checkpoint.tensors.size} tensors are read when the executor starts`,
        ...describeUnread(unread),
      ],
    };
  },
  apply(graph, { matches: [{ unread }] }) {
    graph.setMeta(UNREAD_META, unread);
  },
});

function unreadByExport(graph: Graph): readonly Unread[] {
  return (graph.meta[UNREAD_META] ?? []) as readonly Unread[];
}

/** One sentence per reason. */
function describeUnread(unread: readonly Unread[]): string[] {
  return [...Map.groupBy(unread, ({ reason }) => reason)].map(([reason, tensors]) => {
    const names = tensors.slice(0, SHOWN).map(({ name }) => name).join(", ");
    const more = tensors.length > SHOWN ? ` and ${tensors.length - SHOWN} more` : "";
    return `Not read (${reason ?? "unknown to the architecture"}): ${names}${more}`;
  });
}

/** A sentence about unexpected tensors; those of a layer are named together, others with a name like theirs. */
function warnOf(names: readonly string[], read: ReadonlySet<string>): string {
  const groups = Map.groupBy(names, (name) => /^(.*\.layers\.\d+)\./.exec(name)?.[1] ?? name);
  const places = [...groups];
  const shown = places.slice(0, SHOWN).map(([group, tensors]) => {
    if (tensors.length > 1) return `${group} (${tensors.length})`;
    const near = nearest(tensors[0], read);
    return near === undefined ? tensors[0] : `${tensors[0]} (the nearest that is read: ${near})`;
  }).join(", ");
  const more = places.length > SHOWN ? ` and ${places.length - SHOWN} more` : "";
  const tensors = names.length === 1
    ? "1 tensor of the checkpoint is"
    : `${names.length} tensors of the checkpoint are`;
  return `${tensors} not read, and no reason is known: ${shown}${more}; check that config.json belongs to these weights`;
}
