/**
 * Helpers of matchers and rewrites. A matcher is a plain function that walks from a candidate node
 * towards its inputs through a {@linkcode Probe}; when a condition does not hold, the probe ends
 * the attempt, and records the reason if the pattern had been recognised by then.
 *
 * @module
 */

import { invariant } from "./errors.ts";
import { type Graph, input, isOp, type Node, type Value } from "./graph.ts";
import type { OpName } from "./ops.ts";
import { shortestDecimal } from "./weight.ts";

/** A node that almost matched, and the first condition that it failed. */
export interface NearMiss {
  /** Its module path and op. */
  readonly node: string;
  /** The condition, as expected and as found. */
  readonly reason: string;
}

/** Ends an attempt. Not an Error: most attempts end this way, and stack traces are slow to make. */
class NoMatch {
  constructor(readonly miss: NearMiss | undefined) {}
}

/** Walks a graph for one attempt of a matcher; every method ends the attempt where it fails. */
export class Probe {
  #recognised = false;

  /** One attempt on this graph. */
  constructor(readonly graph: Graph) {}

  /** Marks the pattern as recognised: a failure from here on is reported as a near miss. */
  recognised(): void {
    this.#recognised = true;
  }

  /** Ends the attempt. */
  fail(at: Node, reason: string): never {
    throw new NoMatch(this.#recognised ? { node: labelNode(at), reason } : undefined);
  }

  /** Ends the attempt unless the condition holds. */
  check(condition: boolean, at: Node, reason: string): void {
    if (!condition) this.fail(at, reason);
  }

  /** The node of that op which makes the input `name` of `node`. */
  from<Op extends OpName>(node: Node, name: string, op: Op): Node<Op> {
    const producer = this.graph.producer(input(node, name));
    if (isOp(producer, op)) return producer;
    const got = producer?.op ?? input(node, name).kind;
    return this.fail(node, `its ${name} is made by ${got}, not by ${op}`);
  }

  /** The node that makes a value when it has that op, else undefined; never ends the attempt. */
  maybe<Op extends OpName>(value: Value | undefined, op: Op): Node<Op> | undefined {
    const producer = value && this.graph.producer(value);
    return isOp(producer, op) ? producer : undefined;
  }

  /** Both operands of a commutative node, the one made by `op` first. */
  operands<Op extends OpName>(node: Node, op: Op): { made: Node<Op>; other: Value } {
    const [a, b] = [input(node, "a"), input(node, "b")];
    for (const [value, other] of [[a, b], [b, a]]) {
      const made = this.maybe(value, op);
      if (made) return { made, other };
    }
    const got = [a, b].map((value) => this.graph.producer(value)?.op ?? value.kind);
    return this.fail(node, `neither operand is made by ${op}, but by ${got.join(" and ")}`);
  }

  /** The single node that reads a value. */
  onlyUser(value: Value, at: Node): Node {
    const users = this.graph.users(value);
    this.check(
      users.length === 1 && !this.graph.isOutput(value),
      at,
      `its result has ${users.length} readers${
        this.graph.isOutput(value) ? " and is an output" : ""
      }, not one`,
    );
    return users[0];
  }

  /** The weight under an input name. */
  weight(node: Node, name: string): Value {
    const value = input(node, name);
    this.check(value.kind === "weight", node, `its ${name} is not a weight`);
    return value;
  }
}

/** Result of {@linkcode findMatches}. */
export interface Found<Match> {
  /** In the order of the graph. */
  readonly matches: readonly Match[];
  /** Nodes where the pattern was recognised and then failed. */
  readonly nearMisses: readonly NearMiss[];
}

/**
 * Tries a matcher on every node of one op, in graph order.
 *
 * @example
 * ```ts
 * import { GraphBuilder } from "./builder.ts";
 * import { Graph, input } from "./graph.ts";
 * import { findMatches } from "./rewrite.ts";
 * const b = new GraphBuilder(new Graph("tiny"));
 * const x = b.input("x", { dtype: "f32", shape: ["T", 8] });
 * b.graph.setOutput("y", b.op("neg", { x: b.op("neg", { x }) }));
 * const { matches } = findMatches(b.graph, "neg", (probe, node) => probe.from(node, "x", "neg"));
 * console.assert(matches.length === 1 && input(matches[0], "x") === x);
 * ```
 */
export function findMatches<Op extends OpName, Match>(
  graph: Graph,
  op: Op,
  match: (probe: Probe, node: Node<Op>) => Match,
): Found<Match> {
  const matches: Match[] = [];
  const nearMisses: NearMiss[] = [];
  for (const node of graph.nodes) {
    if (!isOp(node, op)) continue;
    const result = attempt(graph, (probe) => match(probe, node));
    if ("match" in result) matches.push(result.match);
    else if (result.miss) nearMisses.push(result.miss);
  }
  return { matches, nearMisses };
}

/** Runs one attempt: its match, or the near miss when the pattern was recognised. */
export function attempt<Match>(
  graph: Graph,
  match: (probe: Probe) => Match,
): { match: Match } | { miss: NearMiss | undefined } {
  try {
    return { match: match(new Probe(graph)) };
  } catch (error) {
    if (!(error instanceof NoMatch)) throw error;
    return { miss: error.miss };
  }
}

/** How near misses and refusals name a node: its module path and its op. */
export function labelNode(node: Node): string {
  return node.scope === "" ? node.op : `${node.scope} (${node.op})`;
}

/**
 * The number of a constant scalar weight, or undefined for any other value. It is the shortest
 * decimal of its f32, so that an epsilon of 1e-6 reads 1e-6.
 */
export function scalarOf(value: Value | undefined): number | undefined {
  const weight = value?.weight;
  return weight?.kind === "constant" && weight.data.length === 1
    ? shortestDecimal(weight.data[0])
    : undefined;
}

/** The value and the number of a binary node with one constant scalar operand. */
export function scalarOperand(node: Node): { value: Value; scalar: number } | undefined {
  const [a, b] = [input(node, "a"), input(node, "b")];
  const [left, right] = [scalarOf(a), scalarOf(b)];
  if (right !== undefined) return { value: a, scalar: right };
  if (left !== undefined && node.op !== "sub" && node.op !== "div") {
    return { value: b, scalar: left };
  }
  return undefined;
}

/** Makes readers of a node's outputs read other values, and removes the node. */
export function replaceNode(graph: Graph, node: Node, ...outputs: readonly Value[]): void {
  const current = graph.current(node);
  invariant(outputs.length <= current.outputs.length, `too many outputs for op "${node.op}"`);
  outputs.forEach((value, i) => graph.replaceAllUses(current.outputs[i], value));
  graph.erase([graph.current(current)]);
}
