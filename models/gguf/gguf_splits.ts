/**
 * A GGUF file, or the several that one was split into.
 *
 * @module
 */

import { basename, dirname, join } from "node:path";
import { CheckpointError } from "../../graph/mod.ts";
import type { FileFacts } from "./gguf_family.ts";
import { GgufFile, type GgufTensor } from "./gguf_file.ts";

/** The tensors of all splits. */
export class GgufSplits {
  readonly tensors: ReadonlyMap<string, GgufTensor>;

  private constructor(readonly files: readonly GgufFile[]) {
    this.tensors = new Map(files.flatMap((file) => [...file.tensors]));
  }

  /** Opens a file and, where it is the first of several, the others beside it. */
  static async open(path: string): Promise<GgufSplits> {
    const files = [await GgufFile.open(path)];
    try {
      const count = Number(files[0].metadata.get("split.count") ?? 1);
      const number = Number(files[0].metadata.get("split.no") ?? 0);
      if (number !== 0) throw notTheFirst(path, number, count);
      for (let i = 1; i < count; i++) files.push(await GgufFile.open(splitPath(path, i, count)));
      return new GgufSplits(files);
    } catch (error) {
      await Promise.all(files.map((file) => file.close()));
      throw error;
    }
  }

  /** What the metadata does not say. */
  facts(): FileFacts {
    const table = this.tensors.get("token_embd.weight");
    if (!table) throw missing("token_embd.weight", this.files[0].path);
    return {
      vocabSize: table.shape[0],
      isTied: !this.tensors.has("output.weight"),
      has: (tensor) => this.tensors.has(tensor),
      rowsOf: (tensor) => {
        const found = this.tensors.get(tensor);
        if (!found) throw missing(tensor, this.files[0].path);
        return found.shape[found.shape.length - 2] ?? 1;
      },
    };
  }

  async close(): Promise<void> {
    await Promise.all(this.files.map((file) => file.close()));
  }
}

/** `model-00002-of-00003.gguf` beside the first one. */
function splitPath(first: string, index: number, count: number): string {
  const digits = (value: number) => String(value).padStart(5, "0");
  const end = `-${digits(1)}-of-${digits(count)}.gguf`;
  const name = basename(first);
  if (name.endsWith(end)) {
    const start = name.slice(0, -end.length);
    return join(dirname(first), `${start}-${digits(index + 1)}-of-${digits(count)}.gguf`);
  }
  throw new CheckpointError(
    "checkpoint/split",
    `Cannot open splits of "${first}": expected a name that ends with ${end}, got "${name}"`,
    { hint: "Give the files the names that they were published with", details: { path: first } },
  );
}

function notTheFirst(path: string, number: number, count: number): CheckpointError {
  return new CheckpointError(
    "checkpoint/split",
    `Cannot open model "${path}": expected the first of ${count} splits, got number ${number + 1}`,
    { hint: `Give the file that ends with -00001-of-${String(count).padStart(5, "0")}.gguf` },
  );
}

function missing(tensor: string, path: string): CheckpointError {
  return new CheckpointError(
    "checkpoint/missing-tensor",
    `Cannot find tensor "${tensor}": expected it in "${path}", got none`,
    { hint: "Choose a file of a language model", details: { tensor, path } },
  );
}
