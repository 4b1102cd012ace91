/**
 * What the transform `compile_model` leaves in a graph for those who compile it.
 *
 * @module
 */

import { type Graph, MOE_OPERANDS, type MoeOperands } from "../graph/mod.ts";

/** Ends of the token ranges; undefined for the usual ones. */
export function configuredRanges(graph: Graph): readonly number[] | undefined {
  const ranges = compileField(graph, "token_ranges");
  if (!Array.isArray(ranges) || ranges.length === 0) return undefined;
  return ranges.map(Number);
}

/** Operands of dense layers. */
export function configuredOperands(graph: Graph): MoeOperands {
  const chosen = compileField(graph, "operands");
  return MOE_OPERANDS.find((each) => each === chosen) ?? "f32";
}

function compileField(graph: Graph, name: string): unknown {
  const { compile } = graph.meta;
  return typeof compile === "object" && compile !== null ? Reflect.get(compile, name) : undefined;
}
