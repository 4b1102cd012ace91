/**
 * The syntax tree of a chat template, made to mean what it means to Jinja2.
 *
 * The library prints, joins and iterates over JavaScript's values, and keeps the variables of one
 * round of a loop for the next. Rather than its evaluation, the tree is changed: what is printed
 * goes through the filter `string`, what is iterated over through `list`, and the body of a loop
 * becomes a node of its own that opens a scope.
 *
 * @module
 */

import { parse, tokenize } from "../../deps/jinja.ts";
import { normalizeLiterals } from "./string_literals.ts";

/** A node of the tree. */
export interface Node {
  type: string;
  [key: string]: unknown;
}

/** Type of the node that a loop's body becomes. */
export const LOOP_BODY = "LoopBody";

/** Statements, which print by themselves; every other node of a block is an expression. */
const STATEMENTS = new Set([
  ..."Program If For Set Macro CallStatement FilterStatement Comment Break Continue".split(" "),
  LOOP_BODY,
]);

/** Longer templates are refused; known ones have up to 100 kB. */
const MOST_CHARACTERS = 1_000_000;

/** A longer run of whitespace takes the library's expressions quadratic time. */
const MOST_SPACES = 2_000;

/** Parses a template; raises a SyntaxError or RangeError that says why not. */
export function parseTemplate(source: string): Node {
  if (source.length > MOST_CHARACTERS) {
    throw new RangeError(`more than ${MOST_CHARACTERS} characters`);
  }
  const text = source.replaceAll(/\r\n?/g, "\n"); // as Jinja2 does before it reads anything
  if (longestSpace(text) > MOST_SPACES) {
    throw new RangeError(`a run of more than ${MOST_SPACES} spaces`);
  }
  const tokens = tokenize(normalizeLiterals(text), { lstrip_blocks: true, trim_blocks: true });
  const program = nodeOf(parse(tokens));
  adapt(program);
  return program;
}

/** Names that the template reads as variables. */
export function namesIn(program: Node): Set<string> {
  const names = new Set<string>();
  visit(program, (node) => {
    if (node.type === "Identifier" && typeof node.value === "string") names.add(node.value);
  });
  return names;
}

/** A node like another one, with some fields changed; the library checks the prototype. */
export function withFields(node: Node, fields: Record<string, unknown>): Node {
  return Object.assign(Object.create(Object.getPrototypeOf(node)), node, fields);
}

/** True for a node of the tree. */
export function isNode(value: unknown): value is Node {
  return typeof value === "object" && value !== null && !Array.isArray(value) &&
    !(value instanceof Map) && typeof Reflect.get(value, "type") === "string";
}

function nodeOf(value: unknown): Node {
  if (isNode(value)) return value;
  throw new SyntaxError("the library's parser gave no tree");
}

function longestSpace(text: string): number {
  let longest = 0;
  for (const [run] of text.matchAll(/\s+/g)) longest = Math.max(longest, run.length);
  return longest;
}

/** Fields that hold a name of the language rather than a variable. */
const NAME_FIELDS: Readonly<Record<string, string>> = {
  FilterExpression: "filter",
  FilterStatement: "filter",
  TestExpression: "test",
  KeywordArgumentExpression: "key",
};

function visit(value: unknown, see: (node: Node) => void): void {
  if (Array.isArray(value)) return value.forEach((each) => visit(each, see));
  if (value instanceof Map) {
    return value.forEach((each, key) => visit([key, each], see));
  }
  if (!isNode(value)) return;
  see(value);
  const attribute = value.type === "MemberExpression" && !value.computed;
  const named = attribute ? "property" : NAME_FIELDS[value.type];
  for (const [field, child] of Object.entries(value)) {
    if (field !== named) visit(child, see);
    else if (isNode(child) && child.type === "CallExpression") visit(child.args, see);
  }
}

function adapt(program: Node): void {
  visit(program, (node) => {
    for (const field of ["body", "alternate", "defaultBlock"]) {
      const block = node[field];
      if (Array.isArray(block)) node[field] = block.map(printed);
    }
    if (node.type === "BinaryExpression" && isNode(node.operator) && node.operator.value === "~") {
      node.left = filtered(node.left, "string");
      node.right = filtered(node.right, "string");
    }
    if (node.type === "For") adaptLoop(node, program);
  });
}

function adaptLoop(node: Node, program: Node): void {
  if (isNode(node.iterable) && node.iterable.type === "SelectExpression") {
    node.iterable.lhs = filtered(node.iterable.lhs, "list");
  } else {
    node.iterable = filtered(node.iterable, "list");
  }
  const body = withFields(program, { type: LOOP_BODY, body: node.body });
  node.body = [body];
}

/** An expression of a block prints itself as Python would. */
function printed(statement: unknown): unknown {
  if (!isNode(statement) || STATEMENTS.has(statement.type)) return statement;
  if (statement.type === "StringLiteral") return statement;
  return filtered(statement, "string");
}

function filtered(operand: unknown, filter: "string" | "list"): Node {
  return withFields(FILTERED[filter], { operand });
}

/** A filter expression, to be copied. */
function filterNode(filter: string): Node {
  const { body } = parse(tokenize(`{{ x | ${filter} }}`));
  return nodeOf(body[0]);
}

const FILTERED = { string: filterNode("string"), list: filterNode("list") };
