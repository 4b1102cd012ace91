/**
 * A golden model as transformers 5 keeps it in memory, or as a vision model's checkpoint has it: the
 * same numbers under other names, experts stacked.
 *
 * @module
 */

import { type HostTensor, invariant } from "../../graph/mod.ts";
import { readSafetensors } from "./safetensors.ts";
import { encodeSafetensors, type TensorToWrite } from "./write_safetensors.ts";

const FILE_TYPES: Readonly<Record<string, string>> = { f32: "F32", bf16: "BF16", f16: "F16" };

const GRANITE = [
  [/\.block_sparse_moe\.router\.layer\./, ".block_sparse_moe.router."],
  [/\.block_sparse_moe\.input_linear\.weight$/, ".block_sparse_moe.experts.gate_up_proj"],
  [/\.block_sparse_moe\.output_linear\.weight$/, ".block_sparse_moe.experts.down_proj"],
] as const;

/** New names of modules in memory, by family; where they are the same as on the hub, none. */
const RENAMED: Readonly<Record<string, readonly (readonly [RegExp, string])[]>> = {
  laguna: [
    [/\.mlp\.experts\.e_score_correction_bias$/, ".mlp.gate.e_score_correction_bias"],
    [/\.mlp\.shared_expert\./, ".mlp.shared_experts."],
  ],
  mixtral: [[/\.block_sparse_moe\./, ".mlp."]],
  mimo_v2_flash: [[/\.self_attn\.attention_sink_bias$/, ".self_attn.sinks"]],
  minimax_m2: [[/\.block_sparse_moe\./, ".mlp."]],
  hy_v3: [
    [/\.mlp\.expert_bias$/, ".mlp.e_score_correction_bias"],
    [/\.mlp\.router\.gate\./, ".mlp.gate."],
    [/\.mlp\.shared_mlp\./, ".mlp.shared_experts."],
  ],
  phimoe: [[/\.block_sparse_moe\.gate\./, ".mlp.router."], [/\.block_sparse_moe\./, ".mlp."]],
  ernie4_5_moe: [[/\.mlp\.moe_statics\./, ".mlp.gate.moe_statics."]],
  axk1: [[/\.post_mlp_layernorm\./, ".mlp.post_mlp_layernorm."]],
  exaone_moe: [[/\.mlp\.e_score_correction_bias$/, ".mlp.gate.e_score_correction_bias"]],
  granitemoe: GRANITE,
  granitemoeshared: GRANITE,
};

const GATE_UP_DOWN = [["gate_proj", "up_proj", "down_proj"], ["w1", "w3", "w2"]] as const;

/** The tensors of a golden model with experts in stacks and new names. */
export async function keptTensors(folder: string, family: string) {
  const tensors = new Map(await readSafetensors(new URL(`file://${folder}/model.safetensors`)));
  for (const [gate, up, down] of GATE_UP_DOWN) {
    const first = new RegExp(`^(.*)\\.experts\\.0\\.${gate}\\.weight$`);
    for (const module of [...tensors.keys()].flatMap((name) => first.exec(name)?.[1] ?? [])) {
      const take = (e: number, name: string) => {
        const key = `${module}.experts.${e}.${name}.weight`;
        const tensor = tensors.get(key);
        tensors.delete(key);
        return tensor;
      };
      const experts: HostTensor[][] = [];
      for (let e = 0;; e++) {
        const all = [gate, up, down].flatMap((name) => take(e, name) ?? []);
        if (all.length === 0) break;
        experts.push(all);
      }
      const [rows, columns] = experts[0][0].shape;
      tensors.set(
        `${module}.experts.gate_up_proj`,
        join(experts.flatMap(([a, b]) => [a, b]), [experts.length, 2 * rows, columns]),
      );
      tensors.set(
        `${module}.experts.down_proj`,
        join(experts.map(([, , c]) => c), [experts.length, columns, rows]),
      );
    }
  }
  const rename = (name: string) =>
    (RENAMED[family] ?? []).reduce((old, [from, to]) => old.replace(from, to), name);
  return new Map([...tensors].map(([name, tensor]) => [rename(name), tensor]));
}

/** The tensors of a golden model below a vision model, with tensors of others beside them. */
export async function wrappedTensors(folder: string, inside: string, outside: string) {
  const tensors = await readSafetensors(new URL(`file://${folder}/model.safetensors`));
  const rename = (name: string) =>
    name.startsWith("model.") ? `${inside}${name.slice(6)}` : `${outside}${name}`;
  const others = new Map<string, HostTensor>([
    ["model.vision_tower.patch_embedder.input_proj.weight", vision()],
    ["model.embed_vision.embedding_projection.weight", vision()],
  ]);
  return new Map([...others, ...[...tensors].map(([name, each]) => [rename(name), each] as const)]);
}

function vision(): HostTensor {
  return { dtype: "f32", shape: [2, 2], data: new Float32Array(4) };
}

function bytesOf({ data }: HostTensor): Uint8Array<ArrayBuffer> {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

function join(tensors: readonly HostTensor[], shape: number[]): HostTensor {
  const parts = tensors.map(bytesOf);
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return { dtype: tensors[0].dtype, shape, data: bytes };
}

/** Writes a model folder that may be opened; the caller removes it. */
export async function writeModel(
  tensors: ReadonlyMap<string, HostTensor>,
  config: unknown,
): Promise<string> {
  const folder = await Deno.makeTempDir();
  const entries = [...tensors].map(([name, tensor]): [string, TensorToWrite] => {
    const dtype = FILE_TYPES[tensor.dtype];
    invariant(dtype, `no file has ${tensor.dtype}`);
    return [name, { dtype, shape: [...tensor.shape], data: bytesOf(tensor) }];
  });
  const file = encodeSafetensors(Object.fromEntries(entries));
  await Deno.writeFile(`${folder}/model.safetensors`, file);
  await Deno.writeTextFile(`${folder}/config.json`, JSON.stringify(config));
  return folder;
}
