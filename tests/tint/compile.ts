/**
 * Compiles WGSL with Tint, the compiler of Dawn and Chromium, which holds to the specification's
 * letter. Dawn's null backend needs no GPU. A program of its own, because it loads native code
 * (`--allow-ffi`) of a package that the locks of servers and of other tests do not name.
 *
 * Reads a JSON list of `{ name, wgsl }` from stdin and writes the same list as `{ name, errors }`.
 *
 * @module
 */

/** A shader to compile. */
export interface NamedShader {
  readonly name: string;
  readonly wgsl: string;
}

/** What Tint says of it. */
export interface Verdict {
  readonly name: string;
  /** Messages with the line that each is about; none for a valid shader. */
  readonly errors: readonly string[];
}

/** The part of the package that is used; by a variable, so that only this program loads it. */
interface Dawn {
  create(options: readonly string[]): GPU;
}

const DAWN = "npm:webgpu@0.6.2";

/** Matrices of subgroups (tensor cores), which the specification does not have yet. */
const MATRICES = "chromium-experimental-subgroup-matrix" as GPUFeatureName;

/** What `create` gave, for as long as the process lives: Dawn crashes when it is collected before. */
const held: GPU[] = [];

if (import.meta.main) {
  const shaders: readonly NamedShader[] = await new Response(Deno.stdin.readable).json();
  console.log(JSON.stringify(await compileAll(shaders)));
  // Dawn's threads would keep the process alive.
  Deno.exit(0);
}

async function compileAll(shaders: readonly NamedShader[]): Promise<Verdict[]> {
  const { create }: Dawn = await import(DAWN);
  const gpu = create(["backend=null", "enable-dawn-features=allow_unsafe_apis"]);
  held.push(gpu);
  const adapter = await gpu.requestAdapter();
  if (!adapter) throw new Error("Cannot open Dawn's null adapter: expected one, got none");
  const requiredFeatures: GPUFeatureName[] = ["shader-f16", "subgroups", MATRICES];
  const device = await adapter.requestDevice({ requiredFeatures });
  const verdicts: Verdict[] = [];
  for (const { name, wgsl } of shaders) {
    device.pushErrorScope("validation");
    const module = device.createShaderModule({ code: wgsl, label: name });
    const { messages } = await module.getCompilationInfo();
    await device.popErrorScope();
    const lines = wgsl.split("\n");
    const errors = messages.filter(({ type }) => type === "error");
    verdicts.push({
      name,
      errors: errors.map(({ lineNum, message }) => `${message}: ${lines[lineNum - 1]?.trim()}`),
    });
  }
  return verdicts;
}
