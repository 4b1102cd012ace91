/**
 * The tensors that a checkpoint stores for one matrix, read with checks.
 *
 * @module
 */

import { cast, CheckpointError, type DType, reshape, type Weight } from "../../graph/mod.ts";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";

const INCOMPLETE = "Download the checkpoint again: it is incomplete or its index is wrong";

const SCALAR_TYPES: readonly DType[] = ["f32", "f16", "bf16", "f8_e8m0"];

/** A module with a matrix [rows, columns], and the tensors beside it. */
export class StoredModule {
  constructor(
    readonly checkpoint: Checkpoint,
    /** Path of the module. */
    readonly path: string,
    readonly rows: number,
    readonly columns: number,
  ) {}

  /** Full name of one of the module's tensors. */
  nameOf(tensor: string): string {
    return `${this.path}.${tensor}`;
  }

  has(tensor: string): boolean {
    return this.checkpoint.has(this.nameOf(tensor));
  }

  /** The first of some tensors that the checkpoint has; `owner` needs it, for the message. */
  find(owner: string, tensors: readonly string[]): string {
    const found = tensors.find((tensor) => this.has(tensor));
    if (found !== undefined) return found;
    const names = tensors.map((tensor) => `"${this.nameOf(tensor)}"`).join(" or ");
    throw halfQuantized(this.nameOf(owner), `its scales ${names}`, "none");
  }

  shapeOf(tensor: string): readonly number[] {
    return this.checkpoint.info(this.nameOf(tensor)).shape;
  }

  /** A tensor of that shape and of one of some types. */
  tensor(tensor: string, shape: readonly number[], types?: readonly DType[]): Weight {
    return this.checkpoint.tensor(this.nameOf(tensor), shape, types);
  }

  /** A tensor of one number, whatever its rank, as f32 [1]. */
  scalar(tensor: string): Weight {
    const shape = this.shapeOf(tensor);
    const single = shape.every((size) => size === 1) ? shape : [];
    return reshape(cast(this.tensor(tensor, single, SCALAR_TYPES), "f32"), [1]);
  }
}

/** A part of a packed matrix is missing, or has a type that the others do not go with. */
export function halfQuantized(name: string, expected: string, got: string): CheckpointError {
  return new CheckpointError(
    "checkpoint/half-quantized",
    `Cannot read tensor "${name}": expected ${expected}, got ${got}`,
    { hint: INCOMPLETE, details: { tensor: name } },
  );
}
