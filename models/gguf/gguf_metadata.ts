/**
 * The metadata of a GGUF file, with checks and with the prefix of the architecture.
 *
 * @module
 */

import { CheckpointError } from "../../graph/mod.ts";
import type { GgufValue } from "./gguf_reader.ts";

/** Keys of one file; those of the architecture are asked for without its name in front. */
export class GgufMetadata {
  readonly architecture: string;

  constructor(readonly path: string, readonly values: ReadonlyMap<string, GgufValue>) {
    this.architecture = this.#typed("general.architecture", "string") ?? "";
  }

  /** A number of the architecture, such as `block_count`. */
  number(key: string): number {
    return this.optionalNumber(key) ?? this.#missing(`${this.architecture}.${key}`, "a number");
  }

  optionalNumber(key: string): number | undefined {
    return this.#typed(`${this.architecture}.${key}`, "number");
  }

  optionalText(key: string): string | undefined {
    return this.#typed(`${this.architecture}.${key}`, "string");
  }

  optionalBoolean(key: string): boolean | undefined {
    return this.#typed(`${this.architecture}.${key}`, "boolean");
  }

  /** One number, or one for each layer; some files have lists of equal numbers. */
  sameInAllLayers(key: string): number {
    const full = `${this.architecture}.${key}`;
    const value = this.values.get(full);
    if (!Array.isArray(value)) return this.number(key);
    const [first] = value;
    if (typeof first === "number" && value.every((each) => each === first)) return first;
    throw this.#wrong(full, "one number for all layers", "several");
  }

  /** A list of texts by its full name; undefined where there is none. */
  texts(key: string): readonly string[] | undefined {
    return this.#list(key, (value): value is string => typeof value === "string", "texts");
  }

  /** A list of numbers by its full name; undefined where there is none. */
  numbers(key: string): readonly number[] | undefined {
    return this.#list(key, (value): value is number => typeof value === "number", "numbers");
  }

  /** A number by its full name. */
  plainNumber(key: string): number | undefined {
    return this.#typed(key, "number");
  }

  /** A text by its full name. */
  plainText(key: string): string | undefined {
    return this.#typed(key, "string");
  }

  /** A boolean by its full name. */
  plainBoolean(key: string): boolean | undefined {
    return this.#typed(key, "boolean");
  }

  #list<Item extends GgufValue>(
    key: string,
    isItem: (value: GgufValue) => value is Item,
    what: string,
  ): readonly Item[] | undefined {
    const value = this.values.get(key);
    if (value === undefined) return undefined;
    if (Array.isArray(value) && value.every(isItem)) return value;
    throw this.#wrong(key, `a list of ${what}`, Array.isArray(value) ? "another" : typeof value);
  }

  #typed(key: string, type: "string"): string | undefined;
  #typed(key: string, type: "number"): number | undefined;
  #typed(key: string, type: "boolean"): boolean | undefined;
  #typed(key: string, type: string): GgufValue | undefined {
    const value = this.values.get(key);
    if (value === undefined || typeof value === type) return value;
    throw this.#wrong(key, `a ${type}`, Array.isArray(value) ? "a list" : `a ${typeof value}`);
  }

  #missing(key: string, expected: string): never {
    throw this.#wrong(key, expected, "none");
  }

  #wrong(key: string, expected: string, got: string): CheckpointError {
    return new CheckpointError(
      "checkpoint/gguf-metadata",
      `Cannot read metadata of "${this.path}": expected ${expected} for key "${key}", got ${got}`,
      { hint: "Download the file again, or convert the model anew", details: { key } },
    );
  }
}
