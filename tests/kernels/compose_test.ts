import assert from "node:assert/strict";
import { KernelError } from "../../graph/mod.ts";
import { composeShader, f32Bound, f32Literal } from "../../kernels/compose.ts";

Deno.test("composeShader() puts what fragments enable first, each extension once", () => {
  const { wgsl } = composeShader({
    constants: { ROWS: 2 },
    buffers: [],
    fragments: [
      "// A comment of the fragment.\nalias Plain = f32;",
      "enable f16;\n\nalias Half = f16;",
      "enable subgroups;\nenable f16;\nalias Halves = vec4<f16>;",
    ],
    body: "fn main() {}",
  });
  assert.equal(
    wgsl,
    `enable f16;
enable subgroups;

const ROWS = 2u;

// A comment of the fragment.
alias Plain = f32;

alias Half = f16;

alias Halves = vec4<f16>;

fn main() {}
`,
  );
});

Deno.test("composeShader() leaves words of comments where they are", () => {
  const body = "// Devices\n// enable f16; or not\nfn main() {}\n";
  assert.equal(composeShader({ buffers: [], body }).wgsl, body);
});

Deno.test("f32Literal() writes numbers that f32 holds, and names those that it does not", () => {
  assert.deepEqual([0, 1, -0.5, 1e-7, 3.4028234663852886e38].map((each) => f32Literal(each)), [
    "0.0f",
    "1.0f",
    "-0.5f",
    "1.0000000116860974e-7f",
    "3.4028234663852886e+38f",
  ]);
  for (const value of [1e39, -1e300, NaN, Infinity]) {
    assert.throws(() => f32Literal(value, "a scale of attention"), (error) => {
      assert.ok(error instanceof KernelError);
      assert.equal(
        error.message,
        `Cannot write a shader: expected a scale of attention that f32 holds, got ${value}`,
      );
      return true;
    });
  }
});

Deno.test("f32Bound() of what f32 does not hold is the largest number, which bounds nothing", () => {
  assert.equal(f32Bound(0.7), f32Literal(0.7));
  assert.equal(f32Bound(1e39), "3.4028234663852886e+38f");
  assert.equal(f32Bound(-Infinity), "-3.4028234663852886e+38f");
});
