/**
 * The tensors of a GGUF file as a checkpoint with the hub's names.
 *
 * @module
 */

import { basename, dirname } from "node:path";
import { CheckpointError } from "../../graph/mod.ts";
import { Checkpoint } from "../checkpoint/checkpoint.ts";
import type { Quantization } from "../quantization/quantization.ts";
import { EXPERTS, type GgufFamily, LAYER_MODULES, MODEL_MODULES } from "./gguf_family.ts";
import type { GgufTensor } from "./gguf_file.ts";
import { describeTarget, quantizationOf } from "./gguf_quantization.ts";
import type { GgufSplits } from "./gguf_splits.ts";
import { LatentMatrix } from "./latent_matrix.ts";
import type { Target } from "./row_codec.ts";
import { checkReadable, targetOf } from "./targets.ts";
import { type Rows, VirtualTensors } from "./virtual_tensors.ts";

/** Number of heads that rows of q and k are in; they are interleaved per head. */
interface HeadCounts {
  readonly q: number;
  readonly k: number;
}

/** The checkpoint of some splits, and how its packed matrices read. */
export function ggufCheckpoint(
  splits: GgufSplits,
  family: GgufFamily,
  heads: HeadCounts,
): { readonly checkpoint: Checkpoint; readonly quantization: Quantization | undefined } {
  const { path } = splits.files[0];
  const tensors = new VirtualTensors(path, () => splits.close());
  const builder = new Builder(tensors, family, heads);
  for (const tensor of splits.tensors.values()) builder.add(tensor);
  builder.addGathered();
  const files = new Map([[path, tensors]]);
  const checkpoint = new Checkpoint(dirname(path), tensors.tensors, files, builder.notes(path));
  return { checkpoint, quantization: quantizationOf(builder.targets, basename(path)) };
}

const EXPERT_TENSOR = /^blk\.(\d+)\.ffn_(gate|up|down)_exps\.(weight|bias)$/;
/** Files of before 2024 have a tensor for each expert. */
const SINGLE_EXPERT = /^blk\.(\d+)\.ffn_(gate|up|down)\.(\d+)\.weight$/;
/** Halves of DeepSeek's `kv_b_proj`. */
const LATENT_TENSOR = /^blk\.(\d+)\.attn_(k|v)_b\.weight$/;
/** Modules that are a tensor by themselves. */
const BARE_MODULE = /\.(sinks|e_score_correction_bias)$/;
const LAYER_TENSOR = /^blk\.(\d+)\.([a-z_]+)(?:\.(weight|bias))?$/;

/** A matrix of one expert. */
interface ExpertMatrix {
  readonly module: string;
  readonly rows: Rows;
  readonly columns: number;
}

class Builder {
  readonly targets = new Map<string, Target>();
  /** Matrices of the experts of each layer, which share a format. */
  readonly #experts = new Map<string, ExpertMatrix[]>();
  readonly #latents = new Map<string, { readonly k?: GgufTensor; readonly v?: GgufTensor }>();
  readonly #kept = new Map<string, { file: number; memory: number }>();

  constructor(
    readonly tensors: VirtualTensors,
    readonly family: GgufFamily,
    readonly heads: HeadCounts,
  ) {}

  add(tensor: GgufTensor): void {
    checkReadable(tensor);
    const { name } = tensor;
    const [, layer, part, suffix] = name.match(EXPERT_TENSOR) ?? [];
    if (layer !== undefined) return this.#addStacked(tensor, layer, part, suffix);
    const [, singleLayer, singlePart, expert] = name.match(SINGLE_EXPERT) ?? [];
    if (singleLayer !== undefined) {
      const rows = { tensor, first: 0, count: tensor.shape[0] };
      return this.#addExpert(singleLayer, singlePart, expert, rows);
    }
    const [, latentLayer, half] = name.match(LATENT_TENSOR) ?? [];
    if (latentLayer === undefined || tensor.shape.length !== 3) return this.#addNamed(tensor);
    this.#latents.set(latentLayer, { ...this.#latents.get(latentLayer), [half]: tensor });
  }

  /** Adds what was gathered by {@linkcode add}. */
  addGathered(): void {
    for (const [layer, { k, v }] of this.#latents) {
      const name = `model.layers.${layer}.self_attn.kv_b_proj.weight`;
      if (k && v && !this.tensors.tensors.has(name)) {
        this.tensors.addLatent(name, new LatentMatrix(k, v));
      }
    }
    for (const matrices of this.#experts.values()) {
      const target = targetOf(matrices.map(({ rows }) => rows.tensor));
      for (const { module, rows, columns } of matrices) {
        this.#addMatrix(module, rows, columns, target);
      }
    }
  }

  /** What the formats in memory cost. */
  notes(path: string): string[] {
    return [...this.#kept].map(([what, { file, memory }]) =>
      `${basename(path)}: ${what}, ${formatBytes(memory)} in memory of ${
        formatBytes(file)
      } in the file`
    );
  }

  #addStacked(tensor: GgufTensor, layer: string, part: string, suffix: string): void {
    const [experts, size] = tensor.shape;
    for (let e = 0; e < experts; e++) {
      if (suffix === "bias") {
        const rows = { tensor, first: e, count: 1 };
        this.tensors.addPlain(`${this.#expert(layer, part, String(e))}.bias`, rows, [size]);
      } else {
        this.#addExpert(layer, part, String(e), { tensor, first: e * size, count: size });
      }
    }
  }

  #addExpert(layer: string, part: string, expert: string, rows: Rows): void {
    const { shape } = rows.tensor;
    const matrices = this.#experts.get(layer) ?? [];
    const module = this.#expert(layer, part, expert);
    matrices.push({ module, rows, columns: shape[shape.length - 1] });
    this.#experts.set(layer, matrices);
  }

  #expert(layer: string, part: string, expert: string): string {
    const { module, names } = this.family.experts ?? EXPERTS;
    return `model.layers.${layer}.${module}.${expert}.${Reflect.get(names, part)}`;
  }

  /** A tensor that no name is known for keeps its own, and is reported as unused. */
  #addNamed(tensor: GgufTensor): void {
    const { name, shape } = tensor;
    const module = this.#moduleOf(name);
    const suffix = name.endsWith(".bias") ? ".bias" : ".weight";
    const isBare = module !== undefined && BARE_MODULE.test(module);
    const rows: Rows = { tensor, first: 0, count: shape.length > 1 ? shape[0] : 1 };
    if (module && shape.length === 2 && suffix === ".weight") {
      const order = this.#orderOf(name, shape[0]);
      return this.#addMatrix(
        module,
        { ...rows, ...(order && { order }) },
        shape[1],
        targetOf([tensor]),
      );
    }
    if (!tensor.type.plain) throw notAMatrix(tensor);
    const order = this.#orderOf(name, shape[0]);
    const ordered = order ? { tensor, first: 0, count: shape[0], order } : rows;
    // A gate of one row has lost its first dimension.
    const whole = module?.endsWith("shared_expert_gate") ? [1, ...shape] : shape;
    this.tensors.addPlain(module ? module + (isBare ? "" : suffix) : name, ordered, whole);
  }

  #moduleOf(name: string): string | undefined {
    const [, layer, part] = name.match(LAYER_TENSOR) ?? [];
    if (layer === undefined) return MODEL_MODULES[name.replace(/\.(weight|bias)$/, "")];
    const module = this.family.layerModules?.[part] ?? LAYER_MODULES[part];
    return module && `model.layers.${layer}.${module}`;
  }

  #addMatrix(module: string, rows: Rows, columns: number, target: Target | undefined): void {
    if (!target) return this.tensors.addPlain(`${module}.weight`, rows, [rows.count, columns]);
    const before = this.tensors.byteLength;
    this.tensors.addMatrix(module, rows, columns, target);
    if (target.format !== "f32") this.targets.set(module, target);
    const { type } = rows.tensor;
    const file = rows.count * columns / type.blockElements * type.blockBytes;
    const memory = this.tensors.byteLength - before;
    if (module === MODEL_MODULES.token_embd && target.format !== "f32") {
      // Rows are looked up in plain numbers alone.
      const expanded = 4 * rows.count * columns;
      return this.#count(`${type.name} of the embedding is expanded to f32`, file, expanded);
    }
    this.#count(`${type.name} is kept as ${describeTarget(target)}`, file, memory);
  }

  #count(what: string, file: number, memory: number): void {
    const sum = this.#kept.get(what) ?? { file: 0, memory: 0 };
    this.#kept.set(what, { file: sum.file + file, memory: sum.memory + memory });
  }

  /**
   * Rows of a head of q and k: llama.cpp rotates neighbours, transformers the halves of a head, so its
   * converter puts row i of the first half beside row i of the second.
   */
  #orderOf(name: string, rows: number): ((row: number) => number) | undefined {
    const [, which] = name.match(/\.attn_(q|k)\.(?:weight|bias)$/) ?? [];
    if (!this.family.interleavesHeads || (which !== "q" && which !== "k")) return undefined;
    const size = rows / this.heads[which];
    const half = size / 2;
    return (row) => {
      const [head, inHead] = [Math.floor(row / size), row % size];
      return head * size + 2 * (inHead % half) + Math.floor(inHead / half);
    };
  }
}

function notAMatrix({ name, type, file }: GgufTensor): CheckpointError {
  return new CheckpointError(
    "checkpoint/dtype",
    `Cannot read tensor "${name}" of "${
      basename(file.path)
    }": expected F32, F16 or BF16, as it is not a known matrix, got ${type.name}`,
    { hint: "Convert the model anew", details: { tensor: name, path: file.path } },
  );
}

function formatBytes(bytes: number): string {
  const units = [[1e9, "GB"], [1e6, "MB"], [1e3, "kB"]] as const;
  const [size, unit] = units.find(([least]) => bytes >= least) ?? [1, "bytes"] as const;
  return `${(bytes / size).toFixed(size > 1 ? 1 : 0)} ${unit}`;
}
