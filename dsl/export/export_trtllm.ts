/**
 * A pipeline as a folder that TensorRT-LLM's AutoDeploy runs.
 *
 * @module
 */

import { stringify } from "../../deps/yaml.ts";
import { ConfigError } from "../../graph/mod.ts";
import type { ResolvedPipeline } from "../resolve.ts";
import { type LeftBehind, trtllmConfig } from "./trtllm_config.ts";
import { exportPage } from "./trtllm_page.ts";
import { manifests, nodesOf, serveScript, type TrtllmPlan } from "./trtllm_serve.ts";

/** Where the export will run. */
export interface TrtllmOptions {
  /** GPUs in all; default 1. */
  readonly worldSize?: number;
  /** GPUs of a node; default 8. */
  readonly gpusPerNode?: number;
  /** Container image with TensorRT-LLM. */
  readonly image?: string;
}

/** Files by name, and what they do not say. */
export interface TrtllmExport {
  readonly files: Readonly<Record<string, string>>;
  readonly leftBehind: readonly LeftBehind[];
}

/** Names of the files that an export may have. */
export const TRTLLM_FILES = [
  "README.md",
  "autodeploy.yaml",
  "serve.sh",
  "kubernetes.yaml",
] as const;

/** NVIDIA's published image, of a release that has AutoDeploy. */
export const TRTLLM_IMAGE = "nvcr.io/nvidia/tensorrt-llm/release:1.1.0";

const GPUS_PER_NODE = 8;

/**
 * The files of an export.
 *
 * @throws {ConfigError} `config/export` for a pipeline without a model, a GGUF file, or GPUs that do
 * not fill their nodes.
 *
 * @example
 * ```ts
 * import { pipeline } from "../pipeline.ts";
 * import { exportTrtllm } from "./export_trtllm.ts";
 * const { files } = exportTrtllm(pipeline().settings({ model: "org/model" }).resolve(), { worldSize: 2 });
 * console.assert(files["autodeploy.yaml"].includes("world_size: 2"));
 * ```
 */
export function exportTrtllm(
  resolved: ResolvedPipeline,
  { worldSize = 1, gpusPerNode = GPUS_PER_NODE, image = TRTLLM_IMAGE }: TrtllmOptions = {},
): TrtllmExport {
  const { model } = resolved.settings;
  if (model === null) {
    throw exportError("a model", "none", "Name one: model: in the YAML, or --model");
  }
  if (/\.gguf$/i.test(model)) {
    throw exportError(
      "a model folder or a name on the hub",
      `"${model}"`,
      "TensorRT-LLM does not read GGUF files: name the model that it was made of",
    );
  }
  if (worldSize > gpusPerNode && worldSize % gpusPerNode !== 0) {
    throw exportError(
      `GPUs that fill their nodes of ${gpusPerNode}`,
      String(worldSize),
      "Take a multiple for --world-size, or say --gpus-per-node",
    );
  }
  const plan: TrtllmPlan = { model, name: objectName(model), image, worldSize, gpusPerNode };
  const { document, leftBehind } = trtllmConfig(resolved, worldSize);
  const yaml = `# AutoDeploy of TensorRT-LLM, written by mixline export.\n` +
    stringify(document);
  // Anchors would be valid, and surprise readers.
  const objects = manifests(plan, yaml)
    .map((object) => stringify(object, { aliasDuplicateObjects: false, lineWidth: 0 }));
  const files = {
    "README.md": exportPage(plan, leftBehind),
    "autodeploy.yaml": yaml,
    ...(nodesOf(plan) === 1 && { "serve.sh": serveScript(plan) }),
    "kubernetes.yaml": objects.join("---\n"),
  } satisfies Partial<Record<typeof TRTLLM_FILES[number], string>>;
  return { files, leftBehind };
}

function exportError(expected: string, got: string, hint: string): ConfigError {
  return new ConfigError("config/export", `Cannot export: expected ${expected}, got ${got}`, {
    hint,
  });
}

/** A name of Kubernetes objects (RFC 1035, at most 63, with room for what is added). */
function objectName(model: string): string {
  const last = model.replace(/[/\\]+$/, "").split(/[/\\]/).at(-1) ?? "";
  const name = last.toLowerCase().replaceAll(/[^a-z0-9]+/g, "-").replaceAll(/^[^a-z]+|-+$/g, "");
  return name.slice(0, 40).replace(/-+$/, "") || "model";
}
