/**
 * Folders that are gone when their user has finished, or is interrupted; the folder of a model.
 *
 * @module
 */

import type { ModelSizes } from "./model_sizes.ts";
import { useLayers, writeRandomModel } from "./random_model.ts";

const SIGNALS = ["SIGINT", "SIGTERM"] as const;

/** A folder for large files, below TMPDIR. */
export class TemporaryFolder implements AsyncDisposable {
  readonly #end: () => void;

  private constructor(readonly path: string) {
    this.#end = () => {
      Deno.removeSync(path, { recursive: true });
      Deno.exit(130);
    };
    for (const signal of SIGNALS) Deno.addSignalListener(signal, this.#end);
  }

  static async make(): Promise<TemporaryFolder> {
    return new TemporaryFolder(await Deno.makeTempDir({ prefix: "mixline-model-" }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const signal of SIGNALS) Deno.removeSignalListener(signal, this.#end);
    await Deno.remove(this.path, { recursive: true });
  }
}

/** The folder of one model at a time: it is written once for all formats that are measured one after the other. */
export class ModelFolder implements AsyncDisposable {
  #written: { readonly key: string; readonly folder: TemporaryFolder } | undefined;

  /** A folder with the first layers of a model. */
  async hold(
    model: ModelSizes,
    layers: number,
    onBytes: (done: number, total: number) => void,
  ): Promise<string> {
    const key = JSON.stringify(model.config(layers));
    if (this.#written?.key !== key) {
      await this[Symbol.asyncDispose]();
      const folder = await TemporaryFolder.make();
      this.#written = { key: "", folder };
      await writeRandomModel(folder.path, model.config(layers), onBytes);
      this.#written = { key, folder };
    }
    const { path } = this.#written.folder;
    await useLayers(path, model.config(layers));
    return path;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#written?.folder[Symbol.asyncDispose]();
    this.#written = undefined;
  }
}
