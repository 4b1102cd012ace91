/**
 * The library's interpreter with Python's meaning of values, and bounds on what it computes.
 *
 * @module
 */

import { Environment, Interpreter } from "../../deps/jinja.ts";
import { applyFilter, itemsOf } from "./jinja_filters.ts";
import { isNode, LOOP_BODY, type Node, withFields } from "./jinja_syntax.ts";
import { methodOf } from "./python_methods.ts";
import {
  functionOf,
  isFunction,
  isList,
  isMap,
  isNumeric,
  isText,
  isUndefined,
  listOf,
  pythonEquals,
  pythonType,
  sizeOf,
  toValue,
  type Value,
} from "./python_values.ts";
import { strftime } from "./strftime.ts";
import { ROUND_WORK, STEP_WORK, type TemplateBudget } from "./template_budget.ts";

/** Type of a node that stands for a value computed already. */
const COMPUTED = "Computed";

/** Filters that read all that is within a value; the others read its items. */
const DEEP_FILTERS = new Set(["tojson", "string", "join"]);

type Statement = Parameters<Interpreter["evaluate"]>[0];

/** Renders a tree of {@linkcode parseTemplate} with some variables. */
export function renderTree(
  program: Node,
  variables: Readonly<Record<string, unknown>>,
  budget: TemplateBudget,
): string {
  const environment = new Environment();
  for (const [name, value] of Object.entries(globals(budget))) environment.set(name, value);
  environment.setVariable("dict", functionOf(([items]) => items ? mapOf(items) : toValue({})));
  for (const [name, value] of Object.entries(variables)) {
    environment.setVariable(name, toValue(value));
  }
  const result = new BoundedInterpreter(environment, budget).evaluate(program, environment);
  return isText(result) ? result.value : "";
}

/** What transformers gives every template, besides the variables. */
function globals(budget: TemplateBudget): Record<string, unknown> {
  return {
    true: true,
    True: true,
    false: false,
    False: false,
    none: null,
    None: null,
    raise_exception(message: unknown) {
      throw new Error(String(message));
    },
    strftime_now: (format: unknown) => strftime(new Date(), String(format)),
    range: (...bounds: number[]) => range(bounds, budget),
  };
}

function range(bounds: readonly number[], budget: TemplateBudget): number[] {
  if (bounds.length === 0 || !bounds.every(Number.isInteger)) {
    throw new TypeError("range() takes whole numbers");
  }
  const [start, stop, step] = bounds.length > 1 ? bounds : [0, bounds[0]];
  const by = step ?? 1;
  if (by === 0) throw new Error("range() step must not be zero");
  const count = Math.max(Math.ceil((stop - start) / by), 0);
  budget.spend(count * STEP_WORK);
  return Array.from({ length: count }, (_, index) => start + index * by);
}

class BoundedInterpreter extends Interpreter {
  constructor(environment: Environment, readonly budget: TemplateBudget) {
    super(environment);
  }

  override evaluate(statement: Statement, environment: Environment): Value {
    this.budget.spend(STEP_WORK);
    const node = statement as unknown;
    if (!isNode(node)) return super.evaluate(statement, environment);
    const value = this.#evaluate(node, environment);
    if (isText(value)) this.budget.see(value.value);
    return value;
  }

  #evaluate(node: Node, environment: Environment): Value {
    switch (node.type) {
      case COMPUTED:
        return node.value as Value;
      case LOOP_BODY:
        this.budget.spend(ROUND_WORK);
        return super.evaluate(
          withFields(node, { type: "Program" }),
          new Environment(environment),
        );
      case "FilterExpression":
        return this.#filter(node, environment);
      case "FilterStatement":
        return this.#filterBlock(node, environment);
      case "MemberExpression":
        return this.#member(node, environment);
      case "BinaryExpression":
        return this.#binary(node, environment);
      default:
        return super.evaluate(node, environment);
    }
  }

  #part(node: unknown, environment: Environment): Value {
    return isNode(node) ? this.evaluate(node, environment) : toValue(undefined);
  }

  #filter(node: Node, environment: Environment): Value {
    const operand = this.#part(node.operand, environment);
    const call = isNode(node.filter) ? node.filter : node;
    const name = isNode(call.callee) ? call.callee.value : call.value;
    const whole = DEEP_FILTERS.has(String(name));
    this.budget.spend(whole ? sizeOf(operand, this.budget.left) : sizeShallow(operand));
    const { args, keywords } = this.#arguments(call.args, environment);
    const own = applyFilter(String(name), operand, { args, keywords, budget: this.budget });
    return own ?? super.evaluate(withFields(node, { operand: computed(operand) }), environment);
  }

  /** `{% filter upper %}..{% endfilter %}` is the filter of what its body prints. */
  #filterBlock(node: Node, environment: Environment): Value {
    const body = super.evaluate(withFields(node, { type: "Program" }), environment);
    return this.#filter(withFields(node, { operand: computed(body) }), environment);
  }

  #arguments(args: unknown, environment: Environment) {
    const keywords = new Map<string, Value>();
    const values: Value[] = [];
    for (const each of Array.isArray(args) ? args.filter(isNode) : []) {
      if (each.type === "KeywordArgumentExpression" && isNode(each.key)) {
        keywords.set(String(each.key.value), this.#part(each.value, environment));
      } else if (each.type === "SpreadExpression") {
        values.push(...itemsOf(this.#part(each.argument, environment)));
      } else if (each.type !== "KeywordSpreadExpression") {
        values.push(this.#part(each, environment));
      }
    }
    return { args: values, keywords };
  }

  #member(node: Node, environment: Environment): Value {
    const object = this.#part(node.object, environment);
    if (isUndefined(object)) throw new TypeError(`${nameOf(node.object)} is undefined`);
    if (isText(object) || isList(object)) this.budget.spend(object.value.length >> 2);
    const name = !node.computed && isNode(node.property) ? node.property.value : undefined;
    const method = typeof name === "string" ? methodOf(object, name, this.budget) : undefined;
    if (method) return method;
    if (isFunction(object)) return toValue(undefined);
    if (node.computed && isNode(node.property) && node.property.type === "SliceExpression") {
      if (isText(object)) this.budget.spend(object.value.length * STEP_WORK);
    }
    return super.evaluate(withFields(node, { object: computed(object) }), environment);
  }

  #binary(node: Node, environment: Environment): Value {
    const operator = isNode(node.operator) ? String(node.operator.value) : "";
    if (operator === "and" || operator === "or") return super.evaluate(node, environment);
    const left = this.#part(node.left, environment);
    const right = this.#part(node.right, environment);
    this.budget.spend(sizeShallow(left) + sizeShallow(right));
    return this.#operate(operator, left, right) ?? super.evaluate(
      withFields(node, { left: computed(left), right: computed(right) }),
      environment,
    );
  }

  /** Operators whose meaning differs; undefined for the others. */
  #operate(operator: string, left: Value, right: Value): Value | undefined {
    switch (operator) {
      case "==":
        this.budget.spend(sizeOf(left, this.budget.left));
        return toValue(pythonEquals(left, right));
      case "!=":
        this.budget.spend(sizeOf(left, this.budget.left));
        return toValue(!pythonEquals(left, right));
      case "in":
        return contains(left, right);
      case "not in": {
        const found = contains(left, right);
        return found && toValue(!found.value);
      }
      case "+":
        if (isText(left) !== isText(right)) throw unsupported(operator, left, right);
        return undefined;
      case "*":
        return this.#repeat(left, right);
      case "%":
        return modulo(left, right);
      case "<":
      case ">":
      case "<=":
      case ">=":
        return isText(left) && isText(right)
          ? compare(operator, left.value, right.value)
          : undefined;
    }
  }

  /** Python repeats a text or a list by a number. */
  #repeat(left: Value, right: Value): Value | undefined {
    const [count, thing] = isNumeric(left) ? [left, right] : [right, left];
    if (!isNumeric(count) || isNumeric(thing)) return undefined;
    const times = Math.max(Number(count.value), 0);
    if (isText(thing)) {
      this.budget.spend(thing.value.length * times);
      return toValue(thing.value.repeat(times));
    }
    if (!isList(thing)) return undefined;
    this.budget.spend(thing.value.length * times * STEP_WORK);
    return listOf(Array.from({ length: times }, () => thing.value).flat());
  }
}

/** What an expression reads, for messages. */
function nameOf(node: unknown): string {
  if (!isNode(node)) return "a value";
  if (node.type === "Identifier") return `"${node.value}"`;
  if (node.type !== "MemberExpression" || !isNode(node.property)) return "a value";
  return `an attribute "${node.property.value}"`;
}

function mapOf(items: Value): Value {
  const map = toValue({});
  if (isMap(map) && isMap(items)) items.value.forEach((item, key) => map.value.set(key, item));
  return map;
}

function computed(value: Value): Node {
  return { type: COMPUTED, value };
}

/** What a binary operator reads of a value. */
function sizeShallow(value: Value): number {
  if (isText(value) || isList(value)) return value.value.length;
  return 1;
}

function contains(left: Value, right: Value): Value | undefined {
  if (isText(right)) {
    if (!isText(left)) throw unsupported("in", left, right);
    return toValue(right.value.includes(left.value));
  }
  if (isList(right)) return toValue(right.value.some((item) => pythonEquals(item, left)));
  if (isMap(right)) return toValue(isText(left) && right.value.has(left.value));
  if (isUndefined(right)) return toValue(false);
  throw new TypeError(`argument of type '${pythonType(right)}' is not iterable`);
}

/** Python's remainder has the sign of the divisor. */
function modulo(left: Value, right: Value): Value | undefined {
  if (!isNumeric(left) || !isNumeric(right)) return undefined;
  const [a, b] = [Number(left.value), Number(right.value)];
  if (b === 0) throw new RangeError("integer modulo by zero");
  return toValue(((a % b) + b) % b);
}

function compare(operator: "<" | ">" | "<=" | ">=", a: string, b: string): Value {
  const less = a < b;
  const equal = a === b;
  const results = { "<": less, ">": !less && !equal, "<=": less || equal, ">=": !less };
  return toValue(results[operator]);
}

function unsupported(operator: string, left: Value, right: Value): TypeError {
  const types = `'${pythonType(left)}' and '${pythonType(right)}'`;
  return new TypeError(`unsupported operand types for ${operator}: ${types}`);
}
