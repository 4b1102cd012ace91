import assert from "node:assert/strict";
import { constants, joinAccess } from "../../../kernels/access/access.ts";

Deno.test("joinAccess() refuses two values for a constant, and takes one that several bring", () => {
  const joined = joinAccess(constants({ A: 1, B: true }), constants({ A: 1, C: "1.0f" }));
  assert.deepEqual(joined.constants, { A: 1, B: true, C: "1.0f" });
  assert.throws(
    () => joinAccess(constants({ A: 1 }), constants({ A: 2 })),
    /constant A is 1 and 2/,
  );
});
