/**
 * The page of an export: what is in the folder, how to run it, and what does not carry over.
 *
 * @module
 */

import { UPSTREAM } from "./autodeploy_facts.ts";
import type { LeftBehind } from "./trtllm_config.ts";
import { nodesOf, type TrtllmPlan } from "./trtllm_serve.ts";

/** Markdown for people who deploy the folder. */
export function exportPage(plan: TrtllmPlan, leftBehind: readonly LeftBehind[]): string {
  const { model, worldSize, gpusPerNode, name, image } = plan;
  const nodes = nodesOf(plan);
  const onNodes = nodes === 1
    ? `${gpus(worldSize)} of one machine`
    : `${gpus(worldSize)}, ${gpusPerNode} on each of ${nodes} nodes`;
  const { repository, defaultYaml, llmArgs } = UPSTREAM;
  return `# ${code(model)} on TensorRT-LLM

A pipeline of Mixline as the configuration of TensorRT-LLM's AutoDeploy, for ${onNodes}. Written by \`mixline export\`; nothing of it was run there.

| file | what it is |
|---|---|
| \`autodeploy.yaml\` | names and values that AutoDeploy has; what nobody set is left to its own defaults |
${
    nodes === 1
      ? "| `serve.sh` | the `trtllm-serve` command for one machine |\n"
      : ""
  }| \`kubernetes.yaml\` | ${
    nodes === 1 ? "ConfigMap, Deployment, Service" : "ConfigMap, LeaderWorkerSet, Service"
  } |

## Run it

${
    nodes === 1
      ? `On a machine with TensorRT-LLM and ${gpus(worldSize)}:

\`\`\`sh
sh serve.sh
\`\`\`

`
      : ""
  }On Kubernetes with NVIDIA's device plug-in${
    nodes === 1 ? "" : " and the LeaderWorkerSet controller"
  }, and a PersistentVolumeClaim \`${name}-models\`, mounted at \`/models\`,
where the hub's cache goes:

\`\`\`sh
${
    nodes === 1
      ? ""
      : `ssh-keygen -t ed25519 -N "" -f id_ed25519 && cp id_ed25519.pub authorized_keys
kubectl create secret generic ${name}-ssh --from-file=id_ed25519 --from-file=authorized_keys
`
  }kubectl apply -f kubernetes.yaml
\`\`\`

The image is ${code(image)}; ${
    nodes === 1
      ? "it needs `trtllm-serve`"
      : "it needs `trtllm-serve`, `mpirun` and an ssh server, which the leader uses to start one process for each GPU"
  }. A model that is a folder must be at the same path there.

## What does not carry over

${
    leftBehind.length === 0
      ? "Every value of the pipeline that somebody set is in `autodeploy.yaml`."
      : `| value | set to | why |\n|---|---|---|\n${
        leftBehind.map(({ path, value, reason }) =>
          `| ${code(path)} | ${code(JSON.stringify(value))} | ${reason} |`
        ).join("\n")
      }`
  }

Whatever the pipeline:

- AutoDeploy reads the model with transformers' modelling code; a family that it or its patches do not know does not run, and
  GGUF files are not read.
- Weights that Mixline packs while loading (int8, int4, FP8, MXFP4 of a plain checkpoint) stay plain: AutoDeploy takes the
  format of the checkpoint. Export a checkpoint that is quantized already.
- Numbers differ in their last bits: other kernels, other orders of sums, bf16 where Mixline sums in f32.

## What this rests on

[default.yaml](${repository}/blob/${defaultYaml.commit}/${defaultYaml.path}) and
[llm_args.py](${repository}/blob/${llmArgs.commit}/${llmArgs.path}) of AutoDeploy as of those commits. AutoDeploy accepts fields
that it does not know without a word, so the names here were checked against a table of those that it reads.
`;
}

function gpus(count: number): string {
  return count === 1 ? "one GPU" : `${count} GPUs`;
}

/** Text as code in a cell of a table. */
function code(text: string): string {
  const plain = text.replaceAll("|", "\\|").replaceAll(/\s+/g, " ");
  return plain.includes("`") ? plain.replaceAll("`", "'") : `\`${plain}\``;
}
