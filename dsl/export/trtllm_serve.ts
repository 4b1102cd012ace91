/**
 * How TensorRT-LLM serves an exported configuration: the command for one machine, and manifests for
 * Kubernetes with one or several nodes.
 *
 * Sources: https://nvidia.github.io/TensorRT-LLM (trtllm-serve, AutoDeploy, multi-node serving) and
 * https://lws.sigs.k8s.io/docs (LeaderWorkerSet: names of pods, LWS_LEADER_ADDRESS, LWS_GROUP_SIZE).
 *
 * @module
 */

/** What is served, and on what. */
export interface TrtllmPlan {
  /** Model folder or name on the hub, as the serving machine knows it. */
  readonly model: string;
  /** Name of the Kubernetes objects: lower case letters, digits and dashes. */
  readonly name: string;
  readonly image: string;
  readonly worldSize: number;
  readonly gpusPerNode: number;
}

/** Port of the server. */
const PORT = 8000;
/** Where the manifests mount the configuration, models, and keys of ssh. */
const PATHS = { config: "/config", models: "/models", ssh: "/root/.ssh-keys" } as const;

/** Nodes that a plan needs. */
export function nodesOf({ worldSize, gpusPerNode }: TrtllmPlan): number {
  return Math.ceil(worldSize / gpusPerNode);
}

/** A shell script that serves on one machine, on loopback unless HOST says otherwise. */
export function serveScript({ model, worldSize }: TrtllmPlan): string {
  return `#!/bin/sh
# Serves ${oneLine(model)} with TensorRT-LLM's AutoDeploy on ${gpus(worldSize)} of this machine.
# HOST and PORT choose the address; other flags of trtllm-serve may follow.
exec trtllm-serve ${quote(model)} \\
  --backend _autodeploy \\
  --host "\${HOST:-127.0.0.1}" \\
  --port "\${PORT:-${PORT}}" \\
  --extra_llm_api_options "$(dirname "$0")/autodeploy.yaml" \\
  "$@"
`;
}

/** Kubernetes objects: configuration, server and Service; a LeaderWorkerSet for several nodes. */
export function manifests(plan: TrtllmPlan, autodeployYaml: string): readonly object[] {
  const several = nodesOf(plan) > 1;
  const labels = labelsOf(plan);
  const selector = several
    ? {
      "leaderworkerset.sigs.k8s.io/name": plan.name,
      "leaderworkerset.sigs.k8s.io/worker-index": "0",
    }
    : labels;
  return [
    {
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata: { name: `${plan.name}-autodeploy`, labels },
      data: {
        "autodeploy.yaml": autodeployYaml,
        ...(several && { "leader.sh": leaderScript(plan), "worker.sh": WORKER_SCRIPT }),
      },
    },
    several ? leaderWorkerSet(plan) : deployment(plan),
    {
      apiVersion: "v1",
      kind: "Service",
      metadata: { name: plan.name, labels },
      spec: { selector, ports: [{ name: "http", port: 80, targetPort: "http" }] },
    },
  ];
}

function deployment(plan: TrtllmPlan): object {
  const labels = labelsOf(plan);
  const command = [
    ...["trtllm-serve", plan.model, "--backend", "_autodeploy"],
    ...["--host", "0.0.0.0", "--port", String(PORT)],
    ...["--extra_llm_api_options", `${PATHS.config}/autodeploy.yaml`],
  ];
  return {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name: plan.name, labels },
    spec: {
      replicas: 1,
      selector: { matchLabels: labels },
      // The GPUs of the old pod are needed for the new one.
      strategy: { type: "Recreate" },
      template: {
        metadata: { labels },
        spec: podOf(plan, { ...containerOf(plan, plan.worldSize), command, ...probes() }),
      },
    },
  };
}

function leaderWorkerSet(plan: TrtllmPlan): object {
  const labels = labelsOf(plan);
  const container = containerOf(plan, plan.gpusPerNode);
  const template = (own: object) => ({ metadata: { labels }, spec: podOf(plan, own, true) });
  return {
    apiVersion: "leaderworkerset.x-k8s.io/v1",
    kind: "LeaderWorkerSet",
    metadata: { name: plan.name, labels },
    spec: {
      replicas: 1,
      leaderWorkerTemplate: {
        size: nodesOf(plan),
        // A process of MPI that is gone cannot come back alone.
        restartPolicy: "RecreateGroupOnPodRestart",
        leaderTemplate: template({
          ...container,
          command: ["bash", `${PATHS.config}/leader.sh`],
          ...probes(),
        }),
        workerTemplate: template({ ...container, command: ["bash", `${PATHS.config}/worker.sh`] }),
      },
    },
  };
}

function labelsOf({ name }: TrtllmPlan): Readonly<Record<string, string>> {
  return { "app.kubernetes.io/name": name, "app.kubernetes.io/component": "trtllm-serve" };
}

function containerOf({ image }: TrtllmPlan, gpuCount: number) {
  return {
    name: "trtllm-serve",
    image,
    ports: [{ name: "http", containerPort: PORT }],
    resources: { limits: { "nvidia.com/gpu": String(gpuCount) } },
  };
}

/** Loading a large model takes many minutes; the server listens when it is loaded. */
function probes() {
  const http = { httpGet: { path: "/health", port: "http" } };
  return {
    startupProbe: { ...http, periodSeconds: 10, failureThreshold: 360 },
    livenessProbe: { ...http, periodSeconds: 30, timeoutSeconds: 10 },
    readinessProbe: { ...http, periodSeconds: 5 },
  };
}

function podOf({ name }: TrtllmPlan, container: object, hasSsh = false): object {
  const mounts = [
    { name: "config", mountPath: PATHS.config, readOnly: true },
    { name: "models", mountPath: PATHS.models },
    { name: "shm", mountPath: "/dev/shm" },
  ];
  const volumes = [
    { name: "config", configMap: { name: `${name}-autodeploy` } },
    { name: "models", persistentVolumeClaim: { claimName: `${name}-models` } },
    // NCCL shares memory between the processes of a node.
    { name: "shm", emptyDir: { medium: "Memory", sizeLimit: "32Gi" } },
  ];
  const ssh = { secret: { secretName: `${name}-ssh`, defaultMode: 0o400 } };
  return {
    containers: [{
      ...container,
      env: [{ name: "HF_HOME", value: PATHS.models }],
      volumeMounts: hasSsh
        ? [...mounts, { name: "ssh", mountPath: PATHS.ssh, readOnly: true }]
        : mounts,
    }],
    volumes: hasSsh ? [...volumes, { name: "ssh", ...ssh }] : volumes,
  };
}

/** Accepts the leader's processes. */
const WORKER_SCRIPT = `set -eu
mkdir -p /root/.ssh /run/sshd
cp ${PATHS.ssh}/* /root/.ssh/
chmod 700 /root/.ssh
chmod 600 /root/.ssh/*
ssh-keygen -A
exec /usr/sbin/sshd -D -p 2222
`;

/** Waits for all workers, then starts one process for each GPU of the group. */
function leaderScript({ model, gpusPerNode, worldSize }: TrtllmPlan): string {
  return `set -eu
mkdir -p /root/.ssh
cp ${PATHS.ssh}/* /root/.ssh/
chmod 700 /root/.ssh
chmod 600 /root/.ssh/*
leader="$LWS_LEADER_ADDRESS"
hosts="localhost:${gpusPerNode}"
for i in $(seq 1 $((LWS_GROUP_SIZE - 1))); do
  worker="\${leader%%.*}-$i.\${leader#*.}"
  until timeout 2 bash -c "</dev/tcp/$worker/2222" 2>/dev/null; do sleep 2; done
  hosts="$hosts,$worker:${gpusPerNode}"
done
exec mpirun --allow-run-as-root -np ${worldSize} -H "$hosts" \\
  --mca plm_rsh_args "-p 2222 -o StrictHostKeyChecking=no" \\
  -x HF_HOME -x PATH -x LD_LIBRARY_PATH \\
  trtllm-llmapi-launch trtllm-serve ${quote(model)} \\
  --backend _autodeploy --host 0.0.0.0 --port ${PORT} \\
  --extra_llm_api_options ${PATHS.config}/autodeploy.yaml
`;
}

function gpus(count: number): string {
  return count === 1 ? "one GPU" : `${count} GPUs`;
}

/** A word of a POSIX shell. */
function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

function oneLine(text: string): string {
  return text.replaceAll(/\s+/g, " ");
}
