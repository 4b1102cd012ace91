/**
 * `docs/checkpoints.md`: which checkpoints load, from the registries, and which are refused.
 *
 * @module
 */

import { PACKED_FORMATS, PACKED_LAYOUTS } from "../graph/mod.ts";
import { DIALECTS, REFUSED_METHODS } from "../models/mod.ts";
import { ggufSection } from "./gguf_section.ts";
import { code, page, table } from "./markdown.ts";

const FILES = [
  "A single `model.safetensors` is read even if an index lies beside it, as in transformers; a note says so.",
  "Shards are those of `model.safetensors.index.json`. Each must be a file beside it; paths to other folders are refused.",
  "Git LFS pointers, truncated files, folders and pipes in place of a file are errors that name the file and what to do.",
  "Element types: F32, F16, BF16, F8_E4M3, F8_E8M0, U8, I8, I32, U32, I64, BOOL. A tensor of another type matters only if it is needed.",
  "`model_type` decides where `architectures` is missing.",
  "What no graph reads is told once: rotary buffers, states of a training run and other known leftovers with their reason, all else by name.",
] as const;

/** The page. */
export function checkpointsPage(): string {
  const dialects = DIALECTS.map(({ methods, writers, reads }) => [
    methods.map(code).join(", "),
    writers,
    reads.join("<br>"),
  ]);
  const refused = Object.entries(REFUSED_METHODS).map(([method, hint]) => [code(method), hint]);
  const formats = PACKED_FORMATS.map((format) => {
    const { payloadDtype, codesPerByte, scaleDtype, hasOffsets, secondScale } =
      PACKED_LAYOUTS[format];
    return [
      code(format),
      codesPerByte === 2 ? "4-bit codes, two a byte" : payloadDtype,
      `${hasOffsets ? `${scaleDtype} scale and offset` : scaleDtype}${
        secondScale ? ", and an f32 for the matrix" : ""
      }`,
    ];
  });
  return page(
    "Checkpoints",
    "Model folders in Hugging Face's form, and what of them is read. `deno task inspect model --model DIR` tells it of one folder, without reading weights and without a GPU.",
    "## Files",
    FILES.map((line) => `- ${line}`).join("\n"),
    "## Quantized weights",
    "The dialect is `quant_method` of `quantization_config` in config.json; ModelOpt's `hf_quant_config.json` wins over it. Lists of modules left plain (`modules_to_not_convert`, `ignored_layers`, `ignore`, `exclude_modules`) hold names, parts of paths, globs and `re:` patterns; null and absent lists are empty. A matrix that the config says is packed and the file holds plain, or the other way round, is an error that names it.",
    table(["`quant_method`", "written by", "read"], dialects),
    "Weights stay packed in the nearest format that loses nothing:",
    table(["format", "codes", "scales"], formats),
    "Refused, with what to do:",
    table(["`quant_method`", "what to do"], refused),
    ...ggufSection(),
  );
}
