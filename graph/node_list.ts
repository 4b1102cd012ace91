/**
 * The order of a graph's nodes: an array for reading, a linked list for editing. Each is made from the
 * other when it is needed, so a series of edits takes time for what it changes, and a series of reads
 * takes none.
 *
 * @module
 */

import { invariant } from "./errors.ts";

/** What the list needs to know about a node. */
interface Numbered {
  readonly id: number;
}

interface Item<Node> {
  node: Node;
  previous: Item<Node> | undefined;
  next: Item<Node> | undefined;
}

/** Nodes in order. */
export class NodeList<Node extends Numbered> {
  /** Undefined while the linked list has newer edits. */
  #array: Node[] | undefined = [];
  /** True once the array was returned to a caller: it is never written again. */
  #shared = false;
  #links: Links<Node> | undefined;

  /** The nodes as they are now; later edits do not show in the returned list. */
  get nodes(): readonly Node[] {
    this.#array ??= this.#links?.toArray() ?? [];
    this.#shared = true;
    return this.#array;
  }

  /** Takes over a list. */
  reset(nodes: readonly Node[]): void {
    this.#array = nodes as Node[]; // never written while a caller has it
    this.#shared = true;
    this.#links = undefined;
  }

  /** Adds a node at the end. */
  append(node: Node): void {
    if (this.#links) {
      this.#links.append(node);
      this.#array = undefined;
      return;
    }
    if (this.#shared || !this.#array) this.#array = [...this.nodes];
    this.#shared = false;
    this.#array.push(node);
  }

  /** Adds a node in front of another one. */
  insert(node: Node, before: Node): void {
    this.#edit().insert(node, before);
  }

  /** Puts the new record of a node in its place. */
  replace(node: Node): void {
    this.#edit().item(node).node = node;
  }

  remove(node: Node): void {
    this.#edit().remove(node);
  }

  #edit(): Links<Node> {
    this.#links ??= new Links(this.nodes);
    this.#array = undefined;
    return this.#links;
  }
}

/** A doubly linked list that finds its items by node id. */
class Links<Node extends Numbered> {
  readonly #items = new Map<number, Item<Node>>();
  #first: Item<Node> | undefined;
  #last: Item<Node> | undefined;

  constructor(nodes: readonly Node[]) {
    for (const node of nodes) this.append(node);
  }

  item(node: Node): Item<Node> {
    const item = this.#items.get(node.id);
    invariant(item, `node ${node.id} is not in the graph`);
    return item;
  }

  append(node: Node): void {
    this.#link({ node, previous: this.#last, next: undefined });
  }

  insert(node: Node, before: Node): void {
    const next = this.item(before);
    this.#link({ node, previous: next.previous, next });
  }

  remove(node: Node): void {
    const { previous, next } = this.item(node);
    if (previous) previous.next = next;
    else this.#first = next;
    if (next) next.previous = previous;
    else this.#last = previous;
    this.#items.delete(node.id);
  }

  toArray(): Node[] {
    const nodes: Node[] = [];
    for (let item = this.#first; item; item = item.next) nodes.push(item.node);
    return nodes;
  }

  #link(item: Item<Node>): void {
    if (item.previous) item.previous.next = item;
    else this.#first = item;
    if (item.next) item.next.previous = item;
    else this.#last = item;
    this.#items.set(item.node.id, item);
  }
}
