/**
 * Deploys the bundled model on WebGPU in a process of its own, whose environment a test chooses, and
 * prints what was told and chosen as JSON. Tests share one environment, so none may change it.
 *
 * @module
 */

import { MixlineError, pipeline } from "../../mod.ts";
import { ROOT } from "./root.ts";
import { STORYTELLER } from "./model_folder.ts";

/** What a deployment said, or the error that ended it. */
export interface BundledDeployment {
  readonly told?: readonly string[];
  /** Texts of the choices in the report. */
  readonly texts?: readonly string[];
  readonly error?: { readonly code: string; readonly message: string };
}

/** Runs this file with variables of its own. */
export async function deployBundled(
  env: Readonly<Record<string, string>>,
): Promise<BundledDeployment> {
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--lock=deno.lock", "--no-check", "-A", import.meta.url],
    cwd: ROOT,
    env,
  }).output();
  const [text, problem] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
  if (text === "") throw new Error(problem);
  return JSON.parse(text);
}

async function deploy(): Promise<BundledDeployment> {
  const told: string[] = [];
  try {
    await using engine = await pipeline().deploy({
      model: STORYTELLER,
      executor: "webgpu",
      onProgress: (event) => event.kind === "note" && told.push(event.message),
    });
    const choices: unknown = engine.report.program.choices;
    const texts = Array.isArray(choices)
      ? choices.map((choice) => String(Reflect.get(choice, "text")))
      : [];
    return { told, texts };
  } catch (error) {
    if (!(error instanceof MixlineError)) throw error;
    return { error: { code: error.code, message: error.message } };
  }
}

if (import.meta.main) console.log(JSON.stringify(await deploy()));
