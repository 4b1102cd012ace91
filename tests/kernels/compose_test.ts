import assert from "node:assert/strict";
import { composeShader } from "../../kernels/compose.ts";

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
