import assert from "node:assert/strict";
import { KernelError } from "../../graph/mod.ts";
import { composeShader, instantiate } from "../../kernels/compose.ts";
import { MATRIX_WORDS } from "../../kernels/matrices/matrices.ts";
import { readFragment } from "../../kernels/fragment.ts";

const KERNELS = new URL("../../kernels/", import.meta.url);

/** What TypeScript fills in before it composes. */
const PARAMETERS = {
  NAME: "w",
  SOURCE: "source",
  VALUE: "1.0",
  SLOTS: "SLOTS",
  SMALLEST: "8",
  SUBGROUP: "subgroupAdd",
  COMBINE: "lanes_add",
};

async function shaderFiles(folder = KERNELS): Promise<URL[]> {
  const found: URL[] = [];
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    if (isDirectory) found.push(...await shaderFiles(new URL(`${name}/`, folder)));
    else if (name.endsWith(".wgsl")) found.push(new URL(name, folder));
  }
  return found;
}

/** A shader of one constant, some fragments, and an entry point that calls `scaled`. */
function compose(...fragments: string[]): string {
  return composeShader({
    constants: { FACTOR: 2 },
    buffers: [],
    fragments,
    body: "//@fragment test/body\n//@needs scaled\nfn main() {\n  let x = scaled(3u);\n}\n",
  }).wgsl;
}

function scaled(directives: string): string {
  return `${directives}fn scaled(x: u32) -> u32 {\n  return twice(x) * FACTOR;\n}\n`;
}

const TWICE = `//@fragment test/twice
//@gives twice
const TWO = 2u;

fn twice(x: u32) -> u32 {
  return x * TWO;
}
`;

const SCALED = scaled("//@fragment test/scaled\n//@needs FACTOR twice\n//@gives scaled\n");

function assertRefused(make: () => void, message: RegExp): void {
  assert.throws(make, (error) => error instanceof KernelError && message.test(error.message));
}

Deno.test("every fragment of a file bears its name, and needs and gives what its text does", async () => {
  const files = await shaderFiles();
  assert.ok(files.length > 100);
  for (const file of files) {
    const text = await Deno.readTextFile(file);
    const { name } = readFragment(instantiate(instantiate(text, MATRIX_WORDS.plain), PARAMETERS));
    assert.equal(name, file.href.slice(KERNELS.href.length).replace(/\.wgsl$/, ""));
  }
});

Deno.test("composeShader() takes fragments whose needs are given, and keeps their directives", () => {
  const wgsl = compose(SCALED, TWICE);
  assert.ok(wgsl.startsWith("const FACTOR = 2u;\n\nfn scaled("));
  assert.ok(!wgsl.includes("//@"));
});

Deno.test("composeShader() refuses a need that nobody gives, by fragment and name", () => {
  assertRefused(
    () => compose(SCALED),
    /^Cannot compose shader "test\/body": expected .* gives "twice" to "test\/scaled", got none$/,
  );
});

Deno.test("composeShader() refuses a need of what another fragment keeps to itself", () => {
  const hidden = TWICE.replace("//@gives twice", "//@gives TWO");
  assertRefused(
    () => compose(SCALED, hidden),
    /gives "twice" to "test\/scaled", got fragment "test\/twice", which keeps it to itself$/,
  );
});

Deno.test("composeShader() refuses a fragment that leaves a need out", () => {
  assertRefused(
    () => compose(scaled("//@fragment test/scaled\n//@needs twice\n//@gives scaled\n"), TWICE),
    /^Cannot read fragment "test\/scaled": expected "FACTOR" among its needs/,
  );
});

Deno.test("composeShader() refuses a need that the text has no use for", () => {
  const directives = "//@fragment test/scaled\n//@needs FACTOR thrice twice\n//@gives scaled\n";
  assertRefused(
    () => compose(scaled(directives), TWICE),
    /^Cannot read fragment "test\/scaled": expected a text that uses "thrice"/,
  );
});

Deno.test("composeShader() refuses two that declare one name, and a give without declaration", () => {
  assertRefused(
    () => compose(SCALED, TWICE, TWICE.replace("test/twice", "test/again")),
    /expected one declaration of "TWO", got fragment "test\/twice" and fragment "test\/again"$/,
  );
  assertRefused(
    () => compose(SCALED, TWICE, "const FACTOR = 3u;\n"),
    /one declaration of "FACTOR", got a constant or buffer and fragment "FACTOR"$/,
  );
  assertRefused(
    () => compose(SCALED, TWICE.replace("//@gives twice", "//@gives twice thrice")),
    /^Cannot read fragment "test\/twice": expected a declaration of "thrice"/,
  );
});

Deno.test("composeShader() refuses directives that it does not know", () => {
  assertRefused(
    () => compose(SCALED, TWICE.replace("//@gives", "//@give")),
    /expected \/\/@fragment, .* got "\/\/@give twice"$/,
  );
});

Deno.test("composeShader() knows the numbered names that @repeat makes", () => {
  const body = `//@fragment test/numbered
//@needs COUNT SIZE_$i
fn main() {
  //@repeat i COUNT
  let size_$i = SIZE_$i;
  //@end
  let all = size_0 + size_1;
}
`;
  const constants = { COUNT: 2, SIZE_0: 3, SIZE_1: 5 };
  assert.ok(composeShader({ constants, buffers: [], body }).wgsl.includes("let size_1 = SIZE_1;"));
  assertRefused(
    () => composeShader({ constants: { COUNT: 2, SIZES: 3 }, buffers: [], body }),
    /gives "SIZE_\$" to "test\/numbered", got none$/,
  );
});
