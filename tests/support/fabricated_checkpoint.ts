/**
 * A checkpoint that has every tensor that an architecture asks for, with random numbers: for models of
 * configs that nobody has trained.
 *
 * @module
 */

import {
  elementCount,
  type HostTensor,
  tensor,
  type TensorSource,
  type TensorWeight,
} from "../../graph/mod.ts";
import { Checkpoint, type TensorInfo } from "../../models/mod.ts";
import { rounded } from "./host_tensors.ts";

type Numbers = "f32" | "f16" | "bf16";

/** Layouts and names that are alternatives to others: such a checkpoint has the others. */
const ABSENT =
  /gate_up_proj$|input_linear\.weight$|\.(weight_scale|weight_packed|qweight)|_blocks$/;

/** Checkpoints of transformers 5's layout alone. */
const STACKED_FAMILIES = ["granitemoe", "granitemoe_swa", "granitemoeshared", "gpt_oss"];

/** Random tensors by name, made when they are asked for. */
export class FabricatedCheckpoint extends Checkpoint implements TensorSource {
  readonly #made = new Map<string, HostTensor>();
  readonly #shapes = new Map<string, readonly number[]>();

  constructor(readonly family: string, readonly dtype: Numbers, readonly seed: number) {
    super("fabricated", new Map(), new Map());
  }

  override has(name: string): boolean {
    if (
      STACKED_FAMILIES.includes(this.family) && /(input_linear\.weight|gate_up_proj)$/.test(name)
    ) {
      return true;
    }
    if (STACKED_FAMILIES.includes(this.family) && /\.experts\.\d+\./.test(name)) return false;
    // A third of tied models have a head of their own all the same.
    if (name.startsWith("lm_head.")) return name === "lm_head.weight" && this.seed % 3 === 0;
    return !ABSENT.test(name) &&
      !(name.endsWith(".bias") && /norm/.test(name) && this.seed % 2 === 0);
  }

  override info(name: string): TensorInfo {
    const shape = this.#shapes.get(name) ?? [1];
    return { name, dtype: this.dtype, shape, byteOffset: 0, byteLength: 0, file: "fabricated" };
  }

  override tensor(name: string, shape: readonly number[]): TensorWeight {
    this.#shapes.set(name, shape);
    return tensor(name, this.dtype, shape);
  }

  override unused(): string[] {
    return [];
  }

  override readInto(name: string, byteOffset: number, out: Uint8Array<ArrayBuffer>): Promise<void> {
    const { data } = this.#tensor(name);
    out.set(new Uint8Array(data.buffer, data.byteOffset + byteOffset, out.length));
    return Promise.resolve();
  }

  override async read(name: string, byteOffset: number, byteLength: number) {
    const bytes = new Uint8Array(byteLength);
    await this.readInto(name, byteOffset, bytes);
    return bytes;
  }

  #tensor(name: string): HostTensor {
    const known = this.#made.get(name);
    if (known) return known;
    const made = rounded(this.dtype, this.#make(name, this.#shapes.get(name) ?? [1]));
    this.#made.set(name, made);
    return made;
  }

  /** Norms near 1, biases near 0, matrices that keep the size of what they multiply. */
  #make(name: string, shape: readonly number[]): HostTensor {
    const vector = shape.length === 1 || (shape.length === 2 && shape[0] === 1);
    const columns = shape[shape.length - 1];
    const [around, size] = /norm.*weight|_scale$|\.scale$|layer_scalar/.test(name)
      ? [1, 0.2]
      : vector
      ? [0, 0.5]
      : [0, 1.7 / Math.sqrt(columns)];
    let state = this.seed + 1;
    for (const letter of name) state = (state * 31 + letter.charCodeAt(0)) >>> 0;
    const data = Float32Array.from({ length: elementCount(shape) }, () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return around + size * (2 * (state / 2 ** 32) - 1) * 1.5;
    });
    return { dtype: "f32", shape, data };
  }
}
