/**
 * The part of `docs/checkpoints.md` about GGUF files, from their tables.
 *
 * @module
 */

import { GGUF_FAMILIES, GGUF_TYPES } from "../models/mod.ts";
import { code, table } from "./markdown.ts";

/** Heading, text and tables. */
export function ggufSection(): string[] {
  const families = GGUF_FAMILIES.map(({ architectures, hfName }) => [
    architectures.map(code).join(", "),
    typeof hfName === "string" ? code(hfName) : "DeepSeek-V2 or V3, by the router",
  ]);
  const types = GGUF_TYPES.filter(({ plain, packed }) => plain ?? packed).map((type) => [
    code(type.name),
    (type.blockBytes * 8 / type.blockElements).toString(),
    formatOf(type),
  ]);
  const refused = GGUF_TYPES.filter(({ plain, packed }) => !plain && !packed)
    .map(({ name }) => code(name));
  return [
    "## GGUF",
    "A `.gguf` file is a model: `deno task deploy --model x.gguf`. Of a model in splits, give the first; the others are read beside it under the names that they were published with. Config, tokenizer, chat template and end tokens come from the metadata; a tokenizer that is not known refuses texts, and token ids work.",
    table(["`general.architecture`", "read as"], families),
    "Types are repacked while they are read, into formats that hold the same numbers to the bit. The experts of a layer share one format: where a file mixes types among them, as Q4_K_M does, it is the one that holds all of them (`int8_affine` in groups of 16 for Q4_K beside Q6_K). The embedding is expanded to f32, since rows are looked up in plain numbers alone. Notes say what that costs in bytes: a file whose experts are of one type, such as Q8_0 or most of Q4_K_S, takes less memory for its size.",
    table(["type", "bits a weight in the file", "kept as"], types),
    `Refused by name: ${refused.join(", ")}. Choose a file such as Q4_K_M, Q5_K_M, Q6_K or Q8_0.`,
  ];
}

function formatOf({ plain, packed }: (typeof GGUF_TYPES)[number]): string {
  if (!packed) return code(plain ?? "");
  const { codes, hasOffsets, group } = packed;
  if (codes === "e2m1") return code("mxfp4");
  const format = `${codes === "4bit" ? "int4" : "int8"}${hasOffsets ? "_affine" : ""}`;
  return `${code(format)} in groups of ${group}`;
}
