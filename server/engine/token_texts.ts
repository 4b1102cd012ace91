/**
 * Tokens as clients of log-probabilities see them.
 *
 * @module
 */

import { tokenBytes, type Vocabulary } from "../../models/mod.ts";
import type { Engine } from "../../runtime/mod.ts";
import type { WireToken } from "./protocol.ts";

/** The texts and bytes of a model's tokens. */
export class TokenTexts {
  readonly #vocabulary: Vocabulary | undefined;
  readonly #added: ReadonlyMap<number, string>;

  constructor(readonly engine: Pick<Engine, "decode" | "vocabulary">) {
    this.#vocabulary = engine.vocabulary();
    const added = this.#vocabulary?.added ?? new Map<string, number>();
    this.#added = new Map([...added].map(([text, id]) => [id, text]));
  }

  /** The token of an id. */
  of(id: number): WireToken {
    const text = this.#vocabulary?.texts[id] ?? "";
    const added = this.#added.get(id);
    if (text === "") return { token: added ?? "", bytes: null };
    // Without a rule for bytes, the decoder knows how tokens become text.
    const kind = this.#vocabulary?.kind ?? "raw";
    const bytes = added === undefined && kind !== "raw"
      ? tokenBytes(kind, text)
      : new TextEncoder().encode(added ?? this.engine.decode([id]));
    return {
      token: new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes),
      bytes: [...bytes],
    };
  }
}
