/**
 * Small models whose greedy tokens are known from transformers.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { type HostTensor, invariant } from "../../graph/mod.ts";
import type { Model } from "../../models/mod.ts";
import { openBareModel } from "./bare_model.ts";
import { readSafetensors } from "./safetensors.ts";

const FOLDER = new URL("../golden/", import.meta.url);

/** One prompt and what follows from it. */
export interface GoldenPrompt {
  /** `p0` */
  readonly name: string;
  readonly inputIds: Int32Array<ArrayBuffer>;
  /** The 16 tokens that greedy decoding adds. */
  readonly greedy: readonly number[];
}

/** A model and what is known of it. */
export interface GoldenModel {
  readonly name: string;
  readonly prompts: readonly GoldenPrompt[];
  open(): Promise<Model>;
}

/** Every model under tests/golden. */
export async function goldenModels(): Promise<readonly GoldenModel[]> {
  const names: string[] = [];
  for await (const { name } of Deno.readDir(FOLDER)) {
    const golden = new URL(`${name}/golden.safetensors`, FOLDER);
    if (await Deno.stat(golden).then(() => true, () => false)) names.push(name);
  }
  return await Promise.all(names.sort().map(readGolden));
}

async function readGolden(name: string): Promise<GoldenModel> {
  const folder = new URL(`${name}/`, FOLDER);
  const tensors = await readSafetensors(new URL("golden.safetensors", folder));
  const prompts = [...tensors.keys()]
    .filter((key) => key.endsWith(".input_ids"))
    .map((key) => promptOf(key.slice(0, key.indexOf(".")), tensors))
    .sort((a, b) => a.inputIds.length - b.inputIds.length);
  return { name, prompts, open: () => openBareModel(fileURLToPath(folder)) };
}

function promptOf(name: string, tensors: ReadonlyMap<string, HostTensor>): GoldenPrompt {
  const ids = (key: string) => {
    const data = tensors.get(`${name}.${key}`)?.data;
    invariant(data instanceof BigInt64Array, `prompt ${name} has no ${key}`);
    return Int32Array.from(data, Number);
  };
  return { name, inputIds: ids("input_ids"), greedy: [...ids("greedy")] };
}
