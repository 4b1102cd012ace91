/// <reference lib="deno.unstable" />
import assert from "node:assert/strict";
import plugin, { faultOfHint, faultOfMessage } from "../../lint/error_wording.ts";

const MESSAGES: readonly (readonly [text: string, fault: string | undefined])[] = [
  ['Cannot read tensor "w": expected bf16, got u8', undefined],
  ["Cannot read …: expected a file, got …", undefined],
  ["Cannot read tensor: …", undefined],
  ["Cannot read tensor: it is …", 'does not say "expected <x>"'],
  ["Cannot read …", undefined],
  ["…", undefined],
  ["expected a list, got one value", undefined],
  ['Cannot read tensor "w": expected bf16, got u8.', "ends with a full stop"],
  ['Tensor "w" is u8', 'does not begin with "Cannot <verb>"'],
  ['Cannot Read tensor "w": expected bf16, got u8', 'does not begin with "Cannot <verb>"'],
  ['Cannot read tensor "w"', "gives no reason after a colon"],
  ['Cannot read tensor "w": it is u8', 'does not say "expected <x>"'],
  ['Cannot read tensor "w": expected bf16', 'does not say "got <y>"'],
  ["expected a list", 'does not say "got <y>"'],
];

Deno.test("faultOfMessage() wants what cannot be done, what was expected and what came", () => {
  for (const [text, fault] of MESSAGES) assert.equal(faultOfMessage(text), fault, text);
});

Deno.test("faultOfHint() wants an imperative or a question, and no full stop", () => {
  for (const text of ["Lower max_num_tokens", 'Did you mean "a"?', "…", "Give … instead"]) {
    assert.equal(faultOfHint(text), undefined, text);
  }
  assert.equal(faultOfHint("Lower max_num_tokens."), "ends with a full stop");
  assert.equal(faultOfHint("lower max_num_tokens"), "does not begin with a capital");
  assert.equal(faultOfHint("The file is incomplete"), "is a statement, not an imperative");
  assert.equal(faultOfHint("There are …"), "is a statement, not an imperative");
});

/** Faults of a program, as `deno lint` reports them. */
function faults(source: string): string[] {
  return Deno.lint.runPlugin(plugin, "program.ts", source).map(({ message }) => message);
}

Deno.test("error-wording reads every text that a message or a hint may have", () => {
  assert.deepEqual(
    faults(
      'new GraphError("a", `Cannot read "${x}": expected ${y}, got ${z}`, { hint: "Read y" })',
    ),
    [],
  );
  assert.deepEqual(faults('new GraphError("a", "Cannot read " + (b ? `a: ${x}` : "b: no"))'), [
    'The message does not say "expected <x>"',
  ]);
  assert.deepEqual(
    faults(
      'new ConfigError("a", text, { hint: near ? `Did you mean ${near}?` : "There is none" })',
    ),
    ["The hint is a statement, not an imperative"],
  );
  assert.deepEqual(faults('new ConfigError("a", text, { hint: near ?? "there" })'), [
    "The hint does not begin with a capital",
  ]);
});

Deno.test("error-wording leaves other classes alone", () => {
  assert.deepEqual(
    faults('new Error("boom"); new GraphError("a", message); new Map("a", "b")'),
    [],
  );
});
