/**
 * The inputs and the output of a language model: token ids in, logits out, whichever transforms ran.
 *
 * @module
 */

import {
  Graph,
  GraphBuilder,
  GraphError,
  type GraphSnapshot,
  type Value,
} from "../../../graph/mod.ts";
import type { SamplingProblem } from "../../../kernels/mod.ts";

/** Name of the output that has the logits of the wanted rows alone. */
export const WANTED_LOGITS = "logits of wanted rows";

/** A graph as it is compiled. */
export interface CompiledGraph
  extends Pick<GraphSnapshot, "nodes" | "inputs" | "outputs" | "caches"> {
  /** What sampling reads and writes; absent when the graph is not a language model. */
  readonly language?: SamplingProblem;
}

/**
 * Adds to a language model the output {@linkcode WANTED_LOGITS}. Where the graph computes logits of
 * every token, the wanted rows are gathered from them. The given graph stays as it is.
 */
export function compiledGraph(graph: Graph): CompiledGraph {
  const before = graph.snapshot();
  const logits = graph.outputs.get("logits");
  const named = (name: string) => graph.inputs.find((value) => value.name === name);
  const [tokenIds, positions] = [named("token_ids"), named("positions")];
  if (!logits || logits.shape.length !== 2 || !tokenIds || !positions) return before;
  try {
    const b = new GraphBuilder(graph);
    const rows = named("logits_rows");
    const logitsRows = rows ?? b.input("logits_rows", { dtype: "i32", shape: ["R"] });
    const wanted = rows ? logits : b.op("gather_rows", { x: logits, rows: logitsRows });
    graph.setOutput(WANTED_LOGITS, wanted);
    const vocabulary = Number(logits.shape[1]);
    const language = { vocabulary, logits: wanted, logitsRows, tokenIds, positions };
    return { ...graph.snapshot(), language };
  } finally {
    graph.restore(before);
  }
}

/** The error of a step on a graph that is not a language model. */
export function notALanguageModel(graph: Graph): GraphError {
  const names = (values: Iterable<string>) => [...values].join(", ") || "none";
  return new GraphError(
    "graph/missing-output",
    `Cannot run a step of graph "${graph.name}": expected inputs token_ids and positions and output logits, got ${
      names(graph.inputs.map(({ name }: Value) => name))
    } and ${names(graph.outputs.keys())}`,
    { hint: "Run graphs that are not language models by their inputs and outputs" },
  );
}
