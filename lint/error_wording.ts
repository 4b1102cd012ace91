/// <reference lib="deno.unstable" />
/**
 * A lint rule for the texts of errors: `Cannot <verb> <what> "<name>": expected <x>, got <y>`, with no
 * full stop, and a hint that is an imperative sentence or a question. It reads what is written in the
 * source; a text that is put together at run time is checked as far as it is written out, and what
 * stands in `${}` may be anything.
 *
 * @module
 */

/** Classes whose second argument is a message and whose third has a `hint`. */
const CLASSES = [
  "ConfigError",
  "GraphError",
  "CheckpointError",
  "KernelError",
  "DeviceError",
  "RequestError",
];

/** Stands for what is known only at run time. */
const UNKNOWN = "…";

/** Words that begin a statement; a hint begins with a verb in the imperative, or asks. */
const STATEMENT =
  /^(A|All|An|Any|Each|Either|Every|He|Here|I|In|It|Its|No|None|On|One|Only|Or|Such|That|The|Their|There|These|They|This|Those|We|What|You|Your)\b/;

/** The texts that an expression may give, `UNKNOWN` for what only a run can tell. */
function textsOf(node: Deno.lint.Node): string[] {
  switch (node.type) {
    case "Literal":
      return [typeof node.value === "string" ? node.value : UNKNOWN];
    case "TemplateLiteral":
      return joined(
        node.quasis.flatMap((quasi, i): string[][] => [
          [quasi.cooked],
          i < node.expressions.length ? textsOf(node.expressions[i]) : [""],
        ]),
      );
    case "BinaryExpression":
      return node.operator === "+" && node.left.type !== "PrivateIdentifier"
        ? joined([textsOf(node.left), textsOf(node.right)])
        : [UNKNOWN];
    case "ConditionalExpression":
      return [...textsOf(node.consequent), ...textsOf(node.alternate)];
    case "LogicalExpression":
      return [...textsOf(node.left), ...textsOf(node.right)];
    default:
      return [UNKNOWN];
  }
}

/** Every text of the first part before every text of the next, and so on. */
function joined(parts: readonly string[][]): string[] {
  return parts.reduce(
    (before, part) => before.flatMap((head) => part.map((tail) => head + tail)),
    [""],
  );
}

/** What is wrong with a message, or undefined. */
export function faultOfMessage(text: string): string | undefined {
  if (text.trimEnd().endsWith(".")) return "ends with a full stop";
  if (text.startsWith(UNKNOWN)) return undefined;
  // A caller puts "Cannot <verb> <what>: " in front of the reason of a rule.
  if (text.startsWith("expected ")) return faultOfReason(text);
  if (!/^Cannot [a-z…]/.test(text)) return 'does not begin with "Cannot <verb>"';
  const colon = text.indexOf(": ");
  if (colon >= 0) return faultOfReason(text.slice(colon + 2));
  return text.endsWith(UNKNOWN) ? undefined : "gives no reason after a colon";
}

function faultOfReason(reason: string): string | undefined {
  // A reason that begins at run time quotes another error.
  if (reason.startsWith(UNKNOWN)) return undefined;
  if (!reason.includes("expected ")) return 'does not say "expected <x>"';
  return reason.includes(UNKNOWN) || /\bgot\b/.test(reason) ? undefined : 'does not say "got <y>"';
}

/** What is wrong with a hint, or undefined. */
export function faultOfHint(text: string): string | undefined {
  if (text === "" || text.startsWith(UNKNOWN)) return undefined;
  if (text.trimEnd().endsWith(".")) return "ends with a full stop";
  if (!/^[A-Z]/.test(text)) return "does not begin with a capital";
  if (STATEMENT.test(text)) return "is a statement, not an imperative";
  return undefined;
}

/** The value of a property of an object literal. */
function propertyOf(node: Deno.lint.Node | undefined, name: string): Deno.lint.Node | undefined {
  if (node?.type !== "ObjectExpression") return undefined;
  for (const property of node.properties) {
    if (property.type !== "Property" || property.key.type !== "Identifier") continue;
    if (property.key.name === name) return property.value;
  }
  return undefined;
}

const plugin: Deno.lint.Plugin = {
  name: "mixline",
  rules: {
    "error-wording": {
      create(context) {
        const check = (
          node: Deno.lint.Node | undefined,
          what: string,
          faultOf: (text: string) => string | undefined,
        ) => {
          if (!node) return;
          const fault = textsOf(node).map(faultOf).find((each) => each !== undefined);
          if (fault) context.report({ node, message: `The ${what} ${fault}` });
        };
        return {
          NewExpression(node) {
            const { callee, arguments: [, message, options] } = node;
            if (callee.type !== "Identifier" || !CLASSES.includes(callee.name)) return;
            check(message, "message", faultOfMessage);
            check(propertyOf(options, "hint"), "hint", faultOfHint);
          },
        };
      },
    },
  },
};

export default plugin;
