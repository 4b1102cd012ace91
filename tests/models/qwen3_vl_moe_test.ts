/**
 * The text of Qwen3-VL-MoE: of text tokens alone it computes what Qwen3-MoE does with weights that are
 * renormalised, so that a golden model of that family is one of this under other names.
 */

import assert from "node:assert/strict";
import type { HostTensor } from "../../graph/mod.ts";
import { Checkpoint, findArchitecture, normalizeConfig } from "../../models/mod.ts";
import { keptTensors, writeModel } from "../support/kept_layout.ts";
import { logitsOf } from "../support/language_model.ts";
import { GOLDEN } from "../support/golden_values.ts";
import { readSafetensors } from "../support/safetensors.ts";
import { relativeError, TOLERANCES } from "../support/tolerances.ts";
import { SAME_TEXT } from "../support/verified_models.ts";

const FOLDER = new URL(`${SAME_TEXT.qwen3_vl_moe_text}/`, GOLDEN);

/** The config as the hub has it: sections of the rotary embedding, which change nothing for text alone. */
async function configOf(): Promise<Record<string, unknown>> {
  const text = JSON.parse(await Deno.readTextFile(new URL("config.json", FOLDER)));
  const { rope_parameters: { rope_theta }, num_local_experts, ...others } = text;
  return {
    architectures: ["Qwen3VLMoeForConditionalGeneration"],
    model_type: "qwen3_vl_moe",
    image_token_id: 250,
    text_config: {
      ...others,
      architectures: undefined,
      model_type: "qwen3_vl_moe_text",
      num_experts: num_local_experts,
      rope_theta,
      rope_scaling: { mrope_interleaved: true, mrope_section: [6, 5, 5], rope_type: "default" },
    },
    tie_word_embeddings: false,
    vision_config: { model_type: "qwen3_vl_moe", depth: 2 },
  };
}

/** A stack [E, rows, columns] with its matrices turned. */
function turned({ dtype, shape: [experts, rows, columns], data }: HostTensor): HostTensor {
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  const size = bytes.length / (experts * rows * columns);
  const out = new Uint8Array(bytes.length);
  for (let e = 0; e < experts; e++) {
    for (let r = 0; r < rows; r++) {
      for (let c = 0; c < columns; c++) {
        const from = ((e * rows + r) * columns + c) * size;
        out.set(bytes.subarray(from, from + size), ((e * columns + c) * rows + r) * size);
      }
    }
  }
  return { dtype, shape: [experts, columns, rows], data: out };
}

/** Tensors as a vision model's checkpoint names them, with one of the vision model's own. */
async function tensorsOf(isTurned: boolean): Promise<Map<string, HostTensor>> {
  const vision: HostTensor = { dtype: "f32", shape: [2, 2], data: new Float32Array(4) };
  const tensors = new Map([["model.visual.pos_embed.weight", vision]]);
  for (const [name, tensor] of await keptTensors(FOLDER.pathname, "qwen3_moe")) {
    const isStack = /experts\.(gate_up|down)_proj$/.test(name);
    tensors.set(
      name.replace(/^model\./, "model.language_model."),
      isStack && isTurned ? turned(tensor) : tensor,
    );
  }
  return tensors;
}

for (const [what, isTurned] of [["the hub", true], ["transformers 5", false]] as const) {
  Deno.test(`qwen3_vl_moe's text gives transformers' logits from experts as ${what} keeps them`, async () => {
    const raw = await configOf();
    const folder = await writeModel(await tensorsOf(isTurned), raw);
    try {
      const config = normalizeConfig(raw, "config.json");
      const configured = findArchitecture(config, "config.json").configure(config, "config.json");
      assert.ok(configured.notes.some((note) => note.includes("vision")), `${configured.notes}`);
      const checkpoint = await Checkpoint.open(folder);
      const { graph, unusedTensors } = configured.build(checkpoint);
      assert.deepEqual(unusedTensors.map(({ name }) => name), ["model.visual.pos_embed.weight"]);
      assert.ok(unusedTensors.every(({ reason }) => reason !== undefined));
      const golden = await readSafetensors(new URL("golden.safetensors", FOLDER));
      const numbers = (name: string) =>
        Array.from(golden.get(name)?.data as ArrayLike<number>, Number);
      const logits = await logitsOf(graph, checkpoint, numbers("p1.input_ids"));
      const expected = numbers("p1.logits");
      assert.ok(relativeError(logits, expected) <= TOLERANCES.logitsF32);
      await checkpoint.close();
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });
}
