import assert from "node:assert/strict";
import { standardWgsl } from "../../kernels/enables.ts";
import { GPU_PROFILE } from "../support/gpu_profile.ts";
import { matrixShaders } from "../support/matrix_shaders.ts";
import { slowTest } from "../support/quick.ts";
import { type Device, type Lower, RECORDED } from "../support/recorded_shaders.ts";
import type { NamedShader, Verdict } from "../tint/compile.ts";

const FOLDER = new URL("../tint/", import.meta.url);

/** Compiles shaders in a process that may load native code. */
async function compile(shaders: readonly NamedShader[]): Promise<Verdict[]> {
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "--quiet", "--no-config", "--node-modules-dir=none"],
      ...[`--lock=${new URL("deno.lock", FOLDER).pathname}`, "--frozen"],
      ...["--allow-ffi", "--allow-read", "--allow-env"],
      new URL("compile.ts", FOLDER).pathname,
    ],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(JSON.stringify(shaders)));
  await writer.close();
  const { code, stdout, stderr } = await child.output();
  const text = new TextDecoder();
  assert.equal(code, 0, `Dawn (npm:webgpu) did not run: ${text.decode(stderr)}`);
  return JSON.parse(text.decode(stdout));
}

/** Devices whose shaders differ: sums through workgroup memory, and hand-over between dispatches. */
const DEVICES: Readonly<Record<string, Device>> = {
  recorded: {},
  "no subgroups": { profile: { ...GPU_PROFILE, subgroups: false, subgroupSize: 1 } },
  "no tickets": { handOff: "dispatch" },
};

function shadersOf(device: string, layers: Iterable<[string, Lower]>): NamedShader[] {
  return [...layers].flatMap(([name, lower]) =>
    lower(DEVICES[device]).map(({ kernel, wgsl }, i) => ({
      name: `${name}.${i}.${kernel} (${device})`,
      wgsl: standardWgsl(wgsl),
    }))
  );
}

/** Every layer on every device; without subgroups none that shares rows by them. */
function shaders(): NamedShader[] {
  const others = [...RECORDED].filter(([name]) => name !== "moe_direct");
  return Object.keys(DEVICES).flatMap((device) =>
    shadersOf(device, device === "no subgroups" ? others : RECORDED)
  );
}

/** Kernels with matrices of subgroups, which no device on record has. */
function withMatrices(): NamedShader[] {
  return [...matrixShaders()].flatMap(({ name, dispatches }) =>
    dispatches.filter(({ wgsl }) => wgsl.includes("subgroupMatrixLoad"))
      .map(({ kernel, wgsl }) => ({ name: `${name}: ${kernel}`, wgsl: standardWgsl(wgsl) }))
  );
}

/** Barriers must be met by all: `count` may differ between invocations as far as WGSL can tell. */
const NOT_UNIFORM = `
var<workgroup> count: atomic<u32>;

@compute @workgroup_size(8)
fn main(@builtin(local_invocation_index) index: u32) {
  atomicAdd(&count, index);
  if (atomicLoad(&count) > 3u) {
    workgroupBarrier();
  }
}
`;

slowTest(
  "every shader on record is valid WGSL by the specification, uniformity included",
  async () => {
    const matrices = withMatrices();
    assert.ok(matrices.length > 80, `${matrices.length} shaders with matrices`);
    const composed = [...shaders(), ...matrices];
    const control = { name: "control", wgsl: NOT_UNIFORM };
    const verdicts = await compile([...composed, control]);
    const invalid = verdicts.filter(({ errors }) => errors.length > 0);
    assert.deepEqual(invalid.map(({ name, errors }) => `${name}: ${errors[0]}`), [
      "control: 'workgroupBarrier' must only be called from uniform control flow: workgroupBarrier();",
    ]);
    assert.equal(verdicts.length, composed.length + 1);
  },
);

Deno.test("standardWgsl() enables subgroups where they are used, in front and once", () => {
  const uses = "enable f16;\n\nfn all(x: f32) -> f32 {\n  return subgroupAdd(x);\n}\n";
  const expected = `enable subgroups;\n${uses}`;
  assert.equal(standardWgsl(uses), expected);
  assert.equal(standardWgsl(expected), expected);
  const mentions = "// subgroupAdd is not used\nfn main() {}\n";
  assert.equal(standardWgsl(mentions), mentions);
});
