import assert from "node:assert/strict";
import { reasoningOptions } from "../../server/api/sampling.ts";

Deno.test("reasoningOptions() switches thinking off for none, and passes other efforts to the template", () => {
  assert.deepEqual(reasoningOptions("none"), { thinking: false });
  assert.deepEqual(reasoningOptions("none", { a: 1 }), {
    thinking: false,
    templateVariables: { a: 1 },
  });
  assert.deepEqual(reasoningOptions("high"), { templateVariables: { reasoning_effort: "high" } });
  assert.deepEqual(reasoningOptions("low", { enable_thinking: true }), {
    templateVariables: { reasoning_effort: "low", enable_thinking: true },
  });
  assert.deepEqual(reasoningOptions(null), {});
});
