import assert from "node:assert/strict";
import { inNamesOf } from "../../server/api/field_names.ts";
import { EngineError } from "../../server/engine/engine_error.ts";

const WIRE = { code: "request/invalid-option", status: 400, exitCode: 2 };

/** What a client would read of an error of the engine. */
function read(error: unknown) {
  assert(error instanceof EngineError);
  const { message, hint, details: { param }, httpStatus, exitCode } = error;
  return { message, hint, param, httpStatus, exitCode };
}

Deno.test("inNamesOf() calls an option as the API does, in its texts too", () => {
  const message = 'Cannot generate with option "logitBias": expected token ids, got "x"';
  const error = new EngineError({ ...WIRE, message, param: "logitBias" });
  assert.deepEqual(read(inNamesOf({}, error)), {
    message: 'Cannot generate with option "logit_bias": expected token ids, got "x"',
    hint: undefined,
    param: "logit_bias",
    httpStatus: 400,
    exitCode: 2,
  });
});

Deno.test("inNamesOf() takes an API's own names first, and keeps those that nobody lists", () => {
  const message = "Cannot generate 9 tokens: expected 8, got 9";
  const hint = "Lower maxNewTokens, or deploy with a larger max_seq_len";
  const error = new EngineError({ ...WIRE, message, hint, param: "maxNewTokens" });
  const named = read(inNamesOf({ maxNewTokens: "max_output_tokens" }, error));
  assert.equal(named.param, "max_output_tokens");
  assert.equal(named.hint, "Lower max_output_tokens, or deploy with a larger max_seq_len");
  const other = new EngineError({ ...WIRE, message: "no", param: "toString" });
  assert.equal(read(inNamesOf({}, other)).param, "toString");
});

Deno.test("inNamesOf() leaves errors without a field as they are", () => {
  for (const error of [new Error("x"), new EngineError({ ...WIRE, message: "x" }), undefined]) {
    assert.equal(inNamesOf({ prompt: "messages" }, error), error);
  }
});
