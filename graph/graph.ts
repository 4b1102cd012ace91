/**
 * The graph: nodes in topological order over immutable values. A node is a frozen record; an edit
 * replaces records, so a snapshot is a copy of a few arrays and restoring one is exact.
 *
 * @module
 */

import type { CacheDtype } from "./dtype.ts";
import { GraphError, invariant } from "./errors.ts";
import { NodeList } from "./node_list.ts";
import type { AttrsOf, OpName } from "./ops.ts";
import type { TensorType } from "./tensor.ts";
import type { Weight } from "./weight_types.ts";

/** A tensor that flows through the graph: an input of a step, a weight, or an output of a node. */
export interface Value extends TensorType {
  /** Unique in its graph. */
  readonly id: number;
  /** For people: the input's name, the weight's path, or `%id`. */
  readonly name: string;
  /** What gives the value. */
  readonly kind: "input" | "weight" | "node";
  /** What a weight is made of. */
  readonly weight?: Weight;
}

/** Inputs of a node by the names of the op table; a list where the op takes one per expert. */
export type NodeInputs = Readonly<Record<string, Value | readonly Value[] | undefined>>;

/** One operation. */
export interface Node<Op extends OpName = OpName> {
  /** Unique in its graph; rewrites give new ones. */
  readonly id: number;
  /** Name in the op table. */
  readonly op: Op;
  /** Values by the names that the op table has for them. */
  readonly inputs: NodeInputs;
  /** Attributes of the op. */
  readonly attrs: AttrsOf<Op>;
  /** Values that the node gives, most often one. */
  readonly outputs: readonly Value[];
  /** Module path in the model, such as `model.layers.3.mlp`. */
  readonly scope: string;
}

/**
 * Keys and values of one attention layer, kept between steps: a row for each token, in pages. What a layer
 * keeps for a whole sequence is no such cache but a state of its slot (docs/architecture.md).
 */
export interface CacheSpec {
  /** Name that attention nodes call it by. */
  readonly name: string;
  /** Heads of keys and values. */
  readonly kvHeads: number;
  /** Elements of a key. */
  readonly headDim: number;
  /** Elements of a value; absent means headDim. 0: the keys are all there is (MLA). */
  readonly valueDim?: number;
  /** Element type of what is kept. */
  readonly dtype: CacheDtype;
  /** Tokens of a page. */
  readonly pageSize: number;
  /** Tokens further back than this are never read again; undefined keeps all. */
  readonly window?: number;
}

/** Everything about a graph at one moment; see {@linkcode Graph.snapshot}. */
export interface GraphSnapshot {
  /** In topological order. */
  readonly nodes: readonly Node[];
  /** Values that a step gives. */
  readonly inputs: readonly Value[];
  /** Results by name, such as `logits`. */
  readonly outputs: ReadonlyMap<string, Value>;
  /** Caches of attention layers. */
  readonly caches: readonly CacheSpec[];
  /** Notes by key; see {@linkcode Graph.setMeta}. */
  readonly meta: Readonly<Record<string, unknown>>;
  /** Ids below this one are in use. */
  readonly nextId: number;
}

/** What a node to be added looks like. */
export interface NodeSpec<Op extends OpName> {
  /** Name in the op table. */
  readonly op: Op;
  /** Values by the names that the op table has for them. */
  readonly inputs: NodeInputs;
  /** Attributes of the op. */
  readonly attrs: AttrsOf<Op>;
  /** Types of the outputs. */
  readonly types: readonly TensorType[];
  /** Module path in the model. */
  readonly scope: string;
  /** Names of the outputs; default `%id`. */
  readonly names?: readonly string[];
}

/**
 * A model as operations. Built by {@linkcode GraphBuilder}, rewritten by transforms, run by an
 * executor.
 */
export class Graph {
  readonly #list = new NodeList<Node>();
  #inputs: readonly Value[] = [];
  #outputs: ReadonlyMap<string, Value> = new Map();
  #caches: readonly CacheSpec[] = [];
  #meta: Readonly<Record<string, unknown>> = {};
  #nextId = 0;
  /** What replaced the values of erased nodes, by id; see {@linkcode Graph.latest}. */
  readonly #replaced = new Map<number, Value>();
  #index: GraphIndex | undefined;

  /** A graph without nodes; `name` is for people. */
  constructor(readonly name: string) {}

  /** The nodes as they are now; later edits do not show in the returned list. */
  get nodes(): readonly Node[] {
    return this.#list.nodes;
  }
  /** Values that a step gives, in the order they were added. */
  get inputs(): readonly Value[] {
    return this.#inputs;
  }
  /** Results of a step by name: `logits`. */
  get outputs(): ReadonlyMap<string, Value> {
    return this.#outputs;
  }
  /** Caches of attention layers, in the order they were added. */
  get caches(): readonly CacheSpec[] {
    return this.#caches;
  }
  /** JSON-safe notes of transforms for later stages, such as `{ compiled: true }`. */
  get meta(): Readonly<Record<string, unknown>> {
    return this.#meta;
  }
  /** Leaves a note for later transforms and the runtime; it goes back with a snapshot. */
  setMeta(key: string, value: unknown): void {
    this.#meta = { ...this.#meta, [key]: value };
  }

  /** The weight values that nodes read, each once, in order of first use. */
  get weights(): readonly Value[] {
    const seen = new Map<number, Value>();
    for (const node of this.nodes) {
      for (const value of nodeInputs(node)) if (value.kind === "weight") seen.set(value.id, value);
    }
    return [...seen.values()];
  }

  /** Adds a value that every step gives. */
  addInput(name: string, type: TensorType): Value {
    const existing = this.#inputs.find((input) => input.name === name);
    if (existing) return existing;
    const value = Object.freeze({ ...type, id: this.#nextId++, name, kind: "input" as const });
    this.#inputs = [...this.#inputs, value];
    return value;
  }

  /** A weight value; it belongs to the graph once a node reads it. */
  createWeight(name: string, weight: Weight): Value {
    const { dtype, shape } = weight;
    return Object.freeze({
      id: this.#nextId++,
      name,
      kind: "weight" as const,
      dtype,
      shape,
      weight,
    });
  }

  /** Names a result, such as `logits`; a name that is taken gets the new value. */
  setOutput(name: string, value: Value): void {
    this.#outputs = new Map([...this.#outputs, [name, value]]);
  }

  /** Adds a cache; attention nodes call it by its name. */
  addCache(spec: CacheSpec): void {
    this.#caches = [...this.#caches.filter((cache) => cache.name !== spec.name), spec];
  }

  /** Adds a node at the end, or before another one. Types come from the op table: use the builder. */
  addNode<Op extends OpName>(spec: NodeSpec<Op>, before?: Node): Node<Op> {
    const id = this.#nextId++;
    const outputs = spec.types.map((type, i) =>
      Object.freeze({
        dtype: type.dtype,
        shape: type.shape,
        id: this.#nextId++,
        name: spec.names?.[i] ?? (spec.types.length > 1 ? `%${id}.${i}` : `%${id}`),
        kind: "node" as const,
      })
    );
    const { op, inputs, attrs, scope } = spec;
    const node: Node<Op> = Object.freeze({ id, op, inputs, attrs, scope, outputs });
    if (before === undefined) this.#list.append(node as Node);
    else this.#list.insert(node as Node, before);
    this.#index?.add(node as Node);
    return node;
  }

  /** The node that makes a value; undefined for inputs and weights. */
  producer(value: Value): Node | undefined {
    return this.#indexed().producers.get(value.id);
  }

  /** The nodes that read a value, each once. */
  users(value: Value): readonly Node[] {
    return [...this.#indexed().users.get(value.id)?.values() ?? []];
  }

  /** True when the value is a result of the graph. */
  isOutput(value: Value): boolean {
    return [...this.#outputs.values()].some((output) => output.id === value.id);
  }

  /** The current record of a node (an edit of its inputs makes a new one). */
  current(node: Node): Node {
    const found = this.#indexed().nodes.get(node.id);
    invariant(found, `node ${node.id} is not in graph "${this.name}"`);
    return found;
  }

  /**
   * What stands for a value now: itself, or what replaced it when its node is gone. A plan holds
   * values of the graph it saw; an earlier match may have rewritten what made them.
   */
  latest(value: Value): Value {
    let current = value;
    let next = this.#replaced.get(current.id);
    while (next && !this.producer(current)) {
      current = next;
      next = this.#replaced.get(current.id);
    }
    return current;
  }

  /** Makes every reader of `from`, and the graph's outputs, read `to` instead. */
  replaceAllUses(from: Value, to: Value): void {
    const swap = (value: Value) => (value.id === from.id ? to : value);
    const index = this.#indexed();
    if (from.kind === "node") this.#replaced.set(from.id, to);
    this.#replaced.delete(to.id); // so that no chain of replacements closes
    for (const node of this.users(from)) {
      const changed = mapInputs(node, swap);
      index.remove(node);
      index.add(changed);
      this.#list.replace(changed);
    }
    this.#outputs = new Map([...this.#outputs].map(([name, value]) => [name, swap(value)]));
  }

  /** Removes nodes. A node with readers outside the list cannot go. */
  erase(nodes: readonly Node[]): void {
    const gone = new Set(nodes.map((node) => node.id));
    for (const node of nodes) {
      for (const value of node.outputs) {
        const user = this.users(value).find((each) => !gone.has(each.id));
        if (user || this.isOutput(value)) {
          throw new GraphError(
            "graph/erase-used",
            `Cannot erase node "${value.name}" (${node.op}): expected no reader, got ${
              user ? `"${user.outputs[0]?.name}" (${user.op})` : "an output of the graph"
            }`,
          );
        }
      }
    }
    const index = this.#indexed();
    for (const id of gone) {
      const node = index.nodes.get(id);
      if (!node) continue;
      index.remove(node);
      this.#list.remove(node);
    }
  }

  /** Removes every node whose outputs are not read; returns how many. */
  eliminateDeadCode(): number {
    const before = this.nodes.length;
    const live = new Set([...this.#outputs.values()].map((value) => value.id));
    const kept: Node[] = [];
    for (const node of this.nodes.toReversed()) {
      if (!node.outputs.some((value) => live.has(value.id))) continue;
      kept.push(node);
      for (const value of nodeInputs(node)) live.add(value.id);
    }
    if (kept.length !== before) this.#setNodes(kept.reverse());
    return before - this.nodes.length;
  }

  /** Puts nodes in topological order and keeps their order otherwise. */
  sortTopologically(): void {
    const ready = new Set<number>();
    const sorted: Node[] = [];
    const { producers } = this.#indexed();
    const visiting = new Set<number>();
    const visit = (node: Node) => {
      if (ready.has(node.id)) return;
      if (visiting.has(node.id)) {
        throw new GraphError(
          "graph/cycle",
          `Cannot order graph "${this.name}": expected no cycle, got one through node "${
            node.outputs[0]?.name
          }" (${node.op})`,
        );
      }
      visiting.add(node.id);
      for (const value of nodeInputs(node)) {
        const producer = producers.get(value.id);
        if (producer) visit(producer);
      }
      ready.add(node.id);
      sorted.push(node);
    };
    this.nodes.forEach(visit);
    this.#setNodes(sorted);
  }

  /** The whole state, for {@linkcode Graph.restore}; it copies nothing. */
  snapshot(): GraphSnapshot {
    return {
      nodes: this.nodes,
      inputs: this.#inputs,
      outputs: this.#outputs,
      caches: this.#caches,
      meta: this.#meta,
      nextId: this.#nextId,
    };
  }

  /** Goes back to a state of this graph, or takes over that of another one. */
  restore(snapshot: GraphSnapshot): void {
    this.#setNodes(snapshot.nodes);
    this.#nextId = Math.max(this.#nextId, snapshot.nextId);
    this.#replaced.clear();
    this.#inputs = snapshot.inputs;
    this.#outputs = snapshot.outputs;
    this.#caches = snapshot.caches;
    this.#meta = snapshot.meta;
  }

  #setNodes(nodes: readonly Node[]): void {
    this.#list.reset(nodes);
    this.#index = undefined;
  }

  #indexed(): GraphIndex {
    return this.#index ??= new GraphIndex(this.nodes);
  }
}

/** Which node makes and which nodes read each value. It is updated with every edit, so an edit takes
 * time for what it changes, not for the whole graph. */
class GraphIndex {
  readonly nodes = new Map<number, Node>();
  readonly producers = new Map<number, Node>();
  readonly users = new Map<number, Map<number, Node>>();

  constructor(nodes: readonly Node[]) {
    for (const node of nodes) this.add(node);
  }

  add(node: Node): void {
    this.nodes.set(node.id, node);
    for (const value of node.outputs) this.producers.set(value.id, node);
    for (const value of nodeInputs(node)) {
      const readers = this.users.get(value.id);
      if (readers) readers.set(node.id, node);
      else this.users.set(value.id, new Map([[node.id, node]]));
    }
  }

  remove(node: Node): void {
    this.nodes.delete(node.id);
    for (const value of node.outputs) this.producers.delete(value.id);
    for (const value of nodeInputs(node)) this.users.get(value.id)?.delete(node.id);
  }
}

/** All values a node reads, lists flattened, in the order of the op table. */
export function nodeInputs(node: Pick<Node, "inputs">): Value[] {
  const values: Value[] = [];
  for (const name in node.inputs) {
    const input = node.inputs[name];
    if (isList(input)) values.push(...input);
    else if (input !== undefined) values.push(input);
  }
  return values;
}

function isList(input: Value | readonly Value[] | undefined): input is readonly Value[] {
  return Array.isArray(input);
}

/** True when the node is of that op; narrows its attributes. */
export function isOp<Op extends OpName>(node: Node | undefined, op: Op): node is Node<Op> {
  return node?.op === op;
}

/** The single value under an input name, which the op table requires. */
export function input(node: Node, name: string): Value {
  const value = optionalInput(node, name);
  invariant(value, `op "${node.op}" has no input "${name}"`);
  return value;
}

/** The single value under an input name, or undefined. */
export function optionalInput(node: Node, name: string): Value | undefined {
  const value = node.inputs[name];
  return Array.isArray(value) ? value[0] : (value as Value | undefined);
}

/** The list under an input name; empty when absent. */
export function inputList(node: Node, name: string): readonly Value[] {
  const value = node.inputs[name];
  return value === undefined ? [] : Array.isArray(value) ? value : [value as Value];
}

function mapInputs(node: Node, change: (value: Value) => Value): Node {
  let changed = false;
  const apply = (value: Value) => {
    const next = change(value);
    changed ||= next !== value;
    return next;
  };
  const inputs = Object.fromEntries(
    Object.entries(node.inputs).map(([name, value]) => [
      name,
      Array.isArray(value) ? value.map(apply) : value === undefined ? value : apply(value as Value),
    ]),
  );
  return changed ? Object.freeze({ ...node, inputs }) : node;
}
